import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { volumeLists } from '../db/repositories/volume-list.ts'
import { systemClock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import { blockStoragePorts } from '../testing/block-storage.ts'
import { makeVolume, openWorld } from '../testing/world.ts'
import { recoverVolumes } from './volume-recovery.ts'

test('a migration that was claimed and never recorded leaves the volume usable', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { volumes } = world.records
  const locked = await makeVolume(world, world.lma, { attached: false })
  await volumes.update(locked.id, { status: 'maintenance', migrationStatus: 'starting' })
  const attached = await makeVolume(world, world.lma, { attached: true })
  await volumes.update(attached.id, { migrationStatus: 'starting' })
  const underWay = await makeVolume(world, world.lma, { attached: true })
  await volumes.update(underWay.id, { migrationStatus: 'migrating' })
  const { quotas, messages, snapshots, snapshotLists } = blockStoragePorts(world)
  const sources = {
    volumes,
    lists: volumeLists(world.db),
    quotas,
    messages,
    snapshots,
    snapshotLists,
    remover: { removeVolume: () => Promise.resolve() },
    clock: systemClock,
    engine: {
      start: () => Promise.reject(new Error('nothing is to be started')),
      cancel: () => Promise.resolve(),
      settled: () => Promise.resolve(),
      holderOf: (key: string) =>
        Promise.resolve(key.endsWith(underWay.id) ? { id: 'op', kind: 'volume.migrate' } : undefined),
    },
  }
  const { recovered } = await recoverVolumes(sources)
  assert.deepEqual(recovered.toSorted(), [locked.id, attached.id].toSorted())
  const statusOf = async (id: string) => {
    const { status, migrationStatus } = await volumes.get(id)
    return [status, migrationStatus]
  }
  assert.deepEqual(await statusOf(locked.id), ['available', 'error'])
  assert.deepEqual(await statusOf(attached.id), ['in-use', 'error'])
  assert.deepEqual(await statusOf(underWay.id), ['in-use', 'migrating'])
})

test('a left root disk that something still holds is left for the next time, and keeps nothing else from its end', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { volumes } = world.records
  const orphans: string[] = []
  for (const server of ['gone-1', 'gone-2']) {
    const { id } = await makeVolume(world, world.lma, { attached: false })
    await volumes.update(id, { rootOf: server })
    orphans.push(id)
  }
  const claimed = await makeVolume(world, world.lma, { attached: true })
  await volumes.update(claimed.id, { migrationStatus: 'starting' })
  const { quotas, messages, snapshots, snapshotLists } = blockStoragePorts(world)
  const asked: string[] = []
  const sources = {
    ...{ volumes, lists: volumeLists(world.db), quotas, messages, snapshots, snapshotLists },
    remover: {
      async removeVolume(id: string) {
        asked.push(id)
        if (id === orphans[0]) throw new DomainError('conflict', 'It is held by volume.relocate.')
      },
    },
    clock: systemClock,
    engine: { holderOf: () => Promise.resolve(undefined) } as unknown as OperationEngine,
  }
  assert.deepEqual((await recoverVolumes(sources)).recovered, [claimed.id])
  assert.deepEqual(asked, orphans)
})

test('later a claim is taken for abandoned only when the volume has been left alone for a while', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { volumes } = world.records
  const volume = await makeVolume(world, world.lma, { attached: false })
  await volumes.update(volume.id, { migrationStatus: 'starting' })
  const { quotas, messages, snapshots, snapshotLists } = blockStoragePorts(world)
  let later = 0
  const sources = {
    volumes,
    lists: volumeLists(world.db),
    quotas,
    messages,
    snapshots,
    snapshotLists,
    remover: { removeVolume: () => Promise.resolve() },
    clock: { now: () => new Date(Date.now() + later) },
    engine: {
      start: () => Promise.reject(new Error('nothing is to be started')),
      holderOf: () => Promise.resolve(undefined),
    } as unknown as OperationEngine,
  }
  assert.deepEqual((await recoverVolumes(sources, 300_000)).recovered, [], 'its request may be under way')
  later = 301_000
  assert.deepEqual((await recoverVolumes(sources, 300_000)).recovered, [volume.id])
  assert.equal((await volumes.get(volume.id)).migrationStatus, 'error')
})
