import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import type { LocalHolderAgent } from '@volant/agent'
import type { HolderRecord } from '@volant/agent/holder/record.ts'
import { ensureGone, identityOf } from '@volant/qemu/process.ts'
import { lostWrites } from './records.ts'
import { caller, openRig, startWriter, until } from './rig.ts'

const holderId = 'att-1'
const jobId = 'op-1'

test('a crash after a cutover was noted, before it was tidied up, is caught up with', async (t) => {
  const rig = await openRig(t)
  const [source, target, next] = [await rig.newImage(), await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 200 })
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')
  await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
  await rig.holders.commitCutover(caller, holderId, jobId)
  await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)

  // The record as it is on disk between the two writes at the end of `finalizeCutover`.
  const path = join(rig.folder, 'h', 'holders', `${holderId}.json`)
  const record = JSON.parse(readFileSync(path, 'utf8')) as HolderRecord
  assert.equal(record.lastCutover?.jobId, jobId)
  const mark = { jobId, target: target.access }
  rig.holders.detach()
  writeFileSync(path, JSON.stringify({ ...record, mirror: mark, cutover: mark }))

  const holders = rig.restartHolders()
  await holders.finalizeCutover(caller, holderId, jobId, target.access)
  await holders.ensureHolder(caller, { ...spec, image: target.access })
  process.kill(head.pid, 'SIGKILL')
  await until('the head is back without a word from anybody', async () => {
    const now = await holders.holderStatus(holderId).catch(() => undefined)
    return now !== undefined && now.pid !== head.pid && now.imageId === target.ref.imageId
  })
  // And the volume can move on.
  await holders.ensureMirror(caller, { holderId, jobId: 'op-2', target: next.access, rate: 0 })
  await holders.ensureNoMirror(caller, holderId, 'op-2')
  await sleep(100)
  const result = await writer.stop()
  assert.equal(result.errors, 0)
  await holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

test('a head that is dead is not started on an image older than the one it stood on', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 200 })
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')
  await rig.holders.prepareCutover(caller, holderId, jobId, 5000)
  await rig.holders.commitCutover(caller, holderId, jobId)
  await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
  await sleep(100)
  const result = await writer.stop()
  rig.holders.detach()
  await ensureGone(identityOf(head.pid))
  // A caller whose record is older than the cutover: a database that was restored, a call that was held up.
  const holders = rig.restartHolders()
  await assert.rejects(holders.ensureHolder(caller, spec), { code: 'conflict' })
  await holders.ensureHolder(caller, { ...spec, image: target.access })
  await holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(target.access.path, result), [])
})

/**
 * A cutover that does not reach PENDING for a while, with completion asked for: requests that wait in the throttle filter
 * are in flight.
 */
async function beginCutover(holders: LocalHolderAgent, recordPath: string): Promise<Promise<unknown>[]> {
  await holders.ensureLimits(caller, holderId, { iopsTotal: 20 })
  const preparing = holders.prepareCutover(caller, holderId, jobId, 20_000)
  preparing.catch(() => {})
  await until('the cutover is marked', async () => readFileSync(recordPath, 'utf8').includes('"guard"'))
  await until(
    'completion is asked for',
    async () => (await holders.mirrorStatus(holderId, jobId)).phase === 'completing',
  )
  return [preparing]
}

test('a cutover that this process lets go of is left as it is', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 0, lanes: 8 })
  await sleep(300)
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')
  const path = join(rig.folder, 'h', 'holders', `${holderId}.json`)
  const [preparing] = await beginCutover(rig.holders, path)
  rig.holders.detach()
  await assert.rejects(preparing as Promise<unknown>)
  const holders = rig.restartHolders()
  const status = await holders.ensureHolder(caller, spec)
  assert.equal(status.pid, head.pid, 'the daemon was not touched')
  const result = await writer.stop()
  assert.equal(result.connections, 1)
  await holders.ensureNoMirror(caller, holderId, jobId)
  await holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})

test('a head that dies before PENDING comes back on the source', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 0, lanes: 8 })
  await sleep(300)
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')
  const path = join(rig.folder, 'h', 'holders', `${holderId}.json`)
  const [preparing] = await beginCutover(rig.holders, path)
  process.kill(head.pid, 'SIGKILL')
  await assert.rejects(preparing as Promise<unknown>)
  const now = await rig.holders.holderStatus(holderId)
  assert.equal(now?.imageId, source.ref.imageId)
  await sleep(200)
  const result = await writer.stop()
  assert.equal(result.errors, 0)
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})
