/**
 * Heads and exports in standby, and heads that let go: real storage daemons, with a client that is connected throughout. One
 * file, over 400 lines: what is done with a head and with an export is the same, with the same words.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { isDomainError, type FileAccess, type HolderStatus, type NbdAccess } from '@volant/contract'
import { exportPaths } from '@volant/agent/storage/exports.ts'
import { NbdClient } from '@volant/qemu/nbd-client.ts'
import { identityOf, isAlive } from '@volant/qemu/process.ts'
import { QmpClient } from '@volant/qemu/qmp.ts'
import { createTlsAuthority, readClientTls } from '@volant/qemu/tls/authority.ts'
import { openTwoPlaces } from './netns.ts'
import { lostWrites } from './records.ts'
import { caller, MiB, openRig, startWriter, until, type Rig } from './rig.ts'

const refused =
  (code: string, message = /./) =>
  (error: unknown) =>
    isDomainError(error) && error.code === code && message.test(error.message)
const inputOutputError = (error: unknown): boolean => (error as { code?: number }).code === 5
const volumeId = 'vol-1'
const block = (byte: string): Buffer => Buffer.alloc(4096, byte)
const digest = ({ path }: FileAccess): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** Whether the process has the file open; what the agents make of it is not asked. */
function isOpenIn(pid: number, { path }: FileAccess): boolean {
  const { dev, ino } = statSync(path)
  return readdirSync(`/proc/${pid}/fd`).some((name) => {
    const file = statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false })
    return file?.dev === dev && file.ino === ino
  })
}

async function connect(t: TestContext, { socketPath, exportName }: HolderStatus): Promise<NbdClient> {
  const client = await NbdClient.connect({ path: socketPath ?? '' }, exportName ?? '', 10_000)
  t.after(() => client.close())
  return client
}

/** Nothing is read and nothing written; in particular what is read are no zeroes. */
async function assertStandsBy(client: NbdClient): Promise<void> {
  await assert.rejects(client.read(0, 4096), inputOutputError)
  await assert.rejects(client.write(0, block('!')), inputOutputError)
}

async function assertServes(client: NbdClient, was: Buffer, next: Buffer): Promise<void> {
  assert.deepEqual(await client.read(4096, 4096), was)
  await client.write(4096, next)
  await client.flush()
  assert.deepEqual(await client.read(4096, 4096), next)
}

const standby = (holderId: string) => ({ holderId, volumeId, sizeBytes: 64 * MiB })
const head = (holderId: string, image: FileAccess) => ({ holderId, volumeId, image, serves: true })

test('two heads of one machine hand a local image to and fro under their clients', async (t) => {
  const { holders, newImage } = await openRig(t)
  const { access } = await newImage()
  const source = await holders.ensureHolder(caller, head('a', access))
  const sourceClient = await connect(t, source)
  await sourceClient.write(4096, block('0'))
  const target = await holders.ensureStandby(caller, standby('b'))
  assert.deepEqual(await holders.ensureStandby(caller, standby('b')), target)
  assert.equal(target.imageId, null)
  const targetClient = await connect(t, target)
  assert.equal(targetClient.sizeBytes, 64 * MiB)
  await assertStandsBy(targetClient)
  assert.equal(isOpenIn(target.pid, access), false)

  const times: string[] = []
  for (const [from, to, fromClient, toClient, n] of [
    [source, target, sourceClient, targetClient, 0],
    [target, source, targetClient, sourceClient, 1],
    [source, target, sourceClient, targetClient, 2],
  ] as const) {
    const begun = performance.now()
    await holders.ensureReleased(caller, from.holderId)
    const released = performance.now()
    assert.equal(isOpenIn(from.pid, access), false, 'let go means closed')
    const fenced = digest(access)
    await assertStandsBy(fromClient)
    assert.equal(digest(access), fenced)
    await holders.ensureReleased(caller, from.holderId)
    const swapped = performance.now()
    const now = await holders.ensureHolder(caller, head(to.holderId, access))
    times.push(`${(released - begun).toFixed(1)} + ${(performance.now() - swapped).toFixed(1)}`)
    assert.deepEqual([now.imageId, now.pid], [access.imageId, to.pid], 'no daemon was started')
    assert.equal((await holders.holderStatus(from.holderId))?.imageId, null)
    await assertServes(toClient, block(String(n)), block(String(n + 1)))
  }
  t.diagnostic(`released + on the image, ms: ${times.join('; ')}`)

  // One that has let go is gone without waiting for the other, which has the image open.
  await holders.ensureNoHolder(caller, 'a')
  await assertServes(targetClient, block('3'), block('4'))
})

test('what a head in standby, or one on its image, is refused', async (t) => {
  const { holders, newImage } = await openRig(t)
  const [{ access }, { access: other }, { access: bigger }] = await Promise.all([
    newImage(),
    newImage(),
    newImage(128 * MiB),
  ])
  const { pid } = await holders.ensureHolder(caller, head('a', access))
  await assert.rejects(holders.ensureStandby(caller, standby('a')), refused('conflict', /released first/))
  const mirror = { holderId: 'a', jobId: 'op', target: other, rate: 4096 }
  await holders.ensureMirror(caller, mirror)
  await assert.rejects(holders.ensureReleased(caller, 'a'), refused('conflict', /copies for op/))
  await holders.ensureNoMirror(caller, 'a', 'op')
  assert.equal((await holders.holderStatus('a'))?.imageId, access.imageId)
  await holders.ensureReleased(caller, 'a')
  await assert.rejects(
    holders.ensureHolder(caller, head('a', other)),
    refused('conflict', /was released from/),
  )
  for (const refusal of [
    holders.ensureMirror(caller, mirror),
    holders.ensurePointCopy(caller, mirror),
    holders.ensureSize(caller, 'a', 128 * MiB),
  ]) {
    await assert.rejects(refusal, refused('conflict', /in standby/))
  }
  await holders.ensureStandby(caller, standby('b'))
  await assert.rejects(
    holders.ensureStandby(caller, { ...standby('b'), sizeBytes: 128 * MiB }),
    refused('conflict'),
  )
  await assert.rejects(
    holders.ensureHolder(caller, head('b', bigger)),
    refused('conflict', /serves 67108864/),
  )
  // The second writer of an image is refused, also where QEMU's own locks would let it in.
  await holders.ensureHolder(caller, head('a', access))
  await assert.rejects(
    holders.ensureHolder(caller, head('b', access)),
    refused('conflict', /open for writing/),
  )
  assert.equal((await holders.holderStatus('b'))?.imageId, null, 'a head that got no image is in standby')
  assert.equal((await holders.holderStatus('a'))?.pid, pid)
})

test('a head that does not let go is killed, and comes back in standby', async (t) => {
  const { holders, newImage } = await openRig(t)
  const { access } = await newImage()
  const { pid } = await holders.ensureHolder(caller, head('a', access))
  const daemon = identityOf(pid)
  process.kill(pid, 'SIGSTOP')
  await holders.ensureReleased(caller, 'a')
  assert.equal(isAlive(daemon), false)
  const now = await holders.holderStatus('a')
  assert.equal(now?.imageId, null)
  const client = await connect(t, now)
  await assertStandsBy(client)
  await holders.ensureHolder(caller, head('a', access))
  await assertServes(client, block('\0'), block('1'))
})

/** The record of a holder, as a crash at the worst moment leaves it. */
function rewrite(rig: Rig, path: string, change: (record: Record<string, unknown>) => object): void {
  const file = join(rig.folder, path)
  const record = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  writeFileSync(file, JSON.stringify(change(record)))
}

test('daemons and agents that die: a head in standby comes back as one, and a swap that was cut short goes on', async (t) => {
  const rig = await openRig(t)
  const { access } = await rig.newImage()
  const first = await rig.holders.ensureStandby(caller, standby('a'))
  process.kill(first.pid, 'SIGKILL')
  const other = (pid: number) => async () => {
    const now = await rig.holders.holderStatus('a').catch(() => undefined)
    return now !== undefined && now.pid !== pid
  }
  await until('the daemon was started again', other(first.pid))
  let now = await rig.holders.ensureStandby(caller, standby('a'))
  assert.deepEqual([now.imageId, now.exportName], [null, first.exportName])

  /** The daemon and the agent at once; the next agent finds what was written down. */
  const killBoth = async (): Promise<void> => {
    const { pid } = (await rig.holders.holderStatus('a')) ?? now
    rig.holders.detach()
    const daemon = identityOf(pid)
    process.kill(pid, 'SIGKILL')
    await until('the daemon is dead', async () => !isAlive(daemon))
    await rig.restartHolders().adopt()
    const next = await rig.holders.holderStatus('a')
    assert.ok(next !== undefined && next.pid !== pid, 'another daemon runs')
    now = next
  }
  await killBoth()
  assert.equal(now.imageId, null)

  // The record that it leaves standby was written, and the agent died before the daemon was told.
  rig.holders.detach()
  rewrite(rig, 'h/holders/a.json', (record) => ({ ...record, image: access, standby: undefined }))
  await rig.restartHolders().adopt()
  assert.equal((await rig.holders.holderStatus('a'))?.imageId, null, 'the daemon says what it stands on')
  await rig.holders.ensureHolder(caller, head('a', access))
  const onImage = await connect(t, (await rig.holders.holderStatus('a')) ?? now)
  await assertServes(onImage, block('\0'), block('1'))

  // It let go, and the agent died before the record of that: it may as well be given back or let go again.
  await rig.holders.ensureReleased(caller, 'a')
  rig.holders.detach()
  rewrite(rig, 'h/holders/a.json', (record) => ({ ...record, image: access, standby: undefined }))
  await rig.restartHolders().adopt()
  await rig.holders.ensureReleased(caller, 'a')
  await killBoth()
  assert.equal(now.imageId, null, 'released is released, whatever dies')
  assert.equal(isOpenIn(now.pid, access), false)
})

/** A storage node, and two compute hosts that share a network namespace and have states of their own. */
async function openRemote(t: TestContext) {
  const places = openTwoPlaces(t)
  const rig = await openRig(t)
  const { netns, address } = places.node
  const nodeOptions = { stateDir: join(rig.folder, 's1'), netns, dataAddress: address }
  const node = rig.storageAgent(nodeOptions)
  const host = (name: string) =>
    rig.holderAgent({
      stateDir: join(rig.folder, `h-${name}`),
      runDir: join(rig.folder, `r-${name}`),
      netns: places.host.netns,
    })
  const tls = createTlsAuthority(join(rig.folder, 'tls'))
  const clientTls = async () => readClientTls(await tls.clientFolder('host1'), 'node1')
  return { rig, node, nodeOptions, places, source: host('s'), target: host('t'), clientTls }
}

test('a served image changes hands: fence, export and head in standby, and the way back', async (t) => {
  const { rig, node, places, source, target, clientTls } = await openRemote(t)
  const image = await rig.newImage()
  const spec = { holderId: 'h', volumeId, serves: true }
  const first = await node.ensureExport(caller, 'exp-1', image.ref, 'host1')
  const writer = await startWriter(t, await source.ensureHolder(caller, { ...spec, image: first }))
  await until('it writes', async () => (await writer.writes()) > 20)

  const access = await node.ensureExportStandby(caller, 'exp-2', image.ref, 'host1')
  assert.deepEqual(await node.ensureExportStandby(caller, 'exp-2', image.ref, 'host1'), access)
  const { host, port, exportName } = access
  assert.equal(await target.unreachable(host, port), null)
  assert.match((await target.unreachable(host, 1)) ?? '', /refused/)
  const way = { host, port, netns: places.host.netns, tls: await clientTls() }
  const direct = await NbdClient.connect(way, exportName, 3000)
  t.after(() => direct.close())
  await assertStandsBy(direct)
  const exports = await node.listExports()
  assert.deepEqual(
    exports.map(({ exportId, clientHost, isStandby }) => [exportId, clientHost, isStandby]),
    [
      ['exp-1', 'host1', false],
      ['exp-2', 'host1', true],
    ],
  )
  const standbyPid = exports[1]?.pid ?? 0
  assert.equal(isOpenIn(standbyPid, image.access), false)
  const onStandby = await target.ensureHolder(caller, { ...spec, image: access })
  const client = await connect(t, onStandby)
  await assertStandsBy(client)
  // Not before the fence.
  await assert.rejects(
    node.ensureExport(caller, 'exp-2', image.ref, 'host1'),
    refused('conflict', /open for writing/),
  )

  const begun = performance.now()
  await node.ensureNoExport(caller, 'exp-1')
  const fenced = performance.now()
  const before = digest(image.access)
  const opened = performance.now()
  const second = await node.ensureExport(caller, 'exp-2', image.ref, 'host1')
  const served = performance.now()
  assert.deepEqual(second, access)
  const { pid } = await target.ensureHolder(caller, { ...spec, image: second })
  assert.deepEqual(
    [pid, (await node.listExports()).map((one) => one.pid)],
    [onStandby.pid, [standbyPid]],
    'no daemon was started, at either end',
  )
  t.diagnostic(
    `fence, export, head, ms: ${[fenced - begun, served - opened, performance.now() - served].map((ms) => ms.toFixed(1)).join(' + ')}`,
  )
  assert.equal(digest(image.access), before, 'the fence holds')
  const record = await client.read(0, 4096)
  assert.deepEqual(record, readFileSync(image.access.path).subarray(0, 4096))

  // The way back: the access of the source is given back under its client, which waits and sees no error.
  await node.ensureNoExport(caller, 'exp-2')
  const third = await node.ensureExport(caller, 'exp-3', image.ref, 'host1')
  const writes = await writer.writes()
  const back = performance.now()
  await source.ensureHolder(caller, { ...spec, image: third })
  t.diagnostic(`the source's head on another access: ${(performance.now() - back).toFixed(1)} ms`)
  await until('it writes again', async () => (await writer.writes()) > writes + 20)
  const result = await writer.stop()
  assert.equal(result.errors, 0)
  await source.ensureNoHolder(caller, 'h')
  assert.deepEqual(await lostWrites(image.access.path, result), [])
})

test('of two heads, or two exports, that are given one image at once not both get it', async (t) => {
  const rig = await openRig(t)
  const heads = rig.holderAgent({ stateDir: join(rig.folder, 'h1') })
  const node = rig.storageAgent({ stateDir: join(rig.folder, 's1') })
  const pairs = await Promise.all(
    Array.from({ length: 6 }, async (_none, i) => {
      const { ref, access } = await rig.newImage()
      const ids = [`a${i}`, `b${i}`]
      if (i % 2 === 0) {
        await Promise.all(ids.map((id) => heads.ensureStandby(caller, standby(id))))
        return ids.map((id) => () => heads.ensureHolder(caller, { ...head(id, access), limits: {} }))
      }
      await Promise.all(ids.map((id) => node.ensureExportStandby(caller, id, ref, 'host1')))
      return ids.map((id) => () => node.ensureExport(caller, id, ref, 'host1'))
    }),
  )
  const ends = await Promise.all(pairs.map((pair) => Promise.allSettled<unknown>(pair.map((give) => give()))))
  for (const [i, pair] of ends.entries()) {
    const refusals = pair.filter((end) => end.status === 'rejected')
    assert.notEqual(refusals.length, 0, `both got image ${i}`)
    for (const { reason } of refusals)
      assert.ok(refused('conflict', /open for writing/)(reason), String(reason))
  }
})

test('an image is handed over: what stands by gets it when the fence is proved, and not before', async (t) => {
  const { rig, node, places, clientTls } = await openRemote(t)
  const image = await rig.newImage()
  const tls = await clientTls()
  const clientOf = async ({ host, port, exportName }: NbdAccess): Promise<NbdClient> => {
    const client = await NbdClient.connect({ host, port, netns: places.host.netns, tls }, exportName, 3000)
    t.after(() => client.close())
    return client
  }
  const pidOf = async (exportId: string): Promise<number> =>
    (await node.listExports()).find((one) => one.exportId === exportId)?.pid ?? 0
  const handOver = (from: string, to: string) =>
    node.handOverExport(caller, { from, to, image: image.ref, clientHost: 'host1' })
  const before = await clientOf(await node.ensureExport(caller, 'exp-1', image.ref, 'host1'))
  await before.write(4096, block('0'))
  const access = await node.ensureExportStandby(caller, 'exp-2', image.ref, 'host1')
  const client = await clientOf(access)
  const [first, second] = [await pidOf('exp-1'), await pidOf('exp-2')]

  // A daemon that does not confirm its fence is killed for it, after two seconds.
  const daemon = identityOf(first)
  process.kill(first, 'SIGSTOP')
  t.after(() => isAlive(daemon) && process.kill(first, 'SIGKILL'))
  let isOver = false
  const handed = handOver('exp-1', 'exp-2').finally(() => (isOver = true))
  await until('the image is opened beside the fence', async () => isOpenIn(second, image.access))
  assert.ok(isAlive(daemon), 'the fence is not proved')
  await assertStandsBy(client)
  assert.equal(isOver, false)
  assert.deepEqual(await handed, access)
  assert.equal(isAlive(daemon), false)
  await assertServes(client, block('0'), block('1'))
  assert.equal(await pidOf('exp-2'), second, 'no daemon was started')
  assert.deepEqual(await handOver('exp-1', 'exp-2'), access, 'it may be repeated')

  // Whoever else can write to the image keeps it from being given, and nothing of it stays open.
  const third = await clientOf(await node.ensureExportStandby(caller, 'exp-3', image.ref, 'host1'))
  await assert.rejects(handOver('exp-1', 'exp-3'), refused('conflict', /open for writing/))
  await assertStandsBy(third)
  assert.equal(isOpenIn(await pidOf('exp-3'), image.access), false)
  await assertServes(client, block('1'), block('2'))

  // One that confirms.
  const begun = performance.now()
  await handOver('exp-2', 'exp-3')
  t.diagnostic(`handed over in ${(performance.now() - begun).toFixed(1)} ms`)
  await assert.rejects(client.write(4096, block('!')))
  await assertServes(third, block('2'), block('3'))
  assert.deepEqual(
    (await node.listExports()).map(({ exportId, isStandby }) => [exportId, isStandby]),
    [['exp-3', false]],
  )
})

test('exports in standby that die or lose their record; what is stray goes', async (t) => {
  const { rig, node, nodeOptions, target } = await openRemote(t)
  const image = await rig.newImage()
  const exportId = `h.${image.ref.imageId}`
  const where = await node.ensureExportStandby(caller, exportId, image.ref, 'host1')
  const pidNow = async (agent = node) => (await agent.listExports())[0]?.pid ?? 0
  const first = await pidNow()
  process.kill(first, 'SIGKILL')
  await until('the export is back', async () => (await pidNow()) !== first)
  assert.deepEqual(await node.ensureExportStandby(caller, exportId, image.ref, 'host1'), where)
  await assert.rejects(node.ensureExport(caller, exportId, image.ref, 'host2'), refused('conflict'))

  // The record that it serves was written, and the agent died before the daemon was told.
  node.detach()
  rewrite(rig, `s1/exports/${exportId}.json`, (record) => ({ ...record, isStandby: undefined }))
  const next = rig.storageAgent(nodeOptions)
  await next.adopt()
  const access = await next.ensureExport(caller, exportId, image.ref, 'host1')
  const client = await connect(t, await target.ensureStandby(caller, standby('h')))
  await target.ensureHolder(caller, { holderId: 'h', volumeId, serves: true, image: access })
  await assertServes(client, block('\0'), block('1'))

  // The daemon was told to end it, and the agent died before the record was gone: it is given back to its client.
  next.detach()
  const { qmpPath } = exportPaths(join(rig.folder, 'r'), exportId)
  const qmp = await QmpClient.connect({ path: qmpPath })
  const gone = qmp.waitFor('BLOCK_EXPORT_DELETED', () => true, 5000)
  await qmp.execute('block-export-del', { id: 'x', mode: 'hard' })
  await gone
  qmp.close()
  const again = rig.storageAgent(nodeOptions)
  await again.adopt()
  assert.deepEqual(await again.ensureExport(caller, exportId, image.ref, 'host1'), access)
  await assertServes(client, block('1'), block('2'))

  // The daemon was told, and both died before the record was on disk.
  again.detach()
  rewrite(rig, `s1/exports/${exportId}.json`, (record) => ({ ...record, isStandby: true }))
  writeFileSync(join(rig.folder, `s1/exports/${exportId}.serves`), '')
  const daemon = identityOf(await pidNow(again))
  process.kill(daemon.pid, 'SIGKILL')
  await until('the daemon is dead', async () => !isAlive(daemon))
  const third = rig.storageAgent(nodeOptions)
  await third.adopt()
  assert.equal((await third.listExports())[0]?.isStandby, false, 'what was given stays given')
  await assertServes(client, block('2'), block('3'))
  await target.ensureNoHolder(caller, 'h')
  await third.ensureNoExport(caller, exportId)
  assert.deepEqual(readdirSync(join(rig.folder, 's1/exports')), [])

  await third.ensureExportStandby(caller, exportId, image.ref, 'host1')
  await target.ensureStandby(caller, standby('h'))
  const [item] = (await third.inventory()).filter(({ kind }) => kind === 'export')
  assert.deepEqual([item?.id, item?.imageId, item?.holderId], [exportId, image.ref.imageId, 'h'])
  assert.equal(item?.isStandby, true)
  const [headItem] = (await target.inventory()).filter(({ kind }) => kind === 'holder')
  assert.deepEqual([headItem?.id, headItem?.imageId, headItem?.isStandby], ['h', undefined, true])
  // Found by its process alone it still says what it was for.
  third.detach()
  rmSync(join(rig.folder, `s1/exports/${exportId}.json`))
  const last = rig.storageAgent(nodeOptions)
  const [orphan] = (await last.inventory()).filter(({ kind }) => kind === 'export')
  assert.ok(orphan && headItem)
  assert.deepEqual([orphan.id, orphan.imageId, orphan.pids], [exportId, image.ref.imageId, item.pids])
  await last.removeStray(caller, orphan)
  await target.removeStray(caller, headItem)
  assert.deepEqual(
    [...orphan.pids, ...headItem.pids].filter((pid) => isAlive(identityIfThere(pid))),
    [],
  )
})

function identityIfThere(pid: number) {
  try {
    return identityOf(pid)
  } catch {
    return undefined
  }
}
