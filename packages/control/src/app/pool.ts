import { aggregateId } from '../domain/aggregate-name.ts'
import { backendHost } from '../domain/block-service.ts'
import type { PoolCandidate } from '../domain/placement.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { poolName, type Topology } from '../domain/topology.ts'
import { placeForNew, type FlexVol } from '../domain/volume.ts'
import type { AggregateContents } from '../ports/aggregate-contents.ts'
import type { Backend } from '../ports/backend.ts'
import type { BlockServiceRecords, Pools, PoolSums } from '../ports/block-storage.ts'
import type { Places } from '../ports/places.ts'
import type { CopyRecords, FlexVolRecords } from '../ports/records.ts'
import type { Vacating } from '../ports/vacating.ts'
import { createPoolSpaces, type Freshness, type PoolFigures } from './space.ts'
import { poolHost } from './volume-facts.ts'

export interface PoolSources {
  flexvols: Pick<FlexVolRecords, 'list'>
  services: Pick<BlockServiceRecords, 'list'>
  sums: PoolSums
  contents: Pick<AggregateContents, 'reserved'>
  copies: Pick<CopyRecords, 'reservedBytes'>
  backend: Pick<Backend, 'spaceAt' | 'usageAt'>
  places: Places
  vacating: Vacating
  topology: Topology
}

/** All pools in the configuration's order, then those that were made at run time. A share's FlexVol is none. */
export function createPools(sources: PoolSources): Pools {
  const spaces = createPoolSpaces(sources)
  const candidates = async (freshness: Freshness): Promise<Pool[]> => {
    const [all, services, sums, vacating] = await Promise.all([
      sources.flexvols.list(),
      sources.services.list(),
      sources.sums.byFlexvol(),
      sources.vacating(),
    ])
    const flexvols = all.filter(({ shareId }) => shareId === null)
    const disabled = new Set(services.filter((s) => s.disabled).map((s) => s.host))
    const figures = await spaces(flexvols, freshness)
    return inConfiguredOrder(sources.topology, flexvols).map((flexvol) => {
      const { provisionedBytes } = sums.get(flexvol.id) ?? { provisionedBytes: 0 }
      const vacatedBy = vacating.get(aggregateId(flexvol.cluster, placeForNew(flexvol).aggregate))
      return {
        ...poolOf(sources, flexvol, disabled, provisionedBytes, figures.get(flexvol.id) ?? noFigures),
        ...(vacatedBy !== undefined && { vacatedBy }),
      }
    })
  }
  return {
    candidates: () => candidates('now'),
    recentCandidates: () => candidates('recent'),
  }
}

const noFigures: PoolFigures = { totalBytes: 0, freeBytes: 0 }

type Pool = Awaited<ReturnType<Pools['candidates']>>[number]

function poolOf(
  { topology, places }: PoolSources,
  flexvol: FlexVol,
  disabled: Set<string>,
  provisionedBytes: number,
  space: PoolFigures,
): Pool {
  return {
    flexvol,
    flexvolId: flexvol.id,
    pool: poolName(flexvol),
    backend: flexvol.cluster,
    machine: machineOf(places, flexvol),
    availabilityZone: topology.availabilityZone,
    enabled: !disabled.has(backendHost(topology.host, flexvol.cluster)),
    ...(space.down !== undefined && { down: space.down }),
    totalBytes: space.totalBytes,
    freeBytes: space.freeBytes,
    provisionedBytes,
  }
}

function inConfiguredOrder(topology: Topology, flexvols: FlexVol[]): FlexVol[] {
  const order = topology.clusters.flatMap((c) => c.flexvols.map((f) => `${c.name}/${f.name}`))
  const position = (flexvol: FlexVol): number => {
    const index = order.indexOf(`${flexvol.cluster}/${flexvol.name}`)
    return index < 0 ? order.length : index
  }
  return flexvols.toSorted((a, b) => position(a) - position(b) || (poolName(a) < poolName(b) ? -1 : 1))
}

/** A node that the configuration no longer names has no machine: nothing is placed there. */
function machineOf(places: Places, flexvol: FlexVol): string {
  try {
    return places.machineOfNode(flexvol.node)
  } catch {
    return ''
  }
}

export interface PoolView {
  host: string
  candidate: PoolCandidate
  /** GiB. */
  allocatedGib: number
}

export interface PoolListing {
  list(principal: Principal): Promise<PoolView[]>
}

const gibOf = (bytes: number): number => Math.round((bytes / 1024 ** 3) * 100) / 100

export const createPoolListing = (pools: Pools, topology: Pick<Topology, 'host'>): PoolListing => ({
  async list(principal) {
    enforce(principal, 'scheduler_extension:scheduler_stats:get_pools', 'admin')
    return (await pools.candidates()).map((candidate) => ({
      host: poolHost(topology.host, candidate.flexvol),
      candidate,
      allocatedGib: gibOf(candidate.provisionedBytes),
    }))
  },
})
