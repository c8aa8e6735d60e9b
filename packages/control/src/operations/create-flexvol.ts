import { DomainError, isDomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import { poolName } from '../domain/topology.ts'
import { newFlexVol, type FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'

export interface CreateFlexVolInput {
  flexvolId: string
  cluster: string
  name: string
  lif: string
  junctionPath: string
  node: string
  aggregate: string
  /** Bytes; null: as large as its aggregate. */
  sizeBytes: number | null
}

export interface CreateFlexVolPorts {
  flexvols: Pick<FlexVolRecords, 'list' | 'find' | 'create'>
  backend: Pick<Backend, 'ensureFlexVolAt' | 'ensureNoFlexVolAt'>
}

/** What no two FlexVols of a cluster have in common, as keys. */
export const flexVolNameKeys = (
  flexvol: Pick<FlexVol, 'cluster' | 'name' | 'lif' | 'junctionPath'>,
): string[] => [
  `flexvol-name/${flexvol.cluster}/${flexvol.name}`,
  `pool/${flexvol.cluster}/${poolName(flexvol)}`,
]

/** Throws `conflict` where another FlexVol of the cluster has the name or the pool. */
export function requireFreeName(
  flexvols: readonly FlexVol[],
  wanted: Pick<FlexVol, 'id' | 'cluster' | 'name' | 'lif' | 'junctionPath'>,
): void {
  const others = flexvols.filter(({ id, cluster }) => cluster === wanted.cluster && id !== wanted.id)
  if (others.some(({ name }) => name === wanted.name)) {
    throw new DomainError('conflict', `Cluster ${wanted.cluster} has a FlexVol named ${wanted.name}.`)
  }
  const pool = poolName(wanted)
  const other = others.find((flexvol) => poolName(flexvol) === pool)
  if (other === undefined) return
  throw new DomainError('conflict', `The pool ${pool} of cluster ${wanted.cluster} is FlexVol ${other.name}.`)
}

const flexVolOf = (input: CreateFlexVolInput, createdAt: string): FlexVol => ({
  ...newFlexVol(input, createdAt),
  id: input.flexvolId,
})

/** An aggregate that was deleted meanwhile has no folders either. */
export function unlessGone(error: unknown): void {
  if (!isDomainError(error) || error.code !== 'notFound') throw error
}

/** Makes a FlexVol: its folder on the aggregate, then its record, which makes it a pool. */
export const createFlexVol = operation<CreateFlexVolInput, CreateFlexVolPorts>('flexvol.create', {
  version: 1,
})
  .holds((input) => [`flexvol/${input.flexvolId}`, ...flexVolNameKeys(input)])

  // Before the folder: one that is there belongs to the FlexVol of that name, and the undo would take it away.
  .step('checkName', {
    do: async ({ op, input, ports }) => {
      requireFreeName(await ports.flexvols.list(), flexVolOf(input, op.createdAt))
      return null
    },
    undo: nothingToUndo,
  })

  .step('makeFolder', {
    do: async ({ op, input, ports }) => {
      await ports.backend.ensureFlexVolAt(callerOf(op), flexVolOf(input, op.createdAt), input)
      return null
    },
    undo: async ({ op, input, ports }) => {
      const flexvol = flexVolOf(input, op.createdAt)
      await ports.backend.ensureNoFlexVolAt(callerOf(op), flexvol, input).catch(unlessGone)
    },
    skipUndo: 'an empty folder stays behind on the aggregate, which keeps the aggregate from being deleted',
  })

  .commit('record', {
    do: async ({ op, input, ports }) => {
      if ((await ports.flexvols.find(input.flexvolId)) !== undefined) return null
      await ports.flexvols.create(flexVolOf(input, op.createdAt))
      return null
    },
    happened: async ({ input, ports }) => (await ports.flexvols.find(input.flexvolId)) !== undefined,
  })
