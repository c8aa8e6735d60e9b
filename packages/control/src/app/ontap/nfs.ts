import { connectedClientRecord, nfsServiceRecord } from '../../domain/ontap/nfs.ts'
import { svmName } from '../../domain/ontap/identity.ts'
import type { OntapRecord } from '../../domain/ontap/query.ts'
import type { Cluster } from '../../domain/topology.ts'
import type { Agents } from '../../ports/agents.ts'
import type { Clock } from '../../ports/clock.ts'
import type { FlexVolRecords } from '../../ports/records.ts'

/** A cluster's NFS server as its REST API shows it; empty where the cluster serves no shares. */
export interface OntapNfs {
  services(): Promise<OntapRecord[]>
  /** Throws `unavailable` where the node does not answer. */
  clients(): Promise<OntapRecord[]>
}

export function createOntapNfs(sources: {
  cluster: Cluster
  agents: Pick<Agents, 'shares'>
  flexvols: Pick<FlexVolRecords, 'list'>
  clock: Clock
}): OntapNfs {
  const { cluster, agents, flexvols, clock } = sources
  const svm = svmName(cluster.name)
  return {
    async services() {
      const { shares: service } = cluster
      if (service === undefined) return []
      const servers = await agents
        .shares(service.node)
        .listServers()
        .catch(() => [])
      const isOnline = servers.some((server) => server.svm === svm && server.trouble === undefined)
      return [nfsServiceRecord(cluster, isOnline)]
    },
    async clients() {
      const { shares: service } = cluster
      if (service === undefined) return []
      const { node, lif } = service
      const connected = (await agents.shares(node).listClients()).filter((client) => client.svm === svm)
      const known = await flexvols.list()
      const now = clock.now()
      return connected.flatMap((client) => {
        const used = known.filter(({ shareId }) => shareId !== null && client.shareIds.includes(shareId))
        const records = used.length === 0 ? [null] : used
        return records.map((flexvol) => connectedClientRecord(cluster, { client, node, lif, flexvol, now }))
      })
    },
  }
}
