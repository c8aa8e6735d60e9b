import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import type { Operation } from '@volant/saga'
import type { ShareStatus } from '../domain/share.ts'
import { systemClock } from '../ports/clock.ts'
import { addShare, makeShare, shareMessagesOf, sharePorts } from '../testing/shares.ts'
import { addSnapshot, makeSnapshot } from '../testing/snapshots.ts'
import { openWorld } from '../testing/world.ts'
import { recoverShares } from './share-recovery.ts'

async function open() {
  const world = await openWorld()
  const ports = sharePorts(world)
  const held = new Set<string>()
  const started: string[] = []
  const sources = {
    ...ports,
    clock: systemClock,
    engine: {
      holderOf: async (key: string) => (held.has(key) ? { id: 'op', kind: 'some.operation' } : undefined),
      start: async <Input, Ports>(operation: Operation<Input, Ports>, input: NoInfer<Input>) => {
        const { shareId, snapshotId } = input as { shareId?: string; snapshotId?: string }
        if (held.has('flexvol')) throw new DomainError('conflict', 'It is being moved.')
        started.push(`${operation.kind} ${shareId ?? snapshotId}`)
        return { id: 'new' }
      },
    },
  }
  return { world, ports, held, started, sources }
}

test('a share that was claimed, and whose operation was never recorded, gets its end', async (t) => {
  const { world, ports, started, sources } = await open()
  t.after(() => world.db.destroy())
  const ends: [ShareStatus, ShareStatus][] = [
    ['creating', 'error'],
    ['creating_from_snapshot', 'error'],
    ['extending', 'available'],
    ['reverting', 'available'],
    ['migrating', 'available'],
    ['deleting', 'deleting'],
    ['available', 'available'],
    ['error', 'error'],
  ]
  for (const [status, end] of ends) {
    const share = await addShare(ports, {
      status,
      ...(status === 'migrating' && { taskState: 'migration_starting' }),
    })
    await recoverShares(sources)
    const now = await ports.shares.get(share.id)
    assert.equal(now.status, end, status)
    if (status === 'migrating') assert.equal(now.taskState, 'migration_error')
    if (status === 'creating') assert.equal(await shareMessagesOf(world, share.id), 1)
    if (status === 'deleting') assert.deepEqual(started, [`share.delete ${share.id}`])
    await ports.shares.remove(share.id)
  }
})

test('one that an operation works on, and one that was just claimed, are let be', async (t) => {
  const { world, ports, held, sources } = await open()
  t.after(() => world.db.destroy())
  const growing = await addShare(ports, { status: 'extending' })
  const moving = await addShare(ports, { status: 'migrating' })
  held.add(`share/${growing.id}`).add(`share-migration/${moving.id}`)
  assert.deepEqual(await recoverShares(sources), { recovered: [] })
  held.clear()
  assert.deepEqual(await recoverShares(sources, 60_000), { recovered: [] }, 'a request may be at it')
  assert.deepEqual((await recoverShares(sources)).recovered, [growing.id, moving.id])
})

test('a deletion that has to wait for other work keeps nobody from being recovered', async (t) => {
  const { world, ports, held, started, sources } = await open()
  t.after(() => world.db.destroy())
  const share = await makeShare(ports)
  const volume = await world.records.volumes.get(share.volumeId ?? '')
  const going = await addSnapshot(world, volume, { status: 'deleting' })
  const begun = await addSnapshot(world, volume)
  await ports.shares.update(share.id, { status: 'deleting' })
  held.add('flexvol')
  assert.deepEqual((await recoverShares(sources)).recovered, [begun.id])
  assert.equal((await world.records.snapshots.get(begun.id)).status, 'error')
  held.clear()
  assert.deepEqual((await recoverShares(sources)).recovered, [share.id, going.id])
  assert.deepEqual(started, [`share.delete ${share.id}`, `snapshot.delete ${going.id}`])
})

test('so do snapshots of shares, and those of volumes are left to the other recovery', async (t) => {
  const { world, ports, started, sources } = await open()
  t.after(() => world.db.destroy())
  const share = await makeShare(ports)
  const volume = await world.records.volumes.get(share.volumeId ?? '')
  const made = await makeSnapshot(world, volume, 1)
  const statusOf = async (id: string) => (await world.records.snapshots.get(id)).status
  await world.records.snapshots.update(made.id, { status: 'restoring' })
  const begun = await addSnapshot(world, volume)
  const going = await addSnapshot(world, volume, { status: 'deleting' })
  const cinders = await addSnapshot(world, { ...volume, shareId: null })
  await recoverShares(sources)
  assert.deepEqual(
    [await statusOf(made.id), await statusOf(begun.id), await statusOf(going.id), await statusOf(cinders.id)],
    ['available', 'error', 'deleting', 'creating'],
  )
  assert.deepEqual(started, [`snapshot.delete ${going.id}`])
  assert.equal(await shareMessagesOf(world, begun.id), 1)
})
