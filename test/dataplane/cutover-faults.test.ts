import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { isDomainError } from '@volant/contract'
import { ensureGone, identityOf } from '@volant/qemu/process.ts'
import { QmpClient } from '@volant/qemu/qmp.ts'
import { lostWrites } from './records.ts'
import { caller, longestMs, openRig, startWriter, until } from './rig.ts'

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code
const holderId = 'att-1'
const jobId = 'op-1'

/** A head under load whose mirror is ready. */
async function openReady(t: TestContext) {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 300 })
  await sleep(200)
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')
  return { rig, source, target, spec, head, writer }
}

test('the daemon killed in PENDING: finalizing starts it on the target, and the client goes on', async (t) => {
  const { rig, target, head, writer } = await openReady(t)
  await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
  await rig.holders.commitCutover(caller, holderId, jobId)
  process.kill(head.pid, 'SIGKILL')
  await sleep(300)
  assert.equal(await rig.holders.holderStatus(holderId), undefined, 'nobody but the caller may start it now')
  const report = await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
  assert.equal(report.restarted, true)
  assert.equal((await rig.holders.holderStatus(holderId))?.imageId, target.ref.imageId)
  await sleep(300)
  const result = await writer.stop()
  t.diagnostic(`longest ${longestMs(result).toFixed(0)} ms, of which 300 were the test's`)
  assert.equal(result.errors, 0)
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

test('the daemon killed in PENDING, and the caller decides for the source', async (t) => {
  const { rig, source, target, head, writer } = await openReady(t)
  await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
  process.kill(head.pid, 'SIGKILL')
  await rig.holders.abandonCutover(caller, holderId, jobId)
  assert.equal((await rig.holders.holderStatus(holderId))?.imageId, source.ref.imageId)
  assert.equal((await rig.holders.mirrorStatus(holderId, jobId)).phase, 'absent')
  await rig.storage.ensureNoImage(caller, target.ref)
  await sleep(200)
  const result = await writer.stop()
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})

test("PENDING outlives a restart of the agent's process, which finalizes it by the caller's record", async (t) => {
  const { rig, target, spec, writer } = await openReady(t)
  await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
  await rig.holders.commitCutover(caller, holderId, jobId)
  await rig.restartHolders().adopt()
  const status = await rig.holders.ensureHolder(caller, { ...spec, image: target.access })
  assert.equal(status.imageId, target.ref.imageId)
  await sleep(200)
  const result = await writer.stop()
  assert.equal(result.connections, 1)
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

test('a finalized cutover whose agent died before it noted it is never undone', async (t) => {
  const { rig, target, spec, head, writer } = await openReady(t)
  await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
  await rig.holders.commitCutover(caller, holderId, jobId)
  rig.holders.detach()
  const qmp = await QmpClient.connect({ path: (head.socketPath ?? '').replace(/n$/, 'q') })
  await qmp.execute('job-finalize', { id: `m-${jobId}` })
  qmp.close()
  await sleep(200) // acknowledged writes that only the target has
  rig.restartHolders()
  await assert.rejects(rig.holders.ensureNoMirror(caller, holderId, jobId), refused('conflict'))
  await ensureGone(identityOf(head.pid))
  await assert.rejects(rig.holders.abandonCutover(caller, holderId, jobId), refused('conflict'))
  await assert.rejects(rig.holders.ensureHolder(caller, spec), refused('conflict'))
  const status = await rig.holders.ensureHolder(caller, { ...spec, image: target.access })
  assert.equal(status.imageId, target.ref.imageId)
  await sleep(200)
  const result = await writer.stop()
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

test('a target file that cannot be read is found out before the commit, though its mirror was completed', async (t) => {
  const { rig, source, target, writer } = await openReady(t)
  const file = await open(target.access.path)
  const fails = t.mock.method(Object.getPrototypeOf(file) as typeof file, 'read', () =>
    Promise.reject(new Error('EIO')),
  )
  await assert.rejects(rig.holders.prepareCutover(caller, holderId, jobId, 5000), refused('unavailable'))
  fails.mock.restore()
  await file.close()
  await assert.rejects(rig.holders.commitCutover(caller, holderId, jobId), refused('conflict'))
  assert.equal((await rig.holders.holderStatus(holderId))?.imageId, source.ref.imageId)
  await sleep(200)
  const result = await writer.stop()
  assert.equal(result.errors, 0)
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})

test('a running head is never moved to another image without a cutover', async (t) => {
  const { rig, target, spec, writer } = await openReady(t)
  await assert.rejects(
    rig.holders.ensureHolder(caller, { ...spec, image: target.access }),
    refused('conflict'),
  )
  await assert.rejects(
    rig.holders.finalizeCutover(caller, holderId, jobId, target.access),
    refused('conflict'),
  )
  await rig.holders.ensureNoMirror(caller, holderId, jobId)
  await writer.stop()
})

test('a mirror that died with its daemon is failed, and can be started again', async (t) => {
  const { rig, target, head, writer } = await openReady(t)
  process.kill(head.pid, 'SIGKILL')
  await until('the head is back', async () => {
    const now = await rig.holders.holderStatus(holderId).catch(() => undefined)
    return now !== undefined && now.pid !== head.pid
  })
  assert.equal((await rig.holders.mirrorStatus(holderId, jobId)).phase, 'failed')
  const other = await rig.newImage()
  await rig.holders.ensureMirror(caller, { holderId, jobId: 'op-2', target: other.access, rate: 0 })
  const again = { holderId, jobId, target: target.access, rate: 0 }
  await assert.rejects(rig.holders.ensureMirror(caller, again), refused('conflict'), 'one copy at a time')
  await rig.holders.ensureNoMirror(caller, holderId, 'op-2')
  await rig.storage.ensureNoImage(caller, other.ref)
  await rig.holders.ensureMirror(caller, again)
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')
  await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
  await rig.holders.commitCutover(caller, holderId, jobId)
  await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
  await sleep(100)
  const result = await writer.stop()
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

test('an image that is not the one meant is refused before its first byte', async (t) => {
  const { rig, target, writer } = await openReady(t)
  await rig.holders.ensureNoMirror(caller, holderId, jobId)
  const mirror = (change: object) =>
    rig.holders.ensureMirror(caller, { holderId, jobId, rate: 0, target: { ...target.access, ...change } })
  await assert.rejects(mirror({ sizeBytes: 128 * 2 ** 20 }), refused('conflict'))
  await assert.rejects(mirror({ imageId: crypto.randomUUID() }), refused('conflict'))
  await rig.storage.ensureImageReadOnly(caller, target.ref, true)
  await assert.rejects(mirror({}), refused('conflict'))
  await writer.stop()
})

test('a control plane that was replaced, but still runs, lets go of its daemons', async (t) => {
  const rig = await openRig(t)
  const { access } = await rig.newImage()
  const spec = { holderId, volumeId: 'vol-1', image: access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const newer = rig.holderAgent({})
  assert.deepEqual(await newer.ensureHolder({ fence: 2 }, spec), head)
  await assert.rejects(rig.holders.ensureNoHolder(caller, holderId), refused('staleFence'))
  await assert.rejects(rig.holders.holderStatus(holderId), refused('staleFence'), 'not even to look')
  newer.detach()
  process.kill(head.pid, 'SIGKILL')
  await sleep(500)
  assert.equal(await rig.holders.holderStatus(holderId), undefined, 'the replaced one starts nothing')
  const now = await newer.ensureHolder({ fence: 2 }, spec)
  assert.equal(now.exportName, head.exportName)
  await newer.ensureNoHolder({ fence: 2 }, holderId)
})

test('a control plane that was replaced is refused', async (t) => {
  const rig = await openRig(t)
  const { ref, access } = await rig.newImage()
  const spec = { holderId, volumeId: 'vol-1', image: access, serves: false }
  await rig.holders.ensureHolder({ fence: 5 }, spec)
  await assert.rejects(rig.holders.ensureHolder({ fence: 4 }, spec), refused('staleFence'))
  await assert.rejects(rig.restartHolders().ensureNoHolder({ fence: 4 }, holderId), refused('staleFence'))
  await rig.holders.ensureNoHolder({ fence: 5 }, holderId)
  await rig.storage.ensureImageSize({ fence: 7 }, ref, 128 * 2 ** 20)
  await assert.rejects(rig.storage.ensureNoImage({ fence: 6 }, ref), refused('staleFence'))
})
