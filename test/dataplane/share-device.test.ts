import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BlockDevice } from '@volant/agent/shares/block-device.ts'
import { detachLoop, ensureLoop } from '@volant/agent/storage/loop-mount.ts'
import { findByCommandWord, identityOf, isAlive } from '@volant/qemu/process.ts'
import { lostWrites } from './records.ts'
import { caller, openRig, until } from './rig.ts'
import type { Rig } from './rig.ts'
import { asResult, GiB, kill, skipShares, startShareWriter } from './share-rig.ts'
import { startSlowNbdServer } from './slow-nbd-server.ts'

const skip = await skipShares()
const holderId = 'att-1'
const volumeId = 'vol-1'

/** A disk over a head, without a file system. */
async function openDisk(
  t: TestContext,
): Promise<{ rig: Rig; device: BlockDevice; disk: string; imagePath: string }> {
  let close = async (): Promise<void> => {}
  t.after(() => close())
  const rig = await openRig(t)
  const { access } = await rig.newImage(64 * GiB)
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
    const writer = await startShareWriter(t, { path: disk, isDisk: true, blocks: 256, lanes: 8 })
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

test('what a dead worker had sent never lands on what was written after it', { skip }, async (t) => {
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
