import type { Reference } from '../../domain/ontap/body.ts'
import { OntapError, ontapCodes } from '../../domain/ontap/error.ts'
import { uuidOf } from '../../domain/ontap/identity.ts'
import type { Cluster } from '../../domain/topology.ts'
import type { Aggregates } from '../../ports/aggregates.ts'

export interface AggregateSources {
  cluster: Cluster
  aggregates: Pick<Aggregates, 'list'>
}

export const aggregateUuid = (cluster: Cluster, name: string): string =>
  uuidOf(cluster.name, 'aggregate', name)

export const ownAggregates = async ({ aggregates, cluster }: AggregateSources): Promise<string[]> =>
  (await aggregates.list()).filter((one) => one.cluster === cluster.name).map(({ name }) => name)

/** The aggregate's name. A name that no aggregate has is left to what comes next, which says so with its other reasons. */
export async function aggregateNamed(
  sources: AggregateSources,
  { name, uuid }: Reference,
  target: string,
): Promise<string> {
  if (uuid === undefined) return name ?? ''
  const found = (await ownAggregates(sources)).find((one) => aggregateUuid(sources.cluster, one) === uuid)
  if (found === undefined) throw noSuchAggregate(uuid, `${target}.uuid`)
  if (name === undefined || name === found) return found
  throw new OntapError(
    400,
    ontapCodes.aggregateMismatch,
    `The specified "${target}.name" and "${target}.uuid" refer to different aggregates.`,
    target,
  )
}

export const noSuchAggregate = (which: string, target: string): OntapError =>
  new OntapError(
    400,
    ontapCodes.noSuchAggregate,
    `Aggregate "${which.slice(0, 200)}" does not exist.`,
    target,
  )
