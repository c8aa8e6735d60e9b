/** What an agent does when its process comes back, before anybody asks: real storage daemons. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import type { HolderStatus } from '@volant/contract'
import { identityOf, isAlive } from '@volant/qemu/process.ts'
import { processesOf } from '../crash/processes.ts'
import { caller, openRig, until, type Rig } from './rig.ts'

const holderId = 'att-1'
const jobId = 'op-1'

async function openHead(rig: Rig) {
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  return { source, target, spec, head: await rig.holders.ensureHolder(caller, spec) }
}

/** The agent's process dies, and then the daemon: nobody is there to start it again. */
async function killBoth(rig: Rig, { pid }: HolderStatus): Promise<void> {
  const daemon = identityOf(pid)
  rig.holders.detach()
  process.kill(pid, 'SIGKILL')
  await until('the daemon is dead', async () => !isAlive(daemon))
}

test('a head that died while its agent was away is started by the next one', async (t) => {
  const rig = await openRig(t)
  const { head, source } = await openHead(rig)
  await killBoth(rig, head)
  const next = rig.restartHolders()
  await next.adopt()
  const now = await next.holderStatus(holderId)
  assert.ok(now !== undefined && now.pid !== head.pid, 'another daemon runs')
  assert.equal(now.imageId, source.ref.imageId)
  assert.equal(now.exportName, head.exportName)
})

test('a head that runs is found and watched: when it dies then, it is started again', async (t) => {
  const rig = await openRig(t)
  const { head } = await openHead(rig)
  const next = rig.restartHolders()
  await next.adopt()
  assert.equal((await next.holderStatus(holderId))?.pid, head.pid)
  process.kill(head.pid, 'SIGKILL')
  await until('another daemon runs', async () => {
    const now = await next.holderStatus(holderId).catch(() => undefined)
    return now !== undefined && now.pid !== head.pid
  })
})

test('a head that died at its cutover is started by nobody but the caller', async (t) => {
  const rig = await openRig(t)
  const { head, spec, source, target } = await openHead(rig)
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
  await until('ready', async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready')
  await rig.holders.prepareCutover(caller, holderId, jobId, 60_000)
  await killBoth(rig, head)
  const next = rig.restartHolders()
  await next.adopt()
  await sleep(500) // for a supervisor that would start it
  assert.equal(await next.holderStatus(holderId), undefined)
  const now = await next.ensureHolder(caller, spec)
  assert.equal(now.imageId, source.ref.imageId)
})

test('a call that waited for its turn while another control plane took over is refused', async (t) => {
  const rig = await openRig(t)
  const { source } = await openHead(rig)
  await rig.holders.ensureNoHolder(caller, holderId)
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const starting = rig.holders.ensureHolder({ fence: 1 }, spec)
  const waiting = assert.rejects(rig.holders.ensureNoHolder({ fence: 1 }, holderId), { code: 'staleFence' })
  await sleep(1) // until the first has its turn
  await rig.holders.ensureNoHolder({ fence: 2 }, 'another')
  await Promise.all([starting, waiting])
  assert.notEqual(await rig.holders.holderStatus(holderId), undefined)
  await rig.holders.ensureNoHolder({ fence: 2 }, holderId)
})

test('an export that is being revoked is not started again by the adoption beside it', async (t) => {
  const rig = await openRig(t)
  const { ref } = await rig.newImage()
  const exportId = 'exp-1'
  await rig.storage.ensureExport(caller, exportId, ref)
  const [{ pid } = { pid: 0 }] = await rig.storage.listExports()
  const daemon = identityOf(pid)
  rig.storage.detach()
  process.kill(pid, 'SIGKILL')
  await until('the daemon is dead', async () => !isAlive(daemon))
  const next = rig.storageAgent({})
  const revoked = next.ensureNoExport(caller, exportId)
  await setImmediate() // the call is under way, and the export's record is still there
  await Promise.all([revoked, next.adopt()])
  assert.deepEqual(await next.listExports(), [])
  const left = await processesOf(join(rig.folder, 'r', exportId))
  assert.deepEqual(left, [], 'nothing serves the image any more')
})
