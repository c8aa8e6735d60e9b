import assert from 'node:assert/strict'
import { DomainError } from '@volant/contract'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { aggregateRecords } from '../db/repositories/aggregate.ts'
import { openWorld, type World } from '../testing/world.ts'
import { createAggregate, type CreateAggregateInput, type CreateAggregatePorts } from './create-aggregate.ts'
import { deleteAggregate, type DeleteAggregateInput, type DeleteAggregatePorts } from './delete-aggregate.ts'

const place = { cluster: 'cinder-lma', node: 'lma-01', name: 'aggr9', path: '/simulated/lma-01/aggr9' }
const sizeBytes = 2 ** 30

/** The aggregates beside the configured ones: by the records, and on the node, which must be the same. */
async function madeIn(world: World): Promise<string[]> {
  const rows = (await aggregateRecords(world.db).list()).map((one) => `${one.name} ${one.filesystem}`)
  const there = (await world.agents.storage('lma-01').listAggregates())
    .filter(({ name }) => name === 'aggr9')
    .map((one) => `${one.name} ${one.filesystem}`)
  assert.deepEqual(there, rows)
  return rows
}

for (const [filesystem, canXfs] of [
  ['xfs', true],
  ['folder', true],
  [null, true],
  [null, false],
] as const) {
  everyStep<CreateAggregateInput, CreateAggregatePorts>(createAggregate, {
    fresh: async () => {
      const world = await openWorld()
      const storage = (node: string) => {
        const agent = world.agents.storage(node)
        const ensureAggregate: typeof agent.ensureAggregate = async (caller, wanted) => {
          if (wanted.filesystem !== 'xfs' || canXfs) return agent.ensureAggregate(caller, wanted)
          throw new DomainError('notImplemented', 'not root')
        }
        return new Proxy(agent, {
          get: (target, name) =>
            name === 'ensureAggregate' ? ensureAggregate : (Reflect.get(target, name) as unknown),
        })
      }
      return {
        input: { ...place, filesystem, sizeBytes },
        ports: { agents: { storage }, aggregates: aggregateRecords(world.db) },
        invariants: async ({ run }: Result) => {
          const kind = filesystem ?? (canXfs ? 'xfs' : 'folder')
          assert.deepEqual(await madeIn(world), run.state === 'succeeded' ? [`aggr9 ${kind}`] : [])
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

everyStep<DeleteAggregateInput, DeleteAggregatePorts>(deleteAggregate, {
  fresh: async () => {
    const world = await openWorld()
    const aggregates = aggregateRecords(world.db)
    const { cluster, node, ...definition } = { ...place, filesystem: 'xfs' as const, sizeBytes }
    await world.agents.storage(node).ensureAggregate({ fence: 0 }, definition)
    await aggregates.create({ ...definition, cluster, node, createdAt: '2026-11-22T10:00:00.000Z' })
    return {
      input: place,
      ports: { agents: world.agents, aggregates },
      invariants: async ({ run }: Result) => {
        assert.deepEqual(await madeIn(world), run.state === 'succeeded' ? [] : ['aggr9 xfs'])
      },
      close: () => world.db.destroy(),
    }
  },
})
