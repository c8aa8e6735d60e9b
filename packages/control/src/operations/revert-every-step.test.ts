import assert from 'node:assert/strict'
import { MemoryStore } from '@volant/saga'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { assertVolumeClean } from '../testing/invariants.ts'
import { migratedWorld } from '../testing/reverts.ts'
import { openWorld } from '../testing/world.ts'
import { revertMigration, type RevertMigrationInput, type RevertMigrationPorts } from './revert-migration.ts'

const here = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }

for (const machines of [here, apart]) {
  for (const retentionSeconds of [600, 0]) {
    everyStep<RevertMigrationInput, RevertMigrationPorts>(revertMigration, {
      fresh: async () => {
        const world = await openWorld(machines)
        const { volume, migration, input, portsOver } = await migratedWorld(world, { lockVolume: true })
        const store = new MemoryStore()
        return {
          store,
          input: { ...input, retentionSeconds },
          ports: portsOver(store),
          invariants: async ({ run }: Result) => {
            const isBack = run.state === 'succeeded'
            await assertVolumeClean(world, volume.id, migration, isBack ? 'source' : 'target')
            const now = await world.records.volumes.get(volume.id)
            assert.equal(now.status, 'available', 'the lock is off')
            assert.equal(
              now.migrationStatus,
              run.state === 'succeeded' ? 'success' : run.state === 'failed' ? 'error' : null,
            )
            const [former, present] = [migration.sourceImageId, migration.targetImageId]
            const copies = await world.records.copies.ofVolume(volume.id)
            const stateOf = (imageId: string) => copies.find((copy) => copy.imageId === imageId)?.state
            const readOnly = (imageId: string) =>
              [...world.nodes.values()].map((node) => node.images.get(imageId)).find(Boolean)?.readOnly
            const left = isBack && retentionSeconds === 0 ? undefined : 'retained'
            assert.deepEqual(
              [stateOf(former), stateOf(present)],
              isBack ? ['live', left] : ['retained', 'live'],
            )
            assert.deepEqual(
              [readOnly(former), readOnly(present)],
              isBack ? [false, left && true] : [true, false],
              'who is the truth can be written, what is kept cannot',
            )
            const until = copies.find((copy) => copy.state === 'retained')?.retainedUntil
            if (left !== undefined)
              assert.ok((until ?? '') > new Date().toISOString(), 'and is kept for a time')
          },
          close: () => world.db.destroy(),
        }
      },
    })
  }
}
