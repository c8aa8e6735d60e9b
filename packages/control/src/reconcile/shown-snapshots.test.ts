import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import type { Operation } from '@volant/saga'
import pino from 'pino'
import { sweepRecords } from '../db/repositories/sweep.ts'
import type { SnapshotAccessRule } from '../domain/share.ts'
import { applySnapshotAccess, type ApplySnapshotAccessInput } from '../operations/apply-snapshot-access.ts'
import { carryOut, makeShare, shareAgentOf, sharePorts } from '../testing/shares.ts'
import { makeSnapshot } from '../testing/snapshots.ts'
import { openWorld } from '../testing/world.ts'
import { restoreShownSnapshots, type RestoreShownPorts } from './shown-snapshots.ts'

const caller = { fence: 1 }

async function open(t: TestContext) {
  const world = await openWorld({ lma: 'store-a', lmb: 'store-b', compute: 'compute' })
  t.after(() => world.db.destroy())
  const base = sharePorts(world)
  const share = await makeShare(base, { mountSnapshotSupport: true })
  const volume = await world.records.volumes.get(share.volumeId ?? '')
  const snapshot = await makeSnapshot(world, volume, 1)
  const rule: SnapshotAccessRule = {
    id: crypto.randomUUID(),
    snapshotId: snapshot.id,
    accessType: 'ip',
    accessTo: '10.0.0.1',
    state: 'queued_to_apply',
    createdAt: share.createdAt,
    updatedAt: null,
  }
  await base.snapshotAccess.create(rule)
  let isBusy = false
  let isMoved = false
  const ports: RestoreShownPorts = {
    ...base,
    log: pino({ level: 'silent' }),
    engine: {
      holderOf: async (key) =>
        isMoved && key.startsWith('volume/') ? { id: 'op', kind: 'volume.relocate' } : undefined,
      start: async <Input, Ports>(_operation: Operation<Input, Ports>, input: Input) => {
        if (isBusy) throw new DomainError('conflict', 'It is held.')
        await carryOut(applySnapshotAccess, base, input as ApplySnapshotAccessInput)
        return { id: 'new' }
      },
    },
  }
  const agent = shareAgentOf(world)
  const restore = async () => (await restoreShownSnapshots(ports)).started
  const clients = async () => (await agent.shareStatus(snapshot.id)).export?.clients
  return {
    world,
    base,
    snapshot,
    rule,
    agent,
    restore,
    clients,
    busy: (is: boolean) => void (isBusy = is),
    moved: (is: boolean) => void (isMoved = is),
  }
}

const one = [{ to: '10.0.0.1', level: 'ro' }]

test('a rule that nobody applied is applied; then there is nothing to do', async (t) => {
  const { snapshot, restore, clients, busy } = await open(t)
  busy(true)
  assert.deepEqual(await restore(), [], 'what works on it now is left alone')
  assert.equal(await clients(), undefined)
  busy(false)
  assert.deepEqual(await restore(), [snapshot.id])
  assert.deepEqual(await clients(), one)
  assert.deepEqual(await restore(), [])
})

test('after a restart of its machine a snapshot is served again, from the same image', async (t) => {
  const { world, base, snapshot, agent, restore, clients } = await open(t)
  await restore()
  const before = await base.shown.find(snapshot.id)
  const [attachment] = await world.records.attachments.ofVolume(before?.volumeId ?? '')
  await agent.ensureAllStopped(caller)
  await world.agents.holders('store-a').ensureNoHolder(caller, attachment?.id ?? '')
  assert.deepEqual(await restore(), [snapshot.id])
  assert.deepEqual(await clients(), one)
  assert.deepEqual(await base.shown.find(snapshot.id), before)
  assert.deepEqual(await restore(), [])
})

test('one whose last rule went while its volume was moved is taken down', async (t) => {
  const { base, snapshot, rule, agent, restore, moved } = await open(t)
  await restore()
  await base.snapshotAccess.updateIf(rule.id, ['active'], 'queued_to_deny')
  const input = { snapshotId: snapshot.id, projectId: 'p', requestId: null, volume: null }
  await carryOut(applySnapshotAccess, base, input)
  assert.deepEqual((await agent.shareStatus(snapshot.id)).export?.clients, [], 'nobody has access')
  moved(true)
  assert.deepEqual(await restore(), [], 'no move gives way for it')
  moved(false)
  assert.deepEqual(await restore(), [snapshot.id])
  assert.deepEqual(await agent.shareStatus(snapshot.id), { shareId: snapshot.id })
  assert.equal(await base.shown.find(snapshot.id), undefined)
})

test('a rule that could not be brought about is left to its user', async (t) => {
  const { base, rule, restore } = await open(t)
  await base.snapshotAccess.updateIf(rule.id, ['queued_to_apply'], 'error')
  assert.deepEqual(await restore(), [])
})

test('the sweep knows whose its file system is, and that it is gone', async (t) => {
  const { world, base, snapshot, rule, restore } = await open(t)
  await restore()
  const owners = sweepRecords(world.db)
  assert.deepEqual(await owners.shares([snapshot.id]), new Map([[snapshot.id, { node: 'lma-01' }]]))
  await base.snapshotAccess.updateIf(rule.id, ['active'], 'queued_to_deny')
  await restore()
  assert.deepEqual(await owners.shares([snapshot.id]), new Map())
  assert.ok((await owners.tombstones([snapshot.id])).has(`share/${snapshot.id}`))
})
