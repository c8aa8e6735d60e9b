import type { ServerGroupPolicy } from './server-group.ts'

/** A compute host as the scheduler sees it. */
export interface HostCapacity {
  name: string
  availabilityZone: string
  service: HostService
  vcpus: number
  memoryMib: number
  /** What servers recorded on it have, running or not, and what is held back for those that are to come. */
  usedVcpus: number
  usedMemoryMib: number
}

export interface HostService {
  disabled: boolean
  disabledReason: string | null
  /** An administrator said that it is down. */
  forcedDown: boolean
  /** Its agent answered lately, and nobody forced it down. */
  up: boolean
}

/** The group of the server that a place is looked for, as its policy sees it. */
export interface GroupPlaces {
  name: string
  policy: ServerGroupPolicy
  /** Of anti-affinity. */
  maxServerPerHost: number
  /** The other servers of the group: where each is, and where it is about to go. */
  others: readonly { id: string; hosts: readonly string[] }[]
}

export interface ComputeRequest {
  vcpus: number
  memoryMib: number
  /** The zone that the server was made in by name. */
  availabilityZone?: string
  /** An administrator's choice; the filters still apply to it. */
  host?: string
  /** Where the server is now: no destination. */
  source?: string
  group?: GroupPlaces
}

/** Guests' processors per processor, Nova's initial `cpu_allocation_ratio`. Memory is never given out twice. */
export const cpuAllocationRatio = 4

/** Why the server can't be on the host, to be read after the host's name; undefined: it can. Pure. */
export const refusalOf = (host: HostCapacity, request: ComputeRequest): string | undefined =>
  placeRefusal(host, request) ??
  serviceRefusal(host.service) ??
  roomRefusal(host, request) ??
  groupRefusal(host.name, request.group)

function placeRefusal(host: HostCapacity, request: ComputeRequest): string | undefined {
  const { availabilityZone: zone } = request
  if (request.source === host.name) return 'is where the server is'
  if (request.host !== undefined && request.host !== host.name)
    return `is not the host ${request.host} asked for`
  if (zone === undefined || zone === host.availabilityZone) return undefined
  return `is in availability zone ${host.availabilityZone}, and the server belongs in ${zone}`
}

function serviceRefusal(service: HostService): string | undefined {
  if (service.forcedDown) return 'is down: an administrator forced it down'
  if (!service.up) return 'is down: its agent does not answer'
  if (!service.disabled) return undefined
  return service.disabledReason === null ? 'is disabled' : `is disabled: ${service.disabledReason}`
}

function roomRefusal(host: HostCapacity, request: ComputeRequest): string | undefined {
  const freeMib = Math.max(0, host.memoryMib - host.usedMemoryMib)
  if (request.memoryMib > freeMib) {
    return `has too little memory: ${request.memoryMib} MiB are needed, ${freeMib} of ${host.memoryMib} MiB are free`
  }
  if (request.vcpus > host.vcpus) {
    return `has too few processors: ${request.vcpus} vCPUs are needed, it has ${host.vcpus} processors`
  }
  const vcpus = host.vcpus * cpuAllocationRatio
  const free = Math.max(0, vcpus - host.usedVcpus)
  if (request.vcpus <= free) return undefined
  return `has too few vCPUs: ${request.vcpus} are needed, ${free} of ${vcpus} are free`
}

function groupRefusal(host: string, group: GroupPlaces | undefined): string | undefined {
  if (group === undefined) return undefined
  const { name, policy, others, maxServerPerHost } = group
  if (policy === 'affinity') {
    const hosts = [...new Set(others.flatMap((other) => other.hosts))]
    if (hosts.length === 0 || hosts.includes(host)) return undefined
    return `is not where server group '${name}' (affinity) is: ${hosts.toSorted().join(', ')}`
  }
  if (policy !== 'anti-affinity') return undefined
  const there = others.filter(({ hosts }) => hosts.includes(host))
  if (there.length < maxServerPerHost) return undefined
  const servers = there.map(({ id }) => id).join(', ')
  return `has server ${servers} of server group '${name}' (anti-affinity, ${maxServerPerHost} for each host)`
}

/**
 * The request of a server that moves: members of its affinity group on hosts that are disabled or down don't bind it to
 * those, for they have to leave them, too; else nobody could be the first.
 */
export function unboundByDisabled(request: ComputeRequest, hosts: readonly HostCapacity[]): ComputeRequest {
  const { group } = request
  if (group?.policy !== 'affinity') return request
  const closed = new Set(
    hosts.filter(({ service }) => service.disabled || !service.up).map(({ name }) => name),
  )
  const others = group.others.map((one) => ({
    ...one,
    hosts: one.hosts.filter((host) => !closed.has(host)),
  }))
  return { ...request, group: { ...group, others } }
}

export const fits = (host: HostCapacity, request: ComputeRequest): boolean =>
  refusalOf(host, request) === undefined

/**
 * The host that a soft policy of the group prefers; of equals the one with the most free memory, then the first by
 * name. Undefined: none fits.
 */
export function chooseHost(hosts: readonly HostCapacity[], request: ComputeRequest): string | undefined {
  const free = (host: HostCapacity): number => host.memoryMib - host.usedMemoryMib
  const [best] = hosts
    .filter((host) => fits(host, request))
    .toSorted(
      (a, b) =>
        preference(b.name, request.group) - preference(a.name, request.group) ||
        free(b) - free(a) ||
        (a.name < b.name ? -1 : 1),
    )
  return best?.name
}

function preference(host: string, group: GroupPlaces | undefined): number {
  const there = group?.others.filter(({ hosts }) => hosts.includes(host)).length ?? 0
  if (group?.policy === 'soft-affinity') return there
  return group?.policy === 'soft-anti-affinity' ? -there : 0
}
