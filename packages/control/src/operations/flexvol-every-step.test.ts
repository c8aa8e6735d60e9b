import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { openWorld, type World } from '../testing/world.ts'
import { createFlexVol, type CreateFlexVolInput, type CreateFlexVolPorts } from './create-flexvol.ts'
import { deleteFlexVol, type DeleteFlexVolInput, type DeleteFlexVolPorts } from './delete-flexvol.ts'
import { renameFlexVol, type RenameFlexVolInput, type RenameFlexVolPorts } from './rename-flexvol.ts'

/** The FlexVols of the first cluster as records and as folders, which must be the same. */
async function flexvolsOf(world: World): Promise<string[]> {
  const records = (await world.records.flexvols.list()).filter(({ cluster }) => cluster === 'cinder-lma')
  const folders = [...(world.nodes.get('lma-01')?.flexvols ?? [])]
  assert.deepEqual(folders.toSorted(), records.map((f) => `${f.aggregate}/${f.name}`).toSorted())
  return records.map(({ name, junctionPath }) => `${name}:${junctionPath}`).toSorted()
}

const configured = 'cinder_flexvol_OSTK02:/cinder_flexvol_OSTK02'

everyStep<CreateFlexVolInput, CreateFlexVolPorts>(createFlexVol, {
  fresh: async () => {
    const world = await openWorld()
    return {
      input: {
        flexvolId: crypto.randomUUID(),
        cluster: 'cinder-lma',
        name: 'second',
        lif: world.lma.lif,
        junctionPath: '/second',
        node: 'lma-01',
        aggregate: 'aggr1',
        sizeBytes: 4096,
      },
      ports: world.ports,
      invariants: async ({ run }: Result) => {
        const made = run.state === 'succeeded' ? ['second:/second'] : []
        assert.deepEqual(await flexvolsOf(world), [configured, ...made])
      },
      close: () => world.db.destroy(),
    }
  },
})

everyStep<DeleteFlexVolInput, DeleteFlexVolPorts>(deleteFlexVol, {
  fresh: async () => {
    const world = await openWorld()
    return {
      input: { flexvolId: world.lma.id, cluster: 'cinder-lma', flexvol: world.lma },
      ports: world.ports,
      invariants: async ({ run }: Result) => {
        assert.deepEqual(await flexvolsOf(world), run.state === 'succeeded' ? [] : [configured])
      },
      close: () => world.db.destroy(),
    }
  },
})

for (const to of [
  { name: 'other', junctionPath: '/other' },
  { name: 'cinder_flexvol_OSTK02', junctionPath: '/other' },
]) {
  everyStep<RenameFlexVolInput, RenameFlexVolPorts>(renameFlexVol, {
    fresh: async () => {
      const world = await openWorld()
      return {
        input: { flexvolId: world.lma.id, cluster: 'cinder-lma', flexvol: world.lma, ...to },
        ports: world.ports,
        invariants: async ({ run }: Result) => {
          const now = run.state === 'succeeded' ? `${to.name}:${to.junctionPath}` : configured
          assert.deepEqual(await flexvolsOf(world), [now])
        },
        close: () => world.db.destroy(),
      }
    },
  })
}
