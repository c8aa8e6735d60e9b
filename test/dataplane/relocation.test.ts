import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import type { FileAccess } from '@volant/contract'
import { lostWrites } from './records.ts'
import { caller, longestMs, MiB, openRig, startWriter, until } from './rig.ts'
import type { Rig } from './rig.ts'

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code
const holderId = 'att-1'
const head = (rig: Rig, image: FileAccess) =>
  rig.holders.ensureHolder(caller, { holderId, volumeId: 'vol-1', image, serves: true })
const ready = (rig: Rig, jobId: string) =>
  until(`${jobId} is ready`, async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')

test('ten relocations under load lose nothing, and the source is closed', async (t) => {
  const rig = await openRig(t)
  let image = await rig.newImage()
  const status = await head(rig, image.access)
  const writer = await startWriter(t, status)
  const reports = []
  for (let move = 0; move < 10; move++) {
    const target = await rig.newImage()
    const jobId = `op-${move}`
    await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
    await ready(rig, jobId)
    const { drainMs } = await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
    await rig.holders.commitCutover(caller, holderId, jobId)
    const report = await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
    const repeated = await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
    assert.deepEqual(repeated, report)
    assert.equal((await rig.holders.holderStatus(holderId))?.imageId, target.ref.imageId)
    assert.equal((await rig.holders.mirrorStatus(holderId, jobId)).phase, 'absent')
    await rig.storage.ensureNoImage(caller, image.ref)
    reports.push({ drainMs, ...report })
    image = target
    await sleep(50)
  }
  const result = await writer.stop()
  const line = reports.map(
    (r) => `${r.pauseMs.toFixed(1)} (drain ${r.drainMs.toFixed(1)}, daemon ${r.quiescedMs?.toFixed(1)})`,
  )
  t.diagnostic(`reported pauses, ms: ${line.join('; ')}`)
  t.diagnostic(`client: ${result.writes} writes, longest ${longestMs(result).toFixed(1)} ms`)
  assert.equal(result.errors, 0)
  assert.equal(result.connections, 1, 'a relocation must not cost the client its connection')
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(image.access.path, result), [])
})

test('a client that is shaped has what its limit allows, and the copy beside it is not held back', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const status = await head(rig, source.access)
  const filling = await startWriter(t, status, { perSecond: 0 })
  await sleep(1500)
  const filled = await filling.stop()
  await rig.holders.ensureLimits(caller, holderId, { bpsWrite: 100 * 4096 })
  const writer = await startWriter(t, status, { perSecond: 0 })
  const begun = performance.now()
  await rig.holders.ensureMirror(caller, { holderId, jobId: 'op', target: target.access, rate: 0 })
  await until('the first pass is over', async () => {
    const { phase, doneBytes } = await rig.holders.mirrorStatus(holderId, 'op')
    return phase === 'ready' || doneBytes >= filled.writes * 4096
  })
  await sleep(Math.max(0, 2000 - (performance.now() - begun)))
  const seconds = (performance.now() - begun) / 1000
  const result = await writer.stop()
  t.diagnostic(`${filled.writes} writes to copy, then ${result.writes} in ${seconds.toFixed(1)} s at 100/s`)
  // The copy reads more than 100 blocks a second: through the client's limit it would have taken nearly all of it.
  assert.ok(result.writes >= seconds * 20, `${result.writes} writes in ${seconds} s`)
})

test('a cancelled copy leaves its target removable and the client at the source', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const writer = await startWriter(t, await head(rig, source.access))
  await sleep(300)
  await rig.holders.ensureMirror(caller, { holderId, jobId: 'op', target: target.access, rate: 4096 * 10 })
  assert.equal((await rig.holders.mirrorStatus(holderId, 'op')).phase, 'copying')
  await rig.holders.ensureMirrorPaused(caller, holderId, 'op', true)
  await until('paused', async () => (await rig.holders.mirrorStatus(holderId, 'op')).pausedByUser)
  await rig.holders.ensureMirrorPaused(caller, holderId, 'op', false)
  await assert.rejects(rig.holders.prepareCutover(caller, holderId, 'op', 1000), refused('conflict'))
  await assert.rejects(rig.storage.ensureNoImage(caller, target.ref), refused('conflict'))
  await rig.holders.ensureNoMirror(caller, holderId, 'op')
  await rig.holders.ensureNoMirror(caller, holderId, 'op')
  assert.equal((await rig.holders.mirrorStatus(holderId, 'op')).phase, 'absent')
  await rig.storage.ensureNoImage(caller, target.ref)
  await sleep(200)
  const result = await writer.stop()
  assert.equal(result.errors + result.connections, 1)
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})

test('a thin image stays thin: the target gets the blocks that the source has', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(1024 * MiB), await rig.newImage(1024 * MiB)]
  const writer = await startWriter(t, await head(rig, source.access), { sizeBytes: 1024 * MiB, perSecond: 0 })
  await sleep(500)
  const result = await writer.stop()
  await rig.holders.ensureMirror(caller, { holderId, jobId: 'op', target: target.access, rate: 0 })
  await ready(rig, 'op')
  await rig.holders.prepareCutover(caller, holderId, 'op', 5000)
  await rig.holders.commitCutover(caller, holderId, 'op')
  await rig.holders.finalizeCutover(caller, holderId, 'op', target.access)
  await rig.holders.ensureNoHolder(caller, holderId)
  const [from, to] = [await rig.storage.imageInfo(source.ref), await rig.storage.imageInfo(target.ref)]
  t.diagnostic(
    `${result.acked.size} blocks written; source ${from?.allocatedBytes}, target ${to?.allocatedBytes} bytes`,
  )
  // ext4 counts the blocks of its extent trees too, and those depend on the order of the writes.
  assert.ok((to?.allocatedBytes ?? 0) <= 1.01 * (from?.allocatedBytes ?? 0))
  assert.ok((to?.allocatedBytes ?? 0) < 512 * MiB)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

test('zeroes that the source has written are holes of the target, and all else is there', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(64 * MiB), await rig.newImage(64 * MiB)]
  const data = randomBytes(4 * MiB)
  const content = Buffer.alloc(64 * MiB)
  for (const at of [0, 20 * MiB, 60 * MiB]) data.copy(content, at)
  await writeFile(source.access.path, content)
  assert.ok(((await rig.storage.imageInfo(source.ref))?.allocatedBytes ?? 0) >= 64 * MiB)
  await head(rig, source.access)
  const inFlightBytes = 1 * MiB
  await rig.holders.ensureMirror(caller, {
    holderId,
    jobId: 'op',
    target: target.access,
    rate: 0,
    inFlightBytes,
  })
  await ready(rig, 'op')
  await rig.holders.prepareCutover(caller, holderId, 'op', 5000)
  await rig.holders.commitCutover(caller, holderId, 'op')
  await rig.holders.finalizeCutover(caller, holderId, 'op', target.access)
  await rig.holders.ensureNoHolder(caller, holderId)
  const occupied = (await rig.storage.imageInfo(target.ref))?.allocatedBytes ?? 0
  assert.ok(occupied >= 12 * MiB && occupied <= 13 * MiB, `${occupied} bytes of 12 MiB of data`)
  assert.ok(content.equals(await readFile(target.access.path)))
})
