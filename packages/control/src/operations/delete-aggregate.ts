import { operation } from '@volant/saga'
import { aggregateKey } from '../domain/aggregate-name.ts'
import type { Agents } from '../ports/agents.ts'
import type { AggregateRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'

export interface DeleteAggregateInput {
  cluster: string
  node: string
  name: string
}

export interface DeleteAggregatePorts {
  agents: Pick<Agents, 'storage'>
  aggregates: Pick<AggregateRecords, 'remove'>
}

/**
 * Removes an aggregate that was made at run time. Its node refuses while a FlexVol's folder is there, whatever has begun
 * since the request was checked; then nothing is changed.
 */
export const deleteAggregate = operation<DeleteAggregateInput, DeleteAggregatePorts>('aggregate.delete', {
  version: 1,
})
  .holds(({ cluster, name }) => [aggregateKey(cluster, name)])

  .commit('remove', {
    do: async ({ op, input, ports }) => {
      await ports.agents.storage(input.node).ensureNoAggregate(callerOf(op), input.name)
      return null
    },
    // From the first thing that is taken away on it is none of the node's aggregates any more.
    happened: async ({ input, ports }) => {
      const left = await ports.agents.storage(input.node).listAggregates()
      return !left.some(({ name }) => name === input.name)
    },
  })

  .step('forget', {
    do: async ({ op, input, ports }) => {
      // Once more: what a crash left of it.
      await ports.agents.storage(input.node).ensureNoAggregate(callerOf(op), input.name)
      await ports.aggregates.remove(input.cluster, input.name)
      return null
    },
  })
