import { isDomainError } from '@volant/contract'
import { operation } from '@volant/saga'
import { aggregateKey } from '../domain/aggregate-name.ts'
import type { Agents } from '../ports/agents.ts'
import type { AggregateRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'

export interface CreateAggregateInput {
  cluster: string
  node: string
  name: string
  /** Of its folder or mount point. */
  path: string
  /** Null: XFS where the node can, else a folder. */
  filesystem: 'folder' | 'xfs' | null
  /** Bytes; null: a folder as large as its file system. */
  sizeBytes: number | null
}

export interface CreateAggregatePorts {
  agents: Pick<Agents, 'storage'>
  aggregates: AggregateRecords
}

type Filesystem = 'folder' | 'xfs'

/**
 * Makes an aggregate: first on its node, which keeps a record of its own, then its row, which makes it one that things
 * are placed on. Until then this operation owns it.
 */
export const createAggregate = operation<CreateAggregateInput, CreateAggregatePorts>('aggregate.create', {
  version: 1,
})
  .holds(({ cluster, name }) => [aggregateKey(cluster, name)])

  .step('make', {
    do: async ({ op, input, ports }): Promise<{ filesystem: Filesystem }> => {
      const { node, name, path, sizeBytes } = input
      const make = async (filesystem: Filesystem): Promise<{ filesystem: Filesystem }> => {
        const size = sizeBytes === null ? {} : { sizeBytes }
        const definition = { name, path, filesystem, ...size }
        const made = await ports.agents.storage(node).ensureAggregate(callerOf(op), definition)
        return { filesystem: made.filesystem }
      }
      if (input.filesystem !== null) return make(input.filesystem)
      try {
        return await make('xfs')
      } catch (error) {
        if (!isDomainError(error) || error.code !== 'notImplemented') throw error
        return make('folder')
      }
    },
    undo: async ({ op, input, ports }) => {
      await ports.agents.storage(input.node).ensureNoAggregate(callerOf(op), input.name)
    },
    skipUndo: 'the aggregate stays on its node without a record: the sweep reports it',
  })

  .commit('record', {
    do: async ({ op, input, out, ports }) => {
      const { cluster, node, name, path, sizeBytes } = input
      const { filesystem } = out.make
      const size = sizeBytes === null ? {} : { sizeBytes }
      await ports.aggregates.create({
        cluster,
        node,
        name,
        path,
        filesystem,
        ...size,
        createdAt: op.createdAt,
      })
      return null
    },
    happened: async ({ input, ports }) => isRecorded(ports, input),
  })

const isRecorded = async (
  { aggregates }: CreateAggregatePorts,
  { cluster, name }: CreateAggregateInput,
): Promise<boolean> => (await aggregates.list()).some((one) => one.cluster === cluster && one.name === name)
