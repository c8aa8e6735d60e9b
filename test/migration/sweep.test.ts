import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createHolderAgent, createStorageAgent } from '@volant/agent'
import { qmpChardev } from '@volant/agent/compute/command-line.ts'
import { guestPaths } from '@volant/agent/compute/names.ts'
import { sweepText } from '@volant/cli/commands/sweep.ts'
import type { Stray } from '@volant/contract/ndo/sweep.ts'
import {
  createTlsAuthority,
  ensureLauncher,
  isAlive,
  startDetached,
  type ProcessIdentity,
} from '@volant/qemu'
import type { Topology } from '../../packages/control/src/domain/topology.ts'
import {
  acknowledged,
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
  type Job,
  type Plane,
} from './plane.ts'

const gib = 1024 ** 3

/** The places of a plane, and its records as they are on disk. */
function placesOf(plane: Plane) {
  const { stateDir } = plane
  const topology = JSON.parse(readFileSync(join(stateDir, 'topology.json'), 'utf8')) as Topology
  const cluster = topology.clusters.find(({ name }) => name === 'cinder-lmb')
  const node = cluster?.nodes[0]
  const flexvol = cluster?.flexvols[0]
  assert.ok(node && flexvol)
  const aggregate = node.aggregates.find(({ name }) => name === flexvol.aggregate)
  const nodes = topology.clusters.flatMap(({ nodes: all }) => all)
  const run = (letter: string, index: number): string => join(stateDir, 'run', `${letter}${index}`)
  return {
    node,
    flexvol,
    flexvolDir: join(aggregate?.path ?? '', flexvol.name),
    machineDir: join(stateDir, 'machines', node.machine),
    holderRun: run('h', 0),
    storageDir: join(stateDir, 'nodes', node.name),
    storageRun: run('s', nodes.indexOf(node)),
    hostOf: (host: string) => ({
      dir: join(stateDir, 'hosts', host),
      run: run(
        'c',
        topology.computeHosts.findIndex(({ name }) => name === host),
      ),
    }),
  }
}

/** As another process would: the control plane runs. */
function query<T>(plane: Plane, sql: string, ...values: (string | number)[]): T[] {
  const db = new DatabaseSync(join(plane.stateDir, 'volant.db'), { timeout: 5000 })
  try {
    return db.prepare(sql).all(...values) as T[]
  } finally {
    db.close()
  }
}

async function cancelledMigration(plane: Plane, job: Job) {
  const { id } = await startMigration(plane, job, { rate: 200_000 })
  await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
  await plane.client.ndo.cancel(id)
  assert.equal((await ended(plane, id)).state, 'cancelled')
  const [row] = query<{ input: string }>(plane, 'select input from operations where id = ?', id)
  const { targetImageId } = JSON.parse(row?.input ?? '{}') as { targetImageId: string }
  return { operationId: id, targetImageId }
}

const remove = async (plane: Plane, path: string): Promise<void> => {
  const { status } = await plane.client.session.raw('DELETE', path)
  assert.ok(status === 202 || status === 204, `DELETE ${path}: ${status}`)
}

/** A second volume that was attached to the guest, and is no more. */
async function detachedVolume(plane: Plane, job: Job) {
  const { client } = plane
  const volume = await client.volume.create({ name: 'other', size: 1 })
  const is = (status: string) => async () => (await client.volume.show(volume.id)).status === status
  await until('the other volume is available', 60_000, is('available'))
  await client.compute.attach(job.serverId, volume.id)
  await until('the other volume is in use', 60_000, is('in-use'))
  const [attachment] = query<{ id: string }>(
    plane,
    'select id from attachments where volume_id = ?',
    volume.id,
  )
  await remove(plane, `/compute/v2.1/servers/${job.serverId}/os-volume_attachments/${volume.id}`)
  await until('the other volume is available again', 60_000, is('available'))
  assert.ok(attachment)
  return { volumeId: volume.id, attachmentId: attachment.id }
}

async function deletedServer(plane: Plane) {
  const { client } = plane
  const server = await client.compute.create({ name: 'gone', flavor: 'm1.tiny', image: 'volant-probe' })
  await until('the other server is active', 60_000, async () => {
    return (await client.compute.show(server.id)).status === 'ACTIVE'
  })
  const host = String((await client.compute.show(server.id))['OS-EXT-SRV-ATTR:host'])
  await remove(plane, `/compute/v2.1/servers/${server.id}`)
  await until('the other server is deleted', 60_000, async () => {
    const rows = query<{ deleted_at: string | null }>(
      plane,
      'select deleted_at from servers where id = ?',
      server.id,
    )
    return rows.every(({ deleted_at }) => deleted_at !== null)
  })
  return { serverId: server.id, host }
}

/** A file of the size that a volume's image has. */
async function emptyImage(path: string): Promise<string> {
  const file = await open(path, 'wx', 0o600)
  await file.truncate(gib)
  await file.close()
  return path
}

/** The QEMU and the folder of a server, as a crash in the middle of its deletion could leave them. */
function leftGuest(place: { dir: string; run: string }, serverId: string): ProcessIdentity {
  const paths = guestPaths(place.dir, place.run, serverId)
  mkdirSync(paths.folder)
  const guest = startDetached({
    command: 'qemu-system-x86_64',
    args: [
      ...['-machine', 'none', '-nodefaults', '-display', 'none'],
      ...['-chardev', qmpChardev(paths), '-mon', 'chardev=qmp0,mode=control'],
    ],
    logPath: paths.qemuLog,
  })
  const spec = { serverId, name: 'gone', vcpus: 1, memoryMiB: 64, disks: [], nics: [] }
  const record = { spec, accelerator: 'tcg', phase: 'started', process: guest, pausedByUser: false }
  writeFileSync(paths.record, JSON.stringify(record))
  return guest
}

const pidsOf = (stray: Stray | undefined): number[] => stray?.pids ?? []
const runs = (pid: number): boolean => existsSync(`/proc/${pid}/exe`)

test('strays of every kind beside a guest that writes: exactly those that carry a proof vanish', async (t) => {
  const plane = await openPlane()
  let reader: ChildProcess | undefined
  t.after(async () => {
    reader?.kill('SIGKILL')
    await plane.close()
  })
  const { client } = plane
  const job = await bootProbe(plane)
  const fence = (await client.ndo.status()).fence
  const places = placesOf(plane)
  const inFlexvol = (name: string): string => join(places.flexvolDir, name)
  const clean = await client.ndo.sweep()
  assert.deepEqual(clean.strays, [], sweepText(clean))
  assert.match(sweepText(clean), /^No strays\./)
  const [head] = query<{ id: string }>(plane, 'select id from attachments where volume_id = ?', job.volumeId)
  const headRecord = join(places.machineDir, 'holders', `${head?.id}.json`)
  const headProcess = (): ProcessIdentity =>
    (JSON.parse(readFileSync(headRecord, 'utf8')) as { daemon: { process: ProcessIdentity } }).daemon.process

  const { operationId, targetImageId } = await cancelledMigration(plane, job)
  const other = await detachedVolume(plane, job)
  const gone = await deletedServer(plane)
  const before = headProcess()
  const written = await acknowledged(plane, job)

  // What a crash may leave, and what somebody else may.
  const target = await emptyImage(inFlexvol(targetImageId))
  const part = inFlexvol(`${targetImageId}.new`)
  writeFileSync(part, 'begun')
  const movers = createHolderAgent({
    host: places.node.machine,
    stateDir: places.machineDir,
    runDir: places.holderRun,
  })
  const mover = await movers.ensureHolder(
    { fence },
    {
      holderId: operationId,
      volumeId: job.volumeId,
      image: { kind: 'file', imageId: targetImageId, path: target, sizeBytes: gib },
      serves: false,
    },
  )
  movers.detach()
  const tls = createTlsAuthority(join(plane.stateDir, 'tls'))
  const exporter = createStorageAgent({
    node: places.node.name,
    stateDir: places.storageDir,
    runDir: places.storageRun,
    aggregates: places.node.aggregates,
    dataAddress: places.node.dataAddress,
    serverTlsFolder: () => tls.serverFolder(places.node.name, places.node.dataAddress),
  })
  // An image of nobody we know; its export is of an attachment that is gone.
  const foreignId = randomUUID()
  const foreign = await emptyImage(inFlexvol(foreignId))
  const foreignRef = { imageId: foreignId, aggregate: places.flexvol.aggregate, flexvol: places.flexvol.name }
  const exportId = `${other.attachmentId}.${foreignId}`
  await exporter.ensureExport({ fence }, exportId, foreignRef)
  const exported = (await exporter.listExports()).find((one) => one.exportId === exportId)
  exporter.detach()
  const keeperOf = randomUUID()
  const sockets = ['k', 'n'].map((end) => join(places.holderRun, `${keeperOf}.${end}`))
  const keeper = startDetached({
    command: await ensureLauncher(),
    args: ['keep', '--control', sockets[0] ?? '', '--unix', sockets[1] ?? ''],
    logPath: join(places.machineDir, 'log', `holder-${keeperOf}.log`),
  })
  await until('the keeper keeps', 10_000, async () => sockets.every((path) => existsSync(path)))
  process.kill(keeper.pid, 'SIGKILL')
  const guest = leftGuest(places.hostOf(gone.host), gone.serverId)
  const notes = inFlexvol('notes.txt')
  writeFileSync(notes, 'whose is this?')
  reader = spawn('tail', ['-f', join(places.machineDir, 'holder-fence.json')], { stdio: 'ignore' })
  query(
    plane,
    `insert into copies (image_id, volume_id, flexvol_id, node, aggregate, size_bytes, state, operation_id,
       reserved_bytes, created_at)
     select ?, volume_id, flexvol_id, node, aggregate, size_bytes, 'target', ?, 4096, '2026-01-01T00:00:00.000Z'
       from copies where volume_id = ?`,
    randomUUID(),
    operationId,
    job.volumeId,
  )
  assert.ok(isAlive(guest) && runs(mover.pid) && runs(exported?.pid ?? 0))

  // Younger than the grace time they are left alone; then they go, by this pass or the one that comes by itself.
  const young = await client.ndo.sweep({ dryRun: true })
  const counted = (strays: readonly Stray[]): string[] =>
    strays.map((one) => `${one.kind} ${one.id}`).toSorted()
  t.diagnostic(`at once: ${JSON.stringify(counted(young.strays))}`)
  const mustStay = [`file ${notes}`, `image ${foreign}`, `process ${reader.pid}`].toSorted()
  await until('only what carries no proof is left', 120_000, async () => {
    await sleep(2000) // a pass is work for the machine, and the grace time has to go by
    const { strays } = await client.ndo.sweep()
    return JSON.stringify(counted(strays)) === JSON.stringify(mustStay)
  })
  const last = await client.ndo.sweep({ dryRun: true })
  t.diagnostic(`\n${sweepText(last)}`)
  assert.ok(last.strays.every(({ action, proof }) => action === 'reported' && proof === null))

  assert.deepEqual(
    [mover.pid, exported?.pid ?? 0, guest.pid, keeper.pid].filter(runs),
    [],
    'their processes ended',
  )
  const leftovers = [
    ...[target, part, ...sockets, guestPaths(places.hostOf(gone.host).dir, '/', gone.serverId).folder],
    join(places.machineDir, 'holders', `${operationId}.json`),
    join(places.storageDir, 'exports', `${exportId}.json`),
    join(places.machineDir, 'log', `holder-${keeperOf}.log`),
  ]
  assert.deepEqual(
    leftovers.filter((path) => existsSync(path)),
    [],
    'their files are gone',
  )
  assert.deepEqual(query(plane, "select * from copies where state = 'target'"), [], 'nothing is held back')
  // What is not proved to be ours is as it was, and the client never noticed.
  assert.equal(readFileSync(notes, 'utf8'), 'whose is this?')
  assert.equal(existsSync(foreign), true)
  assert.deepEqual(pidsOf(last.strays.find(({ kind }) => kind === 'process')), [reader.pid])
  assert.equal(reader.exitCode, null, 'whoever reads there was not ended')
  assert.equal((await client.ndo.status()).strays, 3)
  assert.deepEqual(headProcess(), before, 'the head is the same process')
  assert.ok((await acknowledged(plane, job)) > written)
  await assertNothingLost(plane, job)
})
