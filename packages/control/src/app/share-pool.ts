import { DomainError, messageOf } from '@volant/contract'
import { backendHost } from '../domain/block-service.ts'
import { placeKey } from '../domain/aggregate-space.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { placeShare, type SharePlacementRequest, type SharePool } from '../domain/share-placement.ts'
import type { Topology } from '../domain/topology.ts'
import type { Agents } from '../ports/agents.ts'
import type { Aggregates, AggregateView } from '../ports/aggregates.ts'
import type { ShareLists, ShareServiceRecords } from '../ports/share-records.ts'

/** A pool with its full host string. */
export interface SharePoolView extends SharePool {
  /** `HOST@manila-lma#aggr1`. */
  name: string
  host: string
}

export interface SharePools {
  /** Every aggregate of the clusters that serve shares, in the configuration's order. */
  all(): Promise<SharePoolView[]>
  list(principal: Principal): Promise<SharePoolView[]>
  /** The best one. Throws `noCapacity`, with why each will not do. */
  choose(request: SharePlacementRequest): Promise<SharePoolView>
}

export interface SharePoolSources {
  aggregates: Pick<Aggregates, 'list'>
  lists: Pick<ShareLists, 'allocatedByAggregate'>
  services: Pick<ShareServiceRecords, 'list'>
  agents: Pick<Agents, 'shares'>
  topology: Pick<Topology, 'host' | 'availabilityZone' | 'clusters'>
}

export function createSharePools(sources: SharePoolSources): SharePools {
  const { topology } = sources
  const all = async (): Promise<SharePoolView[]> => {
    const [views, allocated, services] = await Promise.all([
      sources.aggregates.list(),
      sources.lists.allocatedByAggregate(),
      sources.services.list(),
    ])
    const disabled = new Set(services.filter((one) => one.disabled).map(({ backend }) => backend))
    const found = topology.clusters.map(async ({ name: cluster, shares }) => {
      if (shares === undefined) return []
      const trouble = await troubleOf(sources.agents, shares.node)
      const host = backendHost(topology.host, shares.backend)
      return views
        .filter((view) => view.cluster === cluster)
        .map((view) => ({
          ...poolOf(view, shares.backend, allocated, trouble),
          availabilityZone: topology.availabilityZone,
          enabled: !disabled.has(shares.backend),
          name: `${host}#${view.name}`,
          host: topology.host,
        }))
    })
    return (await Promise.all(found)).flat()
  }
  return {
    all,
    async list(principal) {
      enforce(principal, 'scheduler_stats:pools:index', 'admin')
      return all()
    },
    async choose(request) {
      const { fitting, rejected } = placeShare(request, await all())
      const [best] = fitting
      if (best !== undefined) return best as SharePoolView
      const reasons = rejected.map(({ pool, reason }) => `${pool.backend}#${pool.pool}: ${reason}`)
      throw new DomainError(
        'noCapacity',
        reasons.length === 0
          ? 'No valid host was found. No cluster serves shares: give one a section shares in volant.yaml.'
          : `No valid host was found. ${reasons.join('; ')}.`,
      )
    },
  }
}

/** Why the node with the LIF can't serve shares; null: it can. */
async function troubleOf(agents: Pick<Agents, 'shares'>, node: string): Promise<string | null> {
  try {
    const missing = await agents.shares(node).missing()
    return missing.length === 0 ? null : missing.join('; ')
  } catch (error) {
    return messageOf(error)
  }
}

function poolOf(
  view: AggregateView,
  backend: string,
  allocated: ReadonlyMap<string, number>,
  trouble: string | null,
): Omit<SharePool, 'availabilityZone' | 'enabled'> {
  const place = { node: view.node, aggregate: view.name }
  return {
    place,
    cluster: view.cluster,
    backend,
    pool: view.name,
    down: view.state === 'online' ? trouble : (view.reason ?? view.state),
    vacatedBy: view.vacatedBy ?? null,
    reflink: view.reflink,
    totalBytes: view.space?.totalBytes ?? 0,
    freeBytes: view.space?.availableBytes ?? 0,
    allocatedGib: allocated.get(placeKey(place)) ?? 0,
  }
}
