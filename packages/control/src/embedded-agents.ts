import { join } from 'node:path'
import {
  createComputeAgent,
  createHolderAgent,
  createStorageAgent,
  type LocalComputeAgent,
  type LocalHolderAgent,
  type LocalStorageAgent,
} from '@volant/agent'
import { guestPaths } from '@volant/agent/compute/names.ts'
import { DomainError } from '@volant/contract'
import { createTlsAuthority } from '@volant/qemu/tls/authority.ts'
import type { Logger } from 'pino'
import type { ProbeGuest } from '../../../probe/build.ts'
import type { Topology } from './domain/topology.ts'
import type { Agents } from './ports/agents.ts'
import type { StateFolder } from './state-folder.ts'

export interface EmbeddedAgents extends Agents {
  /** Every call of a compute agent waits until it has found its guests; this is for who wants to know. */
  adopted(): Promise<void>
  /** The whole serial console of a server, on its host's machine. */
  consoleLogPath(host: string, serverId: string): string
  /** Lets go of all daemons and guests: they run on. */
  close(): Promise<void>
}

/**
 * The agents of every node, machine and host of the topology, inside this process. Holders belong to a machine:
 * the nodes and hosts of one machine share them.
 */
export function embeddedAgents(options: {
  topology: Topology
  folder: StateFolder
  log: Logger
  /** What to try KVM with; undefined: guests are emulated. */
  probe: ProbeGuest | undefined
}): EmbeddedAgents {
  const { topology, folder, log } = options
  const authority = createTlsAuthority(join(folder.path, 'tls'))
  const nodes = new Map<string, LocalStorageAgent>()
  for (const node of topology.clusters.flatMap((cluster) => cluster.nodes)) {
    nodes.set(
      node.name,
      createStorageAgent({
        node: node.name,
        stateDir: join(folder.path, 'nodes', node.name),
        runDir: join(folder.run, `s${nodes.size}`),
        aggregates: node.aggregates,
        dataAddress: node.dataAddress,
        ...netnsOf(node),
        serverTlsFolder: () => authority.serverFolder(node.name, node.dataAddress),
        log,
      }),
    )
  }

  const holders = new Map<string, LocalHolderAgent>()
  const places = [...topology.computeHosts, ...topology.clusters.flatMap((cluster) => cluster.nodes)]
  for (const place of places) {
    if (holders.has(place.machine)) continue
    holders.set(
      place.machine,
      createHolderAgent({
        host: place.machine,
        stateDir: join(folder.path, 'machines', place.machine),
        runDir: join(folder.run, `h${holders.size}`),
        ...netnsOf(place),
        clientTlsFolder: () => authority.clientFolder(place.machine),
        log,
      }),
    )
  }

  const { probe } = options
  const probeKernel =
    probe &&
    (() =>
      Promise.resolve({
        path: probe.kernelPath,
        initrdPath: probe.initrdPath,
        commandLine: probe.commandLine,
      }))
  const hosts = new Map<string, LocalComputeAgent>()
  for (const host of topology.computeHosts) {
    hosts.set(
      host.name,
      createComputeAgent({
        host: host.name,
        stateDir: join(folder.path, 'hosts', host.name),
        runDir: join(folder.run, `c${hosts.size}`),
        log,
        ...netnsOf(host),
        ...(host.memoryMiB === undefined ? {} : { memoryMiB: host.memoryMiB }),
        ...(probeKernel === undefined ? {} : { probeKernel }),
      }),
    )
  }

  return {
    storage: (node) => found(nodes, 'storage node', node),
    holders: (machine) => found(holders, 'machine', machine),
    compute: (host) => found(hosts, 'compute host', host),
    consoleLogPath: (host, serverId) =>
      guestPaths(join(folder.path, 'hosts', host), folder.run, serverId).console,
    async adopted() {
      await Promise.all([...nodes.values()].map((agent) => agent.adopt()))
      await Promise.all([...hosts.values()].map((agent) => agent.adopted))
    },
    async close() {
      for (const agent of [...nodes.values(), ...holders.values()]) agent.detach()
      await Promise.all([...hosts.values()].map((agent) => agent.close()))
    },
  }
}

const netnsOf = (place: { netns?: string }): { netns?: string } =>
  place.netns === undefined ? {} : { netns: `/run/netns/${place.netns}` }

function found<T>(agents: Map<string, T>, kind: string, name: string): T {
  const agent = agents.get(name)
  if (agent === undefined) throw new DomainError('unavailable', `There is no agent of ${kind} '${name}'.`)
  return agent
}
