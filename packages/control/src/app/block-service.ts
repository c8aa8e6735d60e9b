import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { backendHost, type BlockService } from '../domain/block-service.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Topology } from '../domain/topology.ts'
import type { BlockServiceRecords, Pools } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'

/** A service and whether the storage behind it answers. */
export interface BlockServiceView extends BlockService {
  /** Absent for the scheduler, which has no storage. */
  backendState?: 'up' | 'down'
}

export interface BlockServices {
  /** Makes the rows of the topology's services. */
  ensure(): Promise<void>
  list(principal: Principal, filter: { host?: string; binary?: string }): Promise<BlockServiceView[]>
  /** Disables, enables or freezes a service. Throws `notFound` with Cinder's text. */
  change(
    principal: Principal,
    service: { host: string; binary?: string },
    change: { disabled?: boolean; disabledReason?: string | null; frozen?: boolean },
  ): Promise<BlockService>
  isBackendEnabled(backend: string): Promise<boolean>
}

export function createBlockServices(sources: {
  services: BlockServiceRecords
  pools: Pools
  topology: Topology
  clock: Clock
}): BlockServices {
  const { services, topology, clock } = sources
  const ensure = async (binary: BlockService['binary'], host: string): Promise<void> =>
    services.ensure({
      id: randomUUID(),
      binary,
      host,
      disabled: false,
      disabledReason: null,
      frozen: false,
      updatedAt: clock.now().toISOString(),
    })
  const known = async (): Promise<BlockService[]> => {
    const hosts = new Set([
      topology.host,
      ...topology.clusters.map((c) => backendHost(topology.host, c.name)),
    ])
    return (await services.list()).filter((s) => hosts.has(s.host))
  }
  return {
    async ensure() {
      for (const { name } of topology.clusters)
        await ensure('cinder-volume', backendHost(topology.host, name))
      await ensure('cinder-scheduler', topology.host)
    },
    async list(principal, filter) {
      enforce(principal, 'volume_extension:services:index', 'admin')
      const down = await backendsDown(sources.pools)
      return (await known())
        .filter((s) => filter.binary === undefined || s.binary === filter.binary)
        .filter(
          (s) => filter.host === undefined || s.host === filter.host || s.host.startsWith(`${filter.host}@`),
        )
        .map((s) =>
          s.binary === 'cinder-volume'
            ? { ...s, backendState: down.has(s.host.slice(s.host.indexOf('@') + 1)) ? 'down' : 'up' }
            : s,
        )
    },
    async change(principal, { host, binary }, change) {
      enforce(principal, 'volume_extension:services:update', 'admin')
      const found = (await known()).find(
        (s) => s.host === host && (binary === undefined || s.binary === binary),
      )
      if (found === undefined) {
        const what = binary === undefined ? `host=${host}` : `host=${host}, binary=${binary}`
        throw new DomainError('notFound', `Service ${what} could not be found.`)
      }
      await services.update(found.id, { ...change, updatedAt: clock.now().toISOString() })
      return { ...found, ...change }
    },
    async isBackendEnabled(backend) {
      const host = backendHost(topology.host, backend)
      return !(await services.list()).some((s) => s.host === host && s.disabled)
    },
  }
}

/** Backends none of whose pools answers. */
async function backendsDown(pools: Pools): Promise<Set<string>> {
  const candidates = await pools.candidates()
  const up = new Set(candidates.filter((p) => p.down === undefined).map((p) => p.backend))
  return new Set(candidates.map((p) => p.backend).filter((backend) => !up.has(backend)))
}
