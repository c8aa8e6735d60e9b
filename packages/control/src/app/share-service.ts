import { DomainError } from '@volant/contract'
import { backendHost } from '../domain/block-service.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Topology } from '../domain/topology.ts'
import type { Agents } from '../ports/agents.ts'
import type { Clock } from '../ports/clock.ts'
import type { ShareServiceRecords } from '../ports/share-records.ts'

/** A service as Manila lists it: one `manila-share` for each backend, one scheduler. */
export interface ShareServiceView {
  id: number
  binary: 'manila-share' | 'manila-scheduler'
  /** `HOST@BACKEND` for manila-share. */
  host: string
  zone: string
  disabled: boolean
  disabledReason: string | null
  state: 'up' | 'down'
  updatedAt: string
}

export interface ShareServices {
  list(principal: Principal): Promise<ShareServiceView[]>
  /** A disabled backend gets no new shares and no migrations. Throws `notFound` with Manila's text. */
  change(
    principal: Principal,
    service: { host: string; binary: string },
    change: { disabled: boolean; disabledReason: string | null },
  ): Promise<void>
}

export function createShareServices(sources: {
  services: ShareServiceRecords
  topology: Pick<Topology, 'host' | 'availabilityZone' | 'clusters'>
  agents: Pick<Agents, 'shares'>
  clock: Clock
}): ShareServices {
  const { topology, services, clock } = sources
  const backends = topology.clusters.flatMap(({ shares }) => (shares === undefined ? [] : [shares]))
  /** Up: the agent of the node with the LIF answers, and the machine lacks nothing for shares. */
  const isUp = async (node: string): Promise<boolean> => {
    try {
      return (await sources.agents.shares(node).missing()).length === 0
    } catch {
      return false
    }
  }
  return {
    async list(principal) {
      enforce(principal, 'service:index', 'admin')
      const states = new Map((await services.list()).map((state) => [state.backend, state]))
      const at = clock.now().toISOString()
      const common = { zone: topology.availabilityZone, updatedAt: at }
      const listed: ShareServiceView[] = [
        {
          id: 1,
          binary: 'manila-scheduler',
          host: topology.host,
          ...common,
          disabled: false,
          disabledReason: null,
          state: 'up',
        },
      ]
      for (const [index, { backend, node }] of backends.entries()) {
        const state = states.get(backend)
        listed.push({
          id: index + 2,
          binary: 'manila-share',
          host: backendHost(topology.host, backend),
          ...common,
          disabled: state?.disabled ?? false,
          disabledReason: state?.disabledReason ?? null,
          state: (await isUp(node)) ? 'up' : 'down',
        })
      }
      return listed
    },
    async change(principal, { host, binary }, { disabled, disabledReason }) {
      enforce(principal, 'service:update', 'admin')
      if (binary === 'manila-scheduler' && host === topology.host) {
        throw new DomainError(
          'invalid',
          'The scheduler cannot be disabled: it is a part of the control plane. Disable the manila-share services.',
        )
      }
      const found = backends.find(
        ({ backend }) => binary === 'manila-share' && host === backendHost(topology.host, backend),
      )
      if (found === undefined) {
        throw new DomainError(
          'notFound',
          `Service ${binary.slice(0, 80)} on host ${host.slice(0, 80)} could not be found.`,
        )
      }
      const { backend } = found
      await services.put({ backend, disabled, disabledReason, updatedAt: clock.now().toISOString() })
    },
  }
}
