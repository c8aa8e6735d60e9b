import { DomainError, type AgentPlan } from '@volant/contract'
import type { StorageNode, Topology } from './topology.ts'

/** Where a process of agents is. */
export type AgentPlace =
  /** In the control plane's own process. */
  | { kind: 'inside' }
  /** A process on this machine that the control plane starts and looks after. */
  | { kind: 'process' }
  /** A process that somebody else starts, at this address. */
  | { kind: 'remote'; url: string }

export interface PlacedAgents {
  /** The process's name: `MACHINE-storage`, `MACHINE-compute`, or `MACHINE` where it has both. */
  name: string
  place: AgentPlace
  plan: AgentPlan
}

const emptyPlan = (): AgentPlan => ({ storage: [], holders: [], compute: [], shares: [] })
const isEmpty = (plan: AgentPlan): boolean =>
  plan.storage.length + plan.holders.length + plan.compute.length === 0

/**
 * Which agents are in which process. The storage nodes of a machine share one, and so do its compute hosts; holders
 * belong to a machine and go with its compute hosts, else with its storage nodes.
 */
export function agentPlaces(topology: Topology): PlacedAgents[] {
  const inside = emptyPlan()
  const processes: PlacedAgents[] = []
  for (const machine of machinesOf(topology)) {
    const { storage, compute } = partsOf(topology, machine)
    const storagePlace = placeOf(topology, nodesOf(topology), machine)
    const computePlace = placeOf(topology, topology.computeHosts, machine)
    if (areOne(storagePlace, computePlace)) {
      processes.push({ name: machine, place: storagePlace, plan: addTo(storage, compute) })
      continue
    }
    for (const [part, place, plan] of [
      ['storage', storagePlace, storage],
      ['compute', computePlace, compute],
    ] as const) {
      if (isEmpty(plan)) continue
      if (place.kind === 'inside') addTo(inside, plan)
      else processes.push({ name: `${machine}-${part}`, place, plan })
    }
  }
  requireDistinct(processes.map(({ name }) => name))
  if (isEmpty(inside)) return processes
  return [{ name: topology.host, place: { kind: 'inside' }, plan: inside }, ...processes]
}

const nodesOf = (topology: Topology): StorageNode[] => topology.clusters.flatMap((cluster) => cluster.nodes)

const machinesOf = (topology: Topology): string[] => [
  ...new Set([...topology.computeHosts, ...nodesOf(topology)].map(({ machine }) => machine)),
]

const areOne = (one: AgentPlace, other: AgentPlace): boolean =>
  one.kind === 'remote' && other.kind === 'remote' && one.url === other.url

function placeOf(
  topology: Topology,
  candidates: readonly { machine: string; agent?: string }[],
  machine: string,
): AgentPlace {
  const url = candidates.find((candidate) => candidate.machine === machine)?.agent
  if (url !== undefined) return { kind: 'remote', url }
  return { kind: topology.agents === 'processes' ? 'process' : 'inside' }
}

/** The agents of one machine. Folders of sockets have short names: those of sockets end at 107 bytes. */
function partsOf(topology: Topology, machine: string): { storage: AgentPlan; compute: AgentPlan } {
  const storage = emptyPlan()
  const compute = emptyPlan()
  for (const [index, node] of nodesOf(topology).entries()) {
    if (node.machine !== machine) continue
    const { name, dataAddress, aggregates, netns } = node
    const place = { state: `nodes/${name}`, run: `s${index}`, ...netnsOf(netns) }
    storage.storage.push({ ...place, node: name, machine, dataAddress, aggregates })
    storage.shares.push({ ...place, state: `shares/${name}`, run: `n${index}`, node: name })
  }
  for (const [index, host] of topology.computeHosts.entries()) {
    if (host.machine !== machine) continue
    const { name, memoryMiB, dataAddress, netns } = host
    const place = { state: `hosts/${name}`, run: `c${index}`, ...netnsOf(netns) }
    compute.compute.push({
      ...place,
      host: name,
      machine,
      ...(dataAddress === undefined ? {} : { dataAddress }),
      ...(memoryMiB === undefined ? {} : { memoryMiB }),
    })
  }
  const withHolders = isEmpty(compute) ? storage : compute
  const netns = [...topology.computeHosts, ...nodesOf(topology)].find((one) => one.machine === machine)?.netns
  withHolders.holders.push({
    machine,
    state: `machines/${machine}`,
    run: `h${machinesOf(topology).indexOf(machine)}`,
    ...netnsOf(netns),
  })
  return { storage, compute }
}

const netnsOf = (netns: string | undefined) => (netns === undefined ? {} : { netns })

function addTo(plan: AgentPlan, more: AgentPlan): AgentPlan {
  plan.storage.push(...more.storage)
  plan.holders.push(...more.holders)
  plan.compute.push(...more.compute)
  plan.shares.push(...more.shares)
  return plan
}

function requireDistinct(names: string[]): void {
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice === undefined) return
  throw new DomainError(
    'invalid',
    `Two processes of agents would be named '${twice}', after the machines; rename one of these machines.`,
  )
}
