import { messageOf } from '@volant/contract'
import { aggregateId } from '../domain/aggregate-name.ts'
import { backendHost } from '../domain/block-service.ts'
import type { PoolCandidate } from '../domain/placement.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { poolName, type Topology } from '../domain/topology.ts'
import { placeForNew, type FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { BlockServiceRecords, Pools, PoolSums } from '../ports/block-storage.ts'
import type { Places } from '../ports/places.ts'
import type { FlexVolRecords } from '../ports/records.ts'
import { usedBytesOf } from './flexvol.ts'
import type { Vacating } from '../ports/vacating.ts'
import { poolHost } from './volume-facts.ts'

export interface PoolSources {
  flexvols: Pick<FlexVolRecords, 'list'>
  services: Pick<BlockServiceRecords, 'list'>
  sums: PoolSums
  backend: Pick<Backend, 'space' | 'usageAt'>
  places: Places
  vacating: Vacating
  topology: Topology
}

/** All pools in the configuration's order, then those that were made at run time. */
export function createPools(sources: PoolSources): Pools {
  const spaces = recentSpaces(sources.backend)
  const candidates = async (spaceOf: (flexvol: FlexVol) => Promise<Space>): Promise<Pool[]> => {
    const [flexvols, services, sums, vacating] = await Promise.all([
      sources.flexvols.list(),
      sources.services.list(),
      sources.sums.byFlexvol(),
      sources.vacating(),
    ])
    const disabled = new Set(services.filter((s) => s.disabled).map((s) => s.host))
    return Promise.all(
      inConfiguredOrder(sources.topology, flexvols).map(async (flexvol) => {
        const sum = sums.get(flexvol.id) ?? { provisionedBytes: 0, reservedBytes: 0, copies: 0 }
        const reservedBytes = sum.reservedBytes + reservedByMoves(flexvols, flexvol)
        const vacatedBy = vacating.get(aggregateId(flexvol.cluster, placeForNew(flexvol).aggregate))
        return {
          ...poolOf(sources, flexvol, disabled, { ...sum, reservedBytes }, await spaceOf(flexvol)),
          ...(vacatedBy !== undefined && { vacatedBy }),
        }
      }),
    )
  }
  return {
    candidates: () => candidates(spaces.now),
    recentCandidates: () => candidates(spaces.recent),
  }
}

type Pool = Awaited<ReturnType<Pools['candidates']>>[number]

function poolOf(
  { topology, places }: PoolSources,
  flexvol: FlexVol,
  disabled: Set<string>,
  sum: { provisionedBytes: number; reservedBytes: number },
  space: Space,
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
    freeBytes: Math.max(0, space.freeBytes - sum.reservedBytes),
    provisionedBytes: sum.provisionedBytes,
  }
}

/** What moves hold back on the aggregate where the FlexVol's new images are made. */
function reservedByMoves(flexvols: readonly FlexVol[], pool: FlexVol): number {
  const place = placeForNew(pool)
  return flexvols
    .filter(
      ({ destination }) => destination?.node === place.node && destination.aggregate === place.aggregate,
    )
    .reduce((sum, { moveReservedBytes }) => sum + moveReservedBytes, 0)
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

interface Space {
  totalBytes: number
  freeBytes: number
  /** Why it is not known. */
  down?: string
}

/** Milliseconds for which a figure is as good as new, and for which it may be used while it is brought up to date. */
const freshMs = 1000
const usableMs = 15_000

/**
 * A node counts the bytes of every image to tell its space, which takes long where it has many. A burst of new
 * volumes is placed by one count; the volumes promised meanwhile are in the database.
 */
function recentSpaces(backend: PoolSources['backend']) {
  // A FlexVol that was resized meanwhile is counted anew.
  const keyOf = ({ id, sizeBytes }: FlexVol): string => `${id}/${sizeBytes}`
  const known = new Map<string, { space: Space; at: number }>()
  const running = new Map<string, Promise<Space>>()
  const count = async (flexvol: FlexVol): Promise<Space> => {
    try {
      const space = await spaceWithin(backend, flexvol)
      known.set(keyOf(flexvol), { space, at: performance.now() })
      return space
    } catch (error) {
      known.delete(keyOf(flexvol))
      return { totalBytes: 0, freeBytes: 0, down: messageOf(error) }
    } finally {
      running.delete(keyOf(flexvol))
    }
  }
  const now = (flexvol: FlexVol): Promise<Space> => {
    const counting = running.get(keyOf(flexvol)) ?? count(flexvol)
    running.set(keyOf(flexvol), counting)
    return counting
  }
  const recent = async (flexvol: FlexVol): Promise<Space> => {
    const last = known.get(keyOf(flexvol))
    const age = last === undefined ? Number.POSITIVE_INFINITY : performance.now() - last.at
    if (last === undefined || age > usableMs) return now(flexvol)
    if (age > freshMs) void now(flexvol)
    return last.space
  }
  return { now, recent }
}

/** Of a FlexVol with a size of its own: what of that is left, and no more than its aggregate has. */
async function spaceWithin(backend: PoolSources['backend'], flexvol: FlexVol): Promise<Space> {
  const space = await backend.space(flexvol)
  const { sizeBytes } = flexvol
  if (sizeBytes === null) return space
  const usedBytes = await usedBytesOf(backend, flexvol)
  return {
    totalBytes: Math.min(space.totalBytes, sizeBytes),
    freeBytes: Math.min(space.freeBytes, Math.max(0, sizeBytes - usedBytes)),
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
