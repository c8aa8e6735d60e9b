import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BlockDevice } from '@volant/agent/shares/block-device.ts'
import { detachLoop, ensureLoop } from '@volant/agent/storage/loop-mount.ts'
import type { FileAccess } from '@volant/contract'
import { findByCommandWord, identityOf, isAlive } from '@volant/qemu/process.ts'
import { lostWrites } from './records.ts'
import { caller, MiB, openRig, until } from './rig.ts'
import type { Rig } from './rig.ts'
import { asResult, GiB, kill, skipShares, startShareWriter } from './share-rig.ts'
import { startSlowNbdServer } from './slow-nbd-server.ts'
import { mountXfs, skipXfs } from './xfs.ts'

const skip = await skipShares()
const holderId = 'att-1'
const volumeId = 'vol-1'

/** A disk over a head, without a file system. */
async function openDisk(
  t: TestContext,
  aggregate?: string,
): Promise<{ rig: Rig; device: BlockDevice; disk: string; imagePath: string }> {
  let close = async (): Promise<void> => {}
  t.after(() => close())
  const rig = await openRig(t)
  const { access } = await newImage(rig, aggregate)
  const head = await rig.holders.ensureHolder(caller, { holderId, volumeId, image: access, serves: true })
  const folder = join(realpathSync(rig.folder), 'device')
  mkdirSync(folder)
  const device = new BlockDevice(folder)
  close = () => device.end()
  const { socketPath = '', exportName = '' } = head
  await device.ensure({ head: { socketPath, exportName }, sizeBytes: 64 * GiB, identity: volumeId })
  const disk = await ensureLoop(device.file)
  close = async () => {
    await detachLoop(disk).catch(() => {})
    await device.end()
  }
  return { rig, device, disk, imagePath: access.path }
}

async function newImage(rig: Rig, path?: string): Promise<{ access: FileAccess }> {
  if (path === undefined) return rig.newImage(64 * GiB)
  const storage = rig.storageAgent({
    stateDir: join(rig.folder, 's2'),
    aggregates: [{ name: 'aggr1', path }],
  })
  const ref = { imageId: randomUUID(), aggregate: 'aggr1', flexvol: 'fv1' }
  await storage.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv1' })
  await storage.ensureImage(caller, ref, 64 * GiB)
  return { access: await storage.fileAccess(ref) }
}

/** A device over a server that can hold what it is asked, without a disk. */
async function openSlowDevice(
  t: TestContext,
): Promise<{ server: Awaited<ReturnType<typeof startSlowNbdServer>>; device: BlockDevice }> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'vd-')))
  const socketPath = join(folder, 'nbd')
  const server = await startSlowNbdServer(socketPath, 2 ** 20, volumeId)
  const device = new BlockDevice(folder)
  t.after(async () => {
    for (const { release } of server.held) release()
    server.server.close()
    await device.end()
    rmSync(folder, { recursive: true, force: true })
  })
  await device.ensure({ head: { socketPath, exportName: 'x' }, sizeBytes: 2 ** 20, identity: volumeId })
  return { server, device }
}

const sum = (counts: number[]): number => counts.reduce((total, count) => total + count, 0)

const pairOf = (device: BlockDevice) => {
  const found = findByCommandWord(`mount=${device.file}`)
  const is = (...whats: string[]) =>
    found.find(({ pid }) => whats.includes(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[1] ?? ''))
  return { supervisor: is('serve', 'adopt'), worker: is('work') }
}

test(
  'worker, supervisor and storage daemon are killed under a writer: no error, nothing lost',
  { skip },
  async (t) => {
    const { rig, device, disk, imagePath } = await openDisk(t)
    const writer = await startShareWriter(t, {
      path: disk,
      isDisk: true,
      blocks: 2048,
      lanes: 8,
      blocksAtOnce: 16,
    })
    const going = async (): Promise<void> => {
      const before = await writer.writes()
      await until('the writer goes on', async () => (await writer.writes()) > before + 20)
    }
    const whole = async (): Promise<ReturnType<typeof pairOf>> => {
      await until('both processes run', async () =>
        Object.values(pairOf(device)).every((one) => isAlive(one)),
      )
      return pairOf(device)
    }
    for (let round = 0; round < 25; round++) {
      await going()
      await kill((await whole()).worker)
      await kill((await whole()).worker) // the next one may have just begun
      await going()
      await kill((await whole()).supervisor)
      await going()
      const status = await rig.holders.holderStatus(holderId)
      await kill(status && identityOf(status.pid))
      if (round % 2 === 0) await kill((await whole()).worker) // while there is no server
      await going()
    }
    const result = await writer.stop()
    t.diagnostic(`${result.writes} writes; the longest took ${result.longestMs.toFixed(0)} ms`)
    t.diagnostic(readFileSync(device.logPath, 'utf8').split('\n').slice(-8).join('\n'))
    assert.deepEqual(result.errors, [])
    await detachLoop(disk)
    await device.end()
    assert.deepEqual(findByCommandWord(`mount=${device.file}`), [])
    await rig.holders.ensureNoHolder(caller, holderId)
    assert.deepEqual(await lostWrites(imagePath, asResult(result)), [])
  },
)

test('a worker has all its memory from the start, and keeps it', { skip }, async (t) => {
  // A page that is missing while a worker takes a request, and is killed, makes the kernel end that request with EIO.
  const { device } = await openDisk(t)
  await kill(pairOf(device).worker)
  await until('another worker runs', async () =>
    readFileSync(device.logPath, 'utf8').includes(` ${pairOf(device).worker?.pid} connected`),
  )
  const status = readFileSync(`/proc/${pairOf(device).worker?.pid}/status`, 'utf8')
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1])
  t.diagnostic(`${kib('RssAnon')} KiB of its own, ${kib('VmRSS')} KiB in all`)
  assert.ok(kib('RssAnon') > 8 * 1024)
  assert.ok(kib('RssAnon') < 16 * 1024)
  assert.ok(kib('VmLck') > kib('RssAnon'))
})

test('what a dead worker had sent never lands on what was written after it', { skip }, async (t) => {
  const { server, device } = await openSlowDevice(t)
  const write = (byte: number) => writeLater(t, device.file, byte)
  await write(1)
  assert.equal(server.content[0], 1)
  server.hold()
  const second = write(2)
  await until('the server has the second write', async () => server.held.length === 1)
  await kill(pairOf(device).worker)
  // The kernel asks the next worker to write 2 again; when that is answered, 3 is written to the same place.
  const third = second.then(() => write(3))
  await until('another worker runs', async () => pairOf(device).worker !== undefined)
  await until('the server keeps what the dead one had sent', async () => server.kept() === 1)
  await sleep(500)
  assert.equal(server.content[0], 1, 'nothing is sent before that')
  server.held[0]?.release()
  await third
  assert.equal(server.content[0], 3)
  assert.equal(server.kept(), 0)
})

test('how long requests took is counted, by each worker anew', { skip }, async (t) => {
  const { server, device } = await openSlowDevice(t)
  await writeLater(t, device.file, 1)
  const first = device.latency()
  assert.equal(sum(first.writes.counts), 1)
  assert.equal(first.writes.counts.length, first.writes.boundsNs.length + 1)
  assert.ok((first.writes.boundsNs.at(-1) ?? 0) > 9e9, 'the bounds reach 10 s')
  server.hold()
  const slow = writeLater(t, device.file, 2)
  await until('the server has the second write', async () => server.held.length === 1)
  await sleep(300)
  assert.equal(sum(device.latency().writes.counts), 1, 'it has not ended')
  server.held[0]?.release()
  await slow
  const second = device.latency()
  assert.equal(second.since, first.since)
  const grown = second.writes.counts.findIndex((count, bin) => count > (first.writes.counts[bin] ?? 0))
  assert.ok((second.writes.boundsNs[grown] ?? 0) > 300e6, `a write that took 300 ms is in bin ${grown}`)
  assert.equal(sum(second.writes.counts), 2)
  await kill(pairOf(device).worker)
  await writeLater(t, device.file, 3)
  await until('another worker is known', async () => device.worker !== undefined)
  const third = device.latency()
  assert.notEqual(third.since, first.since)
  assert.equal(sum(third.writes.counts), 1)
})

test(
  'a worker that cannot start a supervisor is adopted by one that is started for it',
  { skip },
  async (t) => {
    const { rig, device, disk } = await openDisk(t)
    const writer = await startShareWriter(t, { path: disk, isDisk: true, blocks: 256, lanes: 4 })
    const { worker, supervisor } = pairOf(device)
    assert.ok(worker)
    process.kill(worker.pid, 'SIGSTOP')
    await kill(supervisor)
    assert.equal(pairOf(device).supervisor, undefined)
    const { socketPath = '', exportName = '' } = (await rig.holders.holderStatus(holderId)) ?? {}
    await device.ensure({ head: { socketPath, exportName }, sizeBytes: 64 * GiB, identity: volumeId })
    const adopted = pairOf(device).supervisor
    assert.ok(adopted)
    // Now it sees that its supervisor died, finds that it has another one, and leaves it at that.
    process.kill(worker.pid, 'SIGCONT')
    const before = await writer.writes()
    await until('the writer goes on', async () => (await writer.writes()) > before + 50)
    await until('there is one supervisor', async () => findByCommandWord(`mount=${device.file}`).length === 2)
    assert.equal(pairOf(device).supervisor?.pid, adopted.pid)
    await kill(worker)
    // Both dead at the same time is another case: the next worker must be at work.
    const since = await writer.writes()
    await until('the writer goes on', async () => (await writer.writes()) > since + 50)
    await kill(adopted)
    await until('there is another supervisor', async () => isAlive(pairOf(device).supervisor))
    assert.deepEqual((await writer.stop()).errors, [])
  },
)

test(
  'where the image has no space left writes wait, and go on when there is',
  { skip: skip || skipXfs },
  async (t) => {
    let close = async (): Promise<void> => {}
    t.after(() => close())
    const aggregate = mountXfs(t, 512 * MiB)
    const { rig, device, disk, imagePath } = await openDisk(t, aggregate)
    close = async () => {
      await detachLoop(disk).catch(() => {})
      await device.end()
      await rig.holders.ensureNoHolder(caller, holderId)
    }
    const { bavail, bsize } = statfsSync(aggregate)
    writeFileSync(join(aggregate, 'ballast'), Buffer.alloc(bavail * bsize - 24 * MiB, 1))
    const writer = await startShareWriter(t, { path: disk, isDisk: true, blocks: 64 * 1024, lanes: 4 })
    await until('it is told', async () => device.trouble?.includes('no space') === true, 120_000)
    // A worker that is killed meanwhile makes no difference.
    await kill(pairOf(device).worker)
    await until('it is told again', async () => device.trouble?.includes('no space') === true)
    rmSync(join(aggregate, 'ballast'))
    await until('all is well', async () => device.trouble === undefined)
    const before = await writer.writes()
    await until('the writer goes on', async () => (await writer.writes()) > before + 100)
    const result = await writer.stop()
    assert.deepEqual(result.errors, [])
    assert.deepEqual(await lostWrites(imagePath, asResult(result)), [])
  },
)

test('what another volume serves is never used', { skip }, async (t) => {
  const { rig, device, disk } = await openDisk(t)
  const writer = await startShareWriter(t, { path: disk, isDisk: true, blocks: 256, lanes: 4 })
  const right = (await rig.holders.holderStatus(holderId)) ?? { socketPath: '', exportName: '', pid: 0 }
  const { access } = await rig.newImage(64 * GiB)
  const wrong = await rig.holders.ensureHolder(caller, {
    holderId: 'att-2',
    volumeId: 'vol-2',
    image: access,
    serves: true,
  })
  const at = ({ socketPath = '', exportName = '' }: { socketPath?: string; exportName?: string }) =>
    device.point({ socketPath, exportName })
  at(wrong)
  await kill(identityOf(right.pid))
  await until('it is told', async () => device.trouble?.includes('it serves vol-2, not vol-1') === true)
  const before = await writer.writes()
  await sleep(300)
  assert.equal(await writer.writes(), before)
  at(right)
  await until('the writer goes on', async () => (await writer.writes()) > before + 50)
  assert.deepEqual((await writer.stop()).errors, [])
  await rig.holders.ensureNoHolder(caller, 'att-2')
  assert.equal((await stat(access.path)).blocks, 0, 'nothing was written to it')
})

/** In a process of its own: what waits for the device holds none of ours up. */
async function writeLater(t: TestContext, path: string, byte: number): Promise<void> {
  const program =
    'require("fs").writeSync(require("fs").openSync(process.argv[1], "r+"), Buffer.alloc(4096, +process.argv[2]))'
  const child = spawn(process.execPath, ['-e', program, path, String(byte)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const [code] = await once(child, 'exit')
  assert.equal(code, 0, `${byte} was not written`)
}
