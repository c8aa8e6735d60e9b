import { join } from 'node:path'
import { createLocalAgents, type LocalAgents } from '@volant/agent/local-agents.ts'
import { guestPaths } from '@volant/agent/compute/names.ts'
import { connectAgents, remoteAgent, type AgentConnection } from '@volant/agent/wire/client.ts'
import {
  agentKinds,
  DomainError,
  type AgentKind,
  type ComputeAgent,
  type HolderAgent,
  type ShareAgent,
  type StorageAgent,
} from '@volant/contract'
import { createTlsAuthority, readTls, type TlsAuthority } from '@volant/qemu'
import type { Logger } from 'pino'
import type { ProbeGuest } from '../../../probe/build.ts'
import { AgentProcess, agentNames, endAgentProcess } from './agent-process.ts'
import { agentPlaces, type PlacedAgents } from './domain/agent-places.ts'
import type { Topology } from './domain/topology.ts'
import type { AgentProcesses, Agents } from './ports/agents.ts'
import type { StateFolder } from './state-folder.ts'

export interface PlaneAgents extends Agents, AgentProcesses {
  /** Settles when the agents inside this process have found what an earlier one left; others see to it themselves. */
  adopted(): Promise<void>
  /** The whole serial console of a server, where its host's agent is on this machine; else null. */
  consoleLogPath(host: string, serverId: string): string | null
  /** Lets go of all agents, daemons and guests: they run on. */
  close(): Promise<void>
}

interface PlaneAgentsOptions {
  topology: Topology
  folder: StateFolder
  log: Logger
  /** What to try KVM with; undefined: guests are emulated. */
  probe: ProbeGuest | undefined
  /** The words that start `volant` here, for agents in processes of their own. */
  command?: readonly [string, ...string[]] | undefined
}

/** Every process of agents that the configuration names, and the way to it. */
export async function openPlaneAgents(options: PlaneAgentsOptions): Promise<PlaneAgents> {
  const { topology, folder } = options
  const authority = createTlsAuthority(join(folder.path, 'tls'))
  const places = agentPlaces(topology)
  await endOthers(folder.path, places)
  const inside = places.find(({ place }) => place.kind === 'inside')
  const local = openLocal(options, authority, inside)
  const since = new Date()
  const outside: Outside[] = places
    .filter((placed) => placed !== inside)
    .map((placed) => openOutside(options, authority, placed))
  try {
    await Promise.all(outside.map(({ process }) => process?.start()))
  } catch (error) {
    await closeAll(local, outside)
    throw error
  }
  const routes = routesOf(local, outside)
  return {
    storage: (node) => routes.find<StorageAgent>('storage', node, 'storage node'),
    holders: (machine) => routes.find<HolderAgent>('holders', machine, 'machine'),
    compute: (host) => routes.find<ComputeAgent>('compute', host, 'compute host'),
    shares: (node) => routes.find<ShareAgent>('shares', node, 'storage node'),
    consoleLogPath(host, serverId) {
      const placed = places.find(({ plan }) => plan.compute.some((one) => one.host === host))
      if (placed === undefined || placed.place.kind === 'remote') return null
      return guestPaths(join(folder.path, 'hosts', host), folder.run, serverId).console
    },
    processes: () =>
      places.map(({ name, place, plan }) => {
        const found = outside.find((one) => one.placed.name === name && one.placed.place === place)
        const state = found?.connection.state ?? { up: true, since }
        return {
          name,
          place: place.kind,
          pid: place.kind === 'inside' ? process.pid : (found?.process?.pid ?? null),
          url: found?.url() ?? null,
          up: state.up,
          since: state.since,
          reason: ('reason' in state && state.reason) || null,
          storageNodes: plan.storage.map(({ node }) => node),
          machines: plan.holders.map(({ machine }) => machine),
          computeHosts: plan.compute.map(({ host }) => host),
        }
      }),
    async adopted() {
      if (local === undefined) return
      await Promise.all([...local.storage.values(), ...local.shares.values()].map((agent) => agent.adopt()))
      await Promise.all([...local.compute.values()].map((agent) => agent.adopted))
    },
    close: () => closeAll(local, outside),
  }
}

interface Outside {
  placed: PlacedAgents
  /** Undefined for one that somebody else starts. */
  process: AgentProcess | undefined
  connection: AgentConnection
  /** Null while it is not known. */
  url(): string | null
}

/** Processes that an earlier configuration had: two of them must not act on the same daemons. */
async function endOthers(stateDir: string, places: readonly PlacedAgents[]): Promise<void> {
  const wanted = new Set(places.filter(({ place }) => place.kind === 'process').map(({ name }) => name))
  await Promise.all(
    agentNames(stateDir)
      .filter((name) => !wanted.has(name))
      .map((name) => endAgentProcess(stateDir, name)),
  )
}

function openLocal(
  { folder, log, probe }: PlaneAgentsOptions,
  authority: TlsAuthority,
  inside: PlacedAgents | undefined,
): LocalAgents | undefined {
  if (inside === undefined) return undefined
  const probeKernel = probe && {
    path: probe.kernelPath,
    initrdPath: probe.initrdPath,
    commandLine: probe.commandLine,
  }
  return createLocalAgents({
    plan: inside.plan,
    stateDir: folder.path,
    runDir: folder.run,
    tls: authority,
    log,
    ...(probeKernel === undefined ? {} : { probeKernel }),
  })
}

function openOutside(
  { folder, log, command }: PlaneAgentsOptions,
  authority: TlsAuthority,
  placed: PlacedAgents,
): Outside {
  const { name, place, plan } = placed
  const tls = async () => readTls(await authority.controlPlaneFolder(), 'client')
  if (place.kind === 'remote') {
    const { url } = place
    return {
      placed,
      process: undefined,
      url: () => url,
      connection: connectAgents({ name, url: () => url, tls, log }),
    }
  }
  if (command === undefined) {
    throw new DomainError('internal', 'Agents as processes need to know how `volant` is started here.')
  }
  const process: AgentProcess = new AgentProcess({
    document: { name, plan },
    stateDir: folder.path,
    authority,
    command,
    isUp: () => connection.state.up,
    log,
  })
  const connection = connectAgents({ name, url: () => process.url(), tls, log })
  return { placed, process, connection, url: () => (process.pid === undefined ? null : process.url()) }
}

async function closeAll(local: LocalAgents | undefined, outside: readonly Outside[]): Promise<void> {
  for (const { connection } of outside) connection.close()
  await Promise.all([local?.close(), ...outside.map(({ process }) => process?.release())])
}

/** Which agent is reached how: an object in this process, or one whose calls go to another. */
function routesOf(local: LocalAgents | undefined, outside: readonly Outside[]) {
  const routes = new Map<string, object>()
  const key = (kind: AgentKind, name: string): string => `${kind}/${name}`
  for (const kind of agentKinds) {
    for (const [name, agent] of local?.[kind] ?? []) routes.set(key(kind, name), agent)
  }
  for (const { placed, connection } of outside) {
    const { storage, holders, compute, shares } = placed.plan
    for (const { node } of storage) {
      const target = { kind: 'storage', name: node } as const
      routes.set(key('storage', node), remoteAgent<StorageAgent>(connection, target, { node }))
    }
    for (const { machine } of holders) {
      const target = { kind: 'holders', name: machine } as const
      routes.set(key('holders', machine), remoteAgent<HolderAgent>(connection, target, {}))
    }
    for (const { node } of shares) {
      const target = { kind: 'shares', name: node } as const
      routes.set(key('shares', node), remoteAgent<ShareAgent>(connection, target, { node }))
    }
    for (const { host } of compute) {
      const target = { kind: 'compute', name: host } as const
      routes.set(key('compute', host), remoteAgent<ComputeAgent>(connection, target, { host }))
    }
  }
  return {
    find<A>(kind: AgentKind, name: string, what: string): A {
      const agent = routes.get(key(kind, name))
      if (agent === undefined) throw new DomainError('unavailable', `There is no agent of ${what} '${name}'.`)
      return agent as A
    },
  }
}
