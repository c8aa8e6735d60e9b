/** A compute host as the scheduler sees it. */
export interface HostCapacity {
  name: string
  availabilityZone: string
  /** Its service is enabled, its agent answered lately, and nobody forced it down. */
  usable: boolean
  vcpus: number
  memoryMib: number
  /** What servers recorded on it have, running or not. */
  usedVcpus: number
  usedMemoryMib: number
}

export interface ComputeRequest {
  vcpus: number
  memoryMib: number
  availabilityZone?: string
  /** An administrator's choice; the filters still apply to it. */
  host?: string
}

/** Guests' processors per processor, Nova's initial `cpu_allocation_ratio`. Memory is never given out twice. */
export const cpuAllocationRatio = 4

export const fits = (host: HostCapacity, request: ComputeRequest): boolean =>
  host.usable &&
  (request.host === undefined || request.host === host.name) &&
  (request.availabilityZone === undefined || request.availabilityZone === host.availabilityZone) &&
  request.vcpus <= host.vcpus &&
  host.usedVcpus + request.vcpus <= host.vcpus * cpuAllocationRatio &&
  host.usedMemoryMib + request.memoryMib <= host.memoryMib

/** The host with the most free memory; of equals the first by name. Undefined: none fits. */
export function chooseHost(hosts: readonly HostCapacity[], request: ComputeRequest): string | undefined {
  const free = (host: HostCapacity): number => host.memoryMib - host.usedMemoryMib
  const [best] = hosts
    .filter((host) => fits(host, request))
    .toSorted((a, b) => free(b) - free(a) || (a.name < b.name ? -1 : 1))
  return best?.name
}
