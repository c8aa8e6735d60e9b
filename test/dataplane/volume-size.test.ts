import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { NbdClient } from '@volant/qemu/nbd-client.ts'
import { lostWrites } from './records.ts'
import { caller, longestMs, MiB, openRig, startWriter, until } from './rig.ts'

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code
const holderId = 'att-1'

test('an attached volume grows under load, keeps its name and address, and can move afterwards', async (t) => {
  const rig = await openRig(t)
  const [image, target] = [await rig.newImage(), await rig.newImage(96 * MiB)]
  const spec = { holderId, volumeId: 'vol-1', image: image.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head)
  await sleep(200)
  await rig.holders.ensureSize(caller, holderId, 80 * MiB)
  await until('the client is back', async () => (await writer.connections()) === 2)
  await rig.holders.ensureSize(caller, holderId, 96 * MiB)
  await until('the client is back again', async () => (await writer.connections()) === 3)
  await rig.holders.ensureSize(caller, holderId, 96 * MiB)
  await assert.rejects(rig.holders.ensureSize(caller, holderId, 64 * MiB), refused('invalid'))
  await assert.rejects(rig.holders.ensureSize(caller, holderId, 96 * MiB + 512), refused('invalid'))
  const nbd = await NbdClient.connect({ path: head.socketPath ?? '' }, head.exportName ?? '', 3000)
  assert.equal(nbd.sizeBytes, 96 * MiB)
  nbd.close()
  await rig.holders.ensureMirror(caller, { holderId, jobId: 'op', target: target.access, rate: 0 })
  await assert.rejects(rig.holders.ensureSize(caller, holderId, 128 * MiB), refused('conflict'))
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, 'op')).phase === 'ready')
  await rig.holders.prepareCutover(caller, holderId, 'op', 5000)
  await rig.holders.finalizeCutover(caller, holderId, 'op', target.access)
  await sleep(100)
  const result = await writer.stop()
  t.diagnostic(`longest write ${longestMs(result).toFixed(0)} ms, ${result.connections} connections`)
  assert.equal(result.connections, 3)
  assert.equal(result.errors, 0)
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.equal((await rig.storage.imageInfo(image.ref))?.sizeBytes, 96 * MiB)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

test('limits hold for the client, can be changed at run time, and outlive the daemon', async (t) => {
  const rig = await openRig(t)
  const { access } = await rig.newImage()
  const spec = { holderId, volumeId: 'vol-1', image: access, serves: true, limits: { iopsTotal: 20 } }
  const head = await rig.holders.ensureHolder(caller, spec)
  /** Writes in a second, however long the measurement takes on this machine. */
  const rate = async (): Promise<number> => {
    const begun = performance.now()
    const writer = await startWriter(t, head, { perSecond: 0 })
    await sleep(2000)
    const { writes } = await writer.stop()
    return (1000 * writes) / (performance.now() - begun)
  }
  const limited = await rate()
  process.kill(head.pid, 'SIGKILL')
  await until('the head is back', async () => {
    const now = await rig.holders.holderStatus(holderId).catch(() => undefined)
    return now !== undefined && now.pid !== head.pid
  })
  const again = await rate()
  await rig.holders.ensureLimits(caller, holderId, {})
  const free = await rate()
  const told = [limited, again, free].map((value) => value.toFixed(0)).join(', ')
  t.diagnostic(`writes in a second: limited, after a restart, free: ${told}`)
  // Above the limit of 20 there is what may come at once.
  assert.ok(limited < 45 && again < 45 && free > limited && free > again, told)
})

test('a mover copies the image of a volume that nobody uses', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const head = await rig.holders.ensureHolder(caller, {
    holderId,
    volumeId: 'v',
    image: source.access,
    serves: true,
  })
  const writer = await startWriter(t, head, { perSecond: 0 })
  await sleep(200)
  const result = await writer.stop()
  await rig.holders.ensureNoHolder(caller, holderId)
  const mover = await rig.holders.ensureHolder(caller, {
    holderId: 'op-1',
    volumeId: 'v',
    image: source.access,
    serves: false,
  })
  assert.equal(mover.socketPath, undefined)
  await rig.holders.ensureMirror(caller, { holderId: 'op-1', jobId: 'op-1', target: target.access, rate: 0 })
  await until('ready', async () => (await rig.holders.mirrorStatus('op-1', 'op-1')).phase === 'ready')
  await rig.holders.prepareCutover(caller, 'op-1', 'op-1', 5000)
  await rig.holders.finalizeCutover(caller, 'op-1', 'op-1', target.access)
  await rig.holders.ensureNoHolder(caller, 'op-1')
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})
