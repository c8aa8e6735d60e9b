import { messageOf } from '@volant/contract'
import type { ComputeHostState } from '@volant/contract/ndo/plan.ts'
import type { VolumePlacement } from '@volant/contract/ndo/placement.ts'
import type {
  AgentStatus,
  ClusterStatus,
  ComputeHostStatus,
  PoolStatus,
  SystemStatus,
} from '@volant/contract/ndo/status.ts'
import { straysLeft } from '@volant/contract/ndo/sweep.ts'
import type { StoreTrouble } from '@volant/saga'
import { hostStringOf } from '../domain/migration.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Cluster, ComputeHost, StorageNode, Topology } from '../domain/topology.ts'
import type { FlexVol } from '../domain/volume.ts'
import type { AgentProcessState, Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { Sweep } from '../ports/sweep.ts'
import type {
  AggregateRecords,
  AttachmentRecords,
  CopyRecords,
  FlexVolRecords,
  SnapshotRecords,
  VolumeRecords,
} from '../ports/records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import { shareServiceStatus } from './share-service-status.ts'

export interface SystemStatusReader {
  system(principal: Principal): Promise<SystemStatus>
  placement(principal: Principal, volumeId: string): Promise<VolumePlacement>
}

export function createStatusReader(options: {
  version: string
  startedAt: string
  fence: number
  topology: Topology
  agents: Agents
  backend: Backend
  volumes: Pick<VolumeRecords, 'get'>
  copies: Pick<CopyRecords, 'find'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  flexvols: FlexVolRecords
  snapshots: Pick<SnapshotRecords, 'countInFlexVol'>
  madeAggregates: Pick<AggregateRecords, 'list'>
  shares: Pick<ShareRecords, 'list'>
  countOperations: () => Promise<Record<string, number>>
  hosts: (principal: Principal) => Promise<ComputeHostState[]>
  /** Since when, and why, the database takes no writes; null: it does. */
  storeTrouble: () => StoreTrouble | null
  sweep: Pick<Sweep, 'last'>
  consoleLogPath: (host: string, serverId: string) => string | null
  processes: () => AgentProcessState[]
  /** Of a cluster's own REST API. */
  managementUrl: (cluster: string) => string | null
}): SystemStatusReader {
  const { topology, agents } = options
  const clusterStatus = async (cluster: Cluster, flexvols: FlexVol[]): Promise<ClusterStatus> => ({
    name: cluster.name,
    management_url: options.managementUrl(cluster.name),
    nodes: await Promise.all(
      cluster.nodes.map(async (node) => nodeStatus(node, await options.madeAggregates.list())),
    ),
    pools: await Promise.all(
      flexvols.filter((f) => f.cluster === cluster.name && f.shareId === null).map(poolStatus),
    ),
    shares: await sharesOf(cluster),
  })

  const sharesOf = async ({ name, shares: service }: Cluster): Promise<ClusterStatus['shares']> => {
    if (service === undefined) return null
    const own = (await options.shares.list()).filter(({ cluster }) => cluster === name)
    return shareServiceStatus(agents, service, own)
  }
  /** It is up where one of its aggregates can be used; why another can't is said of that. */
  const nodeStatus = async (
    { name, machine, aggregates }: StorageNode,
    made: readonly { node: string; name: string }[],
  ): Promise<ClusterStatus['nodes'][number]> => {
    const own = [...aggregates, ...made.filter(({ node }) => node === name)].map((one) => one.name)
    const asked = await Promise.allSettled(
      [...new Set(own)].map(async (aggregate) => ({
        name: aggregate,
        ...spaceView(await agents.storage(name).aggregateSpace(aggregate)),
      })),
    )
    const found = asked.filter((one) => one.status === 'fulfilled').map(({ value }) => value)
    const up = found.length > 0
    const failed = asked.find((one) => one.status === 'rejected')
    return { name, machine, up, reason: up ? null : messageOf(failed?.reason), aggregates: found }
  }

  const poolStatus = async (flexvol: FlexVol): Promise<PoolStatus> => ({
    host: hostStringOf(topology.host, flexvol),
    flexvol: flexvol.name,
    node: flexvol.node,
    aggregate: flexvol.aggregate,
    volumes: await options.flexvols.countVolumes(flexvol.id),
    snapshots: await options.snapshots.countInFlexVol(flexvol.id),
    // Where its node is away; which one, and why, is said of the node.
    ...spaceView(await options.backend.space(flexvol).catch(() => noSpace)),
  })

  return {
    async system(principal) {
      enforce(principal, 'ndo:status', 'admin')
      const flexvols = await options.flexvols.list()
      const swept = options.sweep.last()
      return {
        version: options.version,
        host: topology.host,
        started_at: options.startedAt,
        fence: options.fence,
        clusters: await Promise.all(topology.clusters.map((cluster) => clusterStatus(cluster, flexvols))),
        compute_hosts: await Promise.all(topology.computeHosts.map((host) => hostStatus(agents, host))),
        hosts: await options.hosts(principal),
        agents: options.processes().map(agentView),
        database: databaseView(options.storeTrouble()),
        operations: await options.countOperations(),
        strays: swept === undefined ? null : straysLeft(swept),
      }
    },

    async placement(principal, volumeId) {
      enforce(principal, 'ndo:volume_placement', 'admin')
      const volume = await options.volumes.get(volumeId)
      const copy = volume.imageId === null ? undefined : await options.copies.find(volume.imageId)
      const flexvol = volume.flexvolId === null ? undefined : await options.flexvols.find(volume.flexvolId)
      const [attachment] = await options.attachments.ofVolume(volumeId)
      const access =
        copy === undefined || flexvol === undefined
          ? undefined
          : await agents
              .storage(copy.node)
              .fileAccess({ imageId: copy.imageId, aggregate: copy.aggregate, flexvol: flexvol.name })
      const info = copy === undefined ? undefined : await options.backend.imageInfo(copy)
      const node = topology.clusters.flatMap((c) => c.nodes).find((n) => n.name === copy?.node)
      const serverId = attachment?.serverId ?? null
      const host = attachment?.host ?? null
      return {
        volume_id: volume.id,
        serial: volume.id.slice(0, 20),
        host: flexvol === undefined ? null : hostStringOf(topology.host, flexvol),
        image_id: copy?.imageId ?? null,
        path: access?.path ?? null,
        cluster: flexvol?.cluster ?? null,
        node: copy?.node ?? null,
        machine: node?.machine ?? null,
        aggregate: copy?.aggregate ?? null,
        size_bytes: info?.sizeBytes ?? null,
        allocated_bytes: info?.allocatedBytes ?? null,
        server_id: serverId,
        compute_host: host,
        console_log_path: serverId === null || host === null ? null : options.consoleLogPath(host, serverId),
      }
    },
  }
}

const agentView = (agent: AgentProcessState): AgentStatus => ({
  name: agent.name,
  place: agent.place,
  pid: agent.pid,
  url: agent.url,
  up: agent.up,
  since: agent.since.toISOString(),
  reason: agent.reason,
  nodes: agent.storageNodes,
  machines: agent.machines,
  compute_hosts: agent.computeHosts,
})

const noSpace = { totalBytes: 0, usedBytes: 0, freeBytes: 0 }

const databaseView = (trouble: StoreTrouble | null): SystemStatus['database'] => ({
  ok: trouble === null,
  since: trouble?.since ?? null,
  reason: trouble?.reason ?? null,
  waiting: trouble?.waiting ?? 0,
})

const spaceView = (space: { totalBytes: number; usedBytes: number; freeBytes: number }) => ({
  total_bytes: space.totalBytes,
  used_bytes: space.usedBytes,
  free_bytes: space.freeBytes,
})

async function hostStatus(agents: Agents, host: ComputeHost): Promise<ComputeHostStatus> {
  try {
    const agent = agents.compute(host.name)
    const [facts, guests] = await Promise.all([agent.facts(), agent.listGuests()])
    return {
      name: host.name,
      machine: host.machine,
      up: true,
      reason: null,
      accelerator: facts.accelerator,
      vcpus: facts.vcpus,
      memory_mib: facts.memoryMiB,
      free_memory_mib: facts.freeMemoryMiB,
      servers: guests.filter((guest) => guest.state !== 'stopped' && guest.state !== 'absent').length,
    }
  } catch (error) {
    const unknown = { accelerator: null, vcpus: 0, memory_mib: 0, free_memory_mib: 0, servers: 0 }
    return { name: host.name, machine: host.machine, up: false, reason: messageOf(error), ...unknown }
  }
}
