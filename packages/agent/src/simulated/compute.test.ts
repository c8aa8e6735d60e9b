import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GuestDisk, GuestSpec } from '@volant/contract'
import { createSimulatedComputeAgent } from './compute.ts'

const disk: GuestDisk = {
  attachmentId: 'a1',
  volumeId: '7d4c0e1e-0000-4000-8000-000000000001',
  socketPath: '/run/a1',
  exportName: 'a1',
  boot: false,
}
const spec: GuestSpec = { serverId: 's1', name: 's1', vcpus: 1, memoryMiB: 128, disks: [disk], nics: [] }

test('repeated calls change nothing, and a stopped server is not an absent one', async () => {
  const agent = createSimulatedComputeAgent({ host: 'h1' })
  const caller = { fence: 1 }
  const first = await agent.ensureGuest(caller, spec)
  assert.deepEqual(await agent.ensureGuest(caller, spec), first)
  assert.deepEqual(first.diskAttachmentIds, ['a1'])
  await agent.ensureNoDisk(caller, 's1', 'a1', 100)
  await agent.ensureNoDisk(caller, 's1', 'a1', 100)
  await agent.ensureDisk(caller, 's1', disk)
  await agent.ensureDiskSize(caller, 's1', 'a1', 2 ** 30)
  await agent.ensureDisk(caller, 's1', disk)
  assert.equal(agent.disksOf('s1')[0]?.sizeBytes, 2 ** 30)
  await agent.ensureGuestStopped(caller, 's1', 0)
  assert.equal((await agent.guestStatus('s1')).state, 'stopped')
  await assert.rejects(agent.ensureDisk(caller, 's1', disk), { code: 'conflict' })
  await agent.ensureNoGuest(caller, 's1')
  assert.equal((await agent.guestStatus('s1')).state, 'absent')
  await assert.rejects(agent.ensureDisk(caller, 's1', disk), { code: 'notFound' })
})

test('an old fence is refused, and hooks make a call fail before or after its effect', async () => {
  let fail: 'before' | 'after' | undefined
  const hook = (when: 'before' | 'after') => (): void => {
    if (fail === when) throw new Error(when)
  }
  const agent = createSimulatedComputeAgent({ host: 'h1', before: hook('before'), after: hook('after') })
  await agent.ensureGuest({ fence: 5 }, { ...spec, disks: [] })
  await assert.rejects(agent.ensureDisk({ fence: 4 }, 's1', disk), { code: 'staleFence' })
  fail = 'before'
  await assert.rejects(agent.ensureDisk({ fence: 5 }, 's1', disk), /before/)
  assert.equal(agent.disksOf('s1').length, 0)
  fail = 'after'
  await assert.rejects(agent.ensureDisk({ fence: 5 }, 's1', disk), /after/)
  assert.equal(agent.disksOf('s1').length, 1)
  fail = undefined
  agent.setKeepsDisks('s1', true)
  await assert.rejects(agent.ensureNoDisk({ fence: 5 }, 's1', 'a1', 100), { code: 'conflict' })
  agent.crash('s1')
  assert.equal((await agent.guestStatus('s1')).reason, 'the QEMU process died')
})

test('what a guest waited for is counted by disk, anew where the disk is plugged in anew', async () => {
  const agent = createSimulatedComputeAgent({ host: 'h1' })
  const caller = { fence: 1 }
  await assert.rejects(agent.guestLatency('s1'), { code: 'notFound' })
  await agent.ensureGuest(caller, spec)
  agent.endRequests('s1', 'a1', { writes: [1_000_000, 1_000_000, 20_000_000_000], reads: [1] })
  const [first] = await agent.guestLatency('s1')
  assert.ok(first)
  const { boundsNs, counts } = first.writes
  assert.equal(counts.length, boundsNs.length + 1)
  assert.equal(counts.at(-1), 1, 'longer than all bounds')
  const bin = counts.indexOf(2)
  assert.ok((boundsNs[bin - 1] ?? 0) <= 1_000_000 && 1_000_000 < (boundsNs[bin] ?? 0))
  assert.equal(first.reads.counts[0], 1)
  agent.endRequests('s1', 'a1', { flushes: [5] })
  const [second] = await agent.guestLatency('s1')
  assert.equal(second?.since, first.since)
  await agent.ensureNoDisk(caller, 's1', 'a1', 100)
  await agent.ensureDisk(caller, 's1', disk)
  const [anew] = await agent.guestLatency('s1')
  assert.notEqual(anew?.since, first.since)
  assert.equal(anew?.flushes.counts[0], 0)
  await agent.ensureGuestStopped(caller, 's1', 0)
  await assert.rejects(agent.guestLatency('s1'), { code: 'conflict' })
})
