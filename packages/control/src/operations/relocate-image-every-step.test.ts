import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { keptForTheMove } from '../domain/relocation-part.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { apart, assertPart, beside, elsewhere, here, partWorld } from '../testing/relocation-parts.ts'
import { imageIn } from '../testing/snapshots.ts'
import { relocateImage, type RelocateImageInput, type RelocateImagePorts } from './relocate-image.ts'

for (const kind of ['snapshot', 'detached'] as const) {
  for (const [to, machines, shares] of [
    [beside, here, true],
    [beside, here, false],
    [elsewhere, apart, false],
  ] as const) {
    everyStep<RelocateImageInput, RelocateImagePorts>(relocateImage, {
      fresh: async () => {
        const { world, input: part, restarted } = await partWorld(kind, to, machines, { shares })
        const input = { ...part, kept: null }
        return {
          input,
          ports: world.ports,
          restarted,
          invariants: ({ run }: Result) => assertPart(world, input, run),
          close: () => world.db.destroy(),
        }
      },
    })
  }
}

// On the way back: the image that was kept becomes the truth again.
for (const kind of ['snapshot', 'detached'] as const) {
  everyStep<RelocateImageInput, RelocateImagePorts>(relocateImage, {
    fresh: async () => {
      const { world, input: part, restarted } = await partWorld(kind, beside, here, { shares: false })
      const { records, backend } = world
      const former = await records.copies.get(part.sourceImageId)
      const copy = { ...former, ...part.to, imageId: part.targetImageId, state: 'target' as const }
      await records.copies.create(copy)
      await backend.ensureImage({ fence: 0 }, copy)
      if (kind === 'snapshot') await backend.ensureReadOnly({ fence: 0 }, copy, true)
      const change = {
        fromImageId: former.imageId,
        toImageId: copy.imageId,
        operationId: crypto.randomUUID(),
        fence: 0,
        retainedUntil: keptForTheMove,
      }
      if (part.snapshotId === null) await records.copies.changeTruth({ volumeId: part.volumeId, ...change })
      else await records.copies.changeSnapshotTruth({ snapshotId: part.snapshotId, ...change })
      await backend.ensureReadOnly({ fence: 0 }, former, true)
      const mark = (await backend.imageInfo(copy))?.changeMark ?? null
      const input = {
        ...part,
        from: part.to,
        to: part.from,
        sourceImageId: copy.imageId,
        targetImageId: former.imageId,
        kept: { mark: kind === 'snapshot' ? null : mark },
      }
      return {
        input,
        ports: world.ports,
        restarted,
        invariants: async ({ run }: Result) => {
          const isBack = run.state === 'succeeded'
          const stateOf = async (imageId: string) => (await records.copies.find(imageId))?.state
          const states = [await stateOf(input.sourceImageId), await stateOf(input.targetImageId)]
          assert.deepEqual(states, isBack ? ['retained', 'live'] : ['live', 'retained'])
          assert.equal((await records.copies.get(input.targetImageId)).aggregate, 'aggr1')
          // A snapshot can be written to nowhere; of a volume only the truth can.
          const readOnly = [input.sourceImageId, input.targetImageId].map(
            (id) => imageIn(world, id)?.readOnly,
          )
          assert.deepEqual(readOnly, kind === 'snapshot' ? [true, true] : [isBack, !isBack])
          await assertWorldSound(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}
