import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { apart, assertPart, beside, elsewhere, here, partWorld } from '../testing/relocation-parts.ts'
import { relocateVolume, type RelocateVolumeInput, type RelocateVolumePorts } from './relocate-volume.ts'

for (const [to, machines, shares] of [
  [beside, here, true],
  [beside, here, false],
  [beside, apart, true],
  [elsewhere, apart, false],
] as const) {
  everyStep<RelocateVolumeInput, RelocateVolumePorts>(relocateVolume, {
    fresh: async () => {
      const { world, volume, input: part, restarted } = await partWorld('attached', to, machines, { shares })
      const input = { ...part, cloneImageId: crypto.randomUUID() }
      return {
        input,
        ports: world.ports,
        restarted,
        invariants: async ({ run }: Result) => {
          await assertPart(world, input, run)
          const now = await world.records.volumes.get(volume.id)
          assert.deepEqual([now.status, now.migrationStatus], ['in-use', null], 'users see nothing')
        },
        close: () => world.db.destroy(),
      }
    },
  })
}
