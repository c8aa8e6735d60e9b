import { DomainError } from '@volant/contract'
import type { RunRecord } from '@volant/saga'
import { chooseHost, cpuAllocationRatio, refusalOf, unboundByDisabled } from '../domain/placement-compute.ts'
import type { GroupPlaces, HostCapacity } from '../domain/placement-compute.ts'
import type { ServerGroupPolicy } from '../domain/server-group.ts'
import type { Server } from '../domain/server.ts'
import type { Way } from '../domain/host-drain.ts'
import type { DrainHostPorts } from '../operations/drain-host.ts'
import { hasLeft } from '../operations/live-migrate-server.ts'
import type { DrainedServer } from '../ports/server-migrations.ts'
import type { RelocationRefusal, RelocationRequest } from '../ports/server-relocations.ts'
import type { ComputeService } from '../ports/servers.ts'
import { buildingServer } from './servers.ts'

const kinds: Record<Way, string> = {
  live: 'server.live-migrate',
  cold: 'server.resize',
  stop: 'server.stop',
  start: 'server.start',
}

export type HostRig = ReturnType<typeof hostRig>

/**
 * Three compute hosts of 4096 MiB and four processors, and parts that need a few looks each: what drains and restores do is
 * tested on it. Its scheduler is the real one's pure half.
 */
export function hostRig(names: readonly string[] = ['compute-1', 'compute-2', 'compute-3']) {
  const servers = new Map<string, Server>()
  const drained = new Map<string, DrainedServer>()
  const parts: RunRecord[] = []
  const at = '2026-11-22T10:00:00.000Z'
  const services = new Map(
    names.map((host, i): [string, ComputeService] => [
      host,
      {
        id: `service-${host}`,
        number: i + 1,
        host,
        binary: 'nova-compute',
        hypervisorId: `hypervisor-${host}`,
        disabled: false,
        disabledReason: null,
        forcedDown: false,
        createdAt: at,
        updatedAt: at,
      },
    ]),
  )
  const rig = {
    servers,
    drained,
    parts,
    services,
    memoryMib: new Map(names.map((name) => [name, 4096])),
    /** Every part that was begun, in its order. */
    started: [] as RelocationRequest[],
    /** Most that were under way at once. */
    most: 0,
    /** How often the parts of a server still fail, by its name, and how. */
    failing: new Map<string, { times: number; class: 'retry' | 'final'; message: string; at?: string }>(),
    /** What `start` says of a server, by its name. */
    refusing: new Map<string, (request: Pick<RelocationRequest, 'host'>) => RelocationRefusal | null>(),
    groups: new Map<string, { policy: ServerGroupPolicy; members: string[]; atMost?: number }>(),
    /** What the agents of a drained host say. */
    left: [] as string[],
    alsoThere: [] as string[],
    /** Looks that a part needs. */
    looks: 2,
    add(name: string, fields: Partial<Server> & { memoryMib?: number; vcpus?: number } = {}): Server {
      const base = buildingServer()
      const { memoryMib = 512, vcpus = base.flavor.vcpus, ...rest } = fields
      const server: Server = {
        ...base,
        number: servers.size + 1,
        id: `id-${name}`,
        name,
        vmState: 'active',
        taskState: null,
        powerState: 1,
        boot: {},
        host: names[0] ?? null,
        flavor: { ...base.flavor, memoryMib, vcpus },
        ...rest,
      }
      servers.set(server.id, server)
      return server
    },
    set(name: string, fields: Partial<Server>): void {
      servers.set(`id-${name}`, { ...rig.get(name), ...fields })
    },
    get: (name: string): Server => servers.get(`id-${name}`) as Server,
    on: (host: string): string[] =>
      [...servers.values()]
        .filter((one) => one.host === host && one.deletedAt === null)
        .map(({ name }) => name),
    disable: (host: string, reason: string | null): void => {
      const service = services.get(host) as ComputeService
      services.set(host, { ...service, disabled: true, disabledReason: reason })
    },
    ports: undefined as unknown as DrainHostPorts,
  }
  const set = (part: RunRecord, fields: Partial<RunRecord>): void => void Object.assign(part, fields)
  const alive = (): Server[] => [...servers.values()].filter(({ deletedAt }) => deletedAt === null)

  const capacities = (supposing?: { host: string; disabled: boolean }): HostCapacity[] =>
    names.map((name) => {
      const coming = parts.filter((part) => part.endedAt === null && requestOf(part).host === name)
      const there = [
        ...alive().filter(({ host }) => host === name),
        ...coming
          .map((part) => servers.get(requestOf(part).serverId) as Server)
          .filter(({ host }) => host !== name),
      ]
      const service = services.get(name) as ComputeService
      return {
        name,
        availabilityZone: 'nova',
        service: {
          disabled: supposing?.host === name ? supposing.disabled : service.disabled,
          disabledReason: service.disabledReason,
          forcedDown: service.forcedDown,
          up: !service.forcedDown,
        },
        vcpus: 4,
        memoryMib: rig.memoryMib.get(name) ?? 0,
        usedVcpus: there.reduce((sum, one) => sum + one.flavor.vcpus, 0),
        usedMemoryMib: there.reduce((sum, one) => sum + one.flavor.memoryMib, 0),
      }
    })

  function placesFor(serverId: string): GroupPlaces | undefined {
    const { name } = servers.get(serverId) as Server
    for (const [group, { policy, members, atMost = 1 }] of rig.groups) {
      if (!members.includes(name)) continue
      const others = members
        .filter((one) => one !== name)
        .map((one) => rig.get(one))
        .map(({ id, host }) => {
          const going = parts.find((part) => part.endedAt === null && requestOf(part).serverId === id)
          const to = going === undefined ? null : requestOf(going).host
          return { id, hosts: [host, to].filter((one) => one !== null) }
        })
      return { name: group, policy, maxServerPerHost: atMost, others }
    }
    return undefined
  }

  /** What a part does between two looks. */
  function step(part: RunRecord): void {
    const { serverId, host, way } = requestOf(part)
    const server = servers.get(serverId) as Server
    const end = (state: RunRecord['state'], fields: Partial<RunRecord> = {}): void => {
      if (servers.has(serverId))
        servers.set(serverId, { ...(servers.get(serverId) as Server), taskState: null })
      set(part, { state, endedAt: new Date().toISOString(), ...fields })
    }
    if (part.control.cancelRequested) return end('cancelled')
    if (part.control.paused) return
    const looks = ((part.progress as { doneBytes?: number } | null)?.doneBytes ?? 0) + 1
    set(part, { progress: { doneBytes: looks, totalBytes: rig.looks, rateBps: 1 } })
    const failing = rig.failing.get(server.name)
    if (failing !== undefined && failing.times > 0 && (failing.at ?? host) === host) {
      failing.times -= 1
      const failure = { step: 's', class: failing.class, code: null, message: failing.message }
      return end('failed', { failure })
    }
    if (looks < rig.looks) return
    const isStopped = server.vmState === 'stopped'
    servers.set(serverId, {
      ...server,
      host: host ?? server.host,
      vmState:
        way === 'stop' ? 'stopped' : way === 'start' ? 'active' : isStopped ? 'stopped' : server.vmState,
    })
    end('succeeded')
  }

  const find = (id: string): RunRecord => {
    const part = parts.find((one) => one.id === id)
    if (part === undefined) throw new DomainError('notFound', `There is no operation ${id}.`)
    return part
  }
  const steer = (id: string, control: Partial<RunRecord['control']>): void => {
    const part = find(id)
    if (part.endedAt !== null) throw new DomainError('conflict', `Operation ${id} has ended.`)
    set(part, { control: { ...part.control, ...control } })
  }

  rig.ports = {
    patience: { attempts: 3, first: 1, longest: 4, busy: 60, noPlace: 20 },
    servers: {
      onHost: async (host) => alive().filter((one) => host === undefined || one.host === host),
      list: async ({ ids }) =>
        [...servers.values()].filter(({ id }) => ids === undefined || ids.includes(id)),
      find: async (id) => alive().find((one) => one.id === id),
    },
    drained: {
      ofHome: async (home) => [...drained.values()].filter((one) => one.home === home),
      find: async (id) => drained.get(id),
      put: async (one) => void drained.set(one.serverId, one),
      remove: async (id) => void drained.delete(id),
    },
    migrations: {
      find: async (id) => {
        const part = parts.find((one) => one.id === id)
        return part === undefined ? undefined : ({ destHost: requestOf(part).host } as never)
      },
      list: async () =>
        parts
          .filter((part) => part.endedAt === null)
          .map((part) => {
            const { host } = requestOf(part)
            const common = { kind: 'live-migration', status: 'running', destHost: host }
            return { ...common, reserves: hasLeft(part) ? null : host } as never
          }),
    },
    destinations: {
      candidates: async ({ serverId, among, host, supposing }) => {
        const server = alive().find(({ id }) => id === serverId)
        if (server === undefined) {
          throw new DomainError('notFound', `Instance ${serverId} could not be found.`)
        }
        const all = capacities(supposing)
        const group = placesFor(serverId)
        const asked = {
          vcpus: server.flavor.vcpus,
          memoryMib: server.flavor.memoryMib,
          ...(server.host !== null && { source: server.host }),
          ...(host !== undefined && { host }),
          ...(group !== undefined && { group }),
        }
        const wanted = unboundByDisabled(asked, all)
        chooseHost(all, wanted)
        return all
          .filter(({ name }) => name !== server.host)
          .map((one) => ({
            host: one.name,
            refusal:
              among === undefined || among.includes(one.name)
                ? (refusalOf(one, wanted) ?? null)
                : 'is not among the hosts to choose from',
            freeMemoryMib: Math.max(0, one.memoryMib - one.usedMemoryMib),
            freeVcpus: one.vcpus * cpuAllocationRatio - one.usedVcpus,
          }))
      },
    },
    groups: { placesFor: async (serverId) => placesFor(serverId) },
    services: {
      list: async () => [...services.values()],
      update: async (id, fields) => {
        const service = [...services.values()].find((one) => one.id === id) as ComputeService
        services.set(service.host, { ...service, ...fields })
      },
    },
    occupants: { look: async () => ({ left: rig.left, alsoThere: rig.alsoThere }) },
    relocations: {
      check: async () => null,
      start: async (request) => {
        const server = servers.get(request.serverId) as Server
        const refusal = rig.refusing.get(server.name)?.(request) ?? null
        if (refusal !== null) return refusal
        rig.started.push(request)
        const id = `part-${rig.started.length}`
        parts.unshift(partOf(id, request))
        servers.set(server.id, { ...server, taskState: 'migrating' })
        rig.most = Math.max(rig.most, parts.filter(({ endedAt }) => endedAt === null).length)
        return { operationId: id }
      },
    },
    engine: {
      // A run of the engine that tests the operation is none of these parts: it has no progress that was seen.
      get: async (id) =>
        parts.find((part) => part.id === id) ??
        partOf(id, { way: 'live', serverId: '', host: null } as never),
      partsOf: async (parentId) => {
        const mine = parts.filter((part) => part.parentId === parentId)
        const seen = mine.map((part) => structuredClone(part))
        for (const part of mine) if (part.endedAt === null) step(part)
        return seen
      },
      cancel: async (id) => steer(id, { cancelRequested: true }),
      pause: async (id) => steer(id, { paused: true }),
      resume: async (id) => steer(id, { paused: false }),
      steer: async (id, wishes) => steer(id, wishes),
    },
  }
  return rig
}

const requestOf = (part: RunRecord): RelocationRequest => part.input as RelocationRequest

const partOf = (id: string, input: RelocationRequest): RunRecord => ({
  id,
  kind: kinds[input.way],
  version: 1,
  steps: [],
  keys: [],
  input,
  parentId: input.parent ?? null,
  state: 'running',
  step: null,
  cancellable: true,
  control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null, revision: 0 },
  progress: null,
  failure: null,
  owner: 'o',
  fence: 1,
  createdAt: '2026-11-22T10:00:00.000Z',
  updatedAt: '2026-11-22T10:00:00.000Z',
  endedAt: null,
})
