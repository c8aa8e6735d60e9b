/** ONTAP's view of a cluster's NFS server: `/protocols/nfs/services` and `/protocols/nfs/connected-clients`. Pure. */
import type { NfsClient } from '@volant/contract'
import type { Cluster } from '../topology.ts'
import type { FlexVol } from '../volume.ts'
import { svmName, uuidOf } from './identity.ts'
import type { OntapRecord } from './query.ts'

const svmOf = (cluster: { name: string }): OntapRecord => {
  const name = svmName(cluster.name)
  return { name, uuid: uuidOf(cluster.name, 'svm', name) }
}

/** Of an SVM without exports no server runs: it is offline, and comes with the first share. */
export const nfsServiceRecord = (cluster: Cluster, isOnline: boolean): OntapRecord => ({
  svm: svmOf(cluster),
  enabled: true,
  state: isOnline ? 'online' : 'offline',
  protocol: { v40_enabled: false, v41_enabled: true },
  _links: { self: { href: `/api/protocols/nfs/services/${String(svmOf(cluster)['uuid'])}` } },
})

export interface ConnectedClient {
  client: NfsClient
  /** The node and the LIF that it is connected to. */
  node: string
  lif: string
  /** That it is known to use; null: it can't be told. */
  flexvol: Pick<FlexVol, 'id' | 'name'> | null
  now: Date
}

export const connectedClientRecord = (
  cluster: Cluster,
  { client, node, lif, flexvol, now }: ConnectedClient,
): OntapRecord => ({
  svm: svmOf(cluster),
  node: { name: node, uuid: uuidOf(cluster.name, 'node', node) },
  server_ip: lif,
  client_ip: client.address,
  ...(client.version === null ? {} : { protocol: protocolOf(client.version) }),
  ...(flexvol === null ? {} : { volume: { name: flexvol.name, uuid: flexvol.id } }),
  ...(client.lastSeen === null ? {} : { idle_duration: durationOf(client.lastSeen, now) }),
})

/** ONTAP's words: `nfs3`, `nfs4`, `nfs4.1`, `nfs4.2`. */
const protocolOf = (version: string): string => `nfs${version.replace(/^4\.0$/, '4')}`

/** ISO 8601, whole seconds. */
function durationOf(since: string, now: Date): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - Date.parse(since)) / 1000))
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  return `PT${hours > 0 ? `${hours}H` : ''}${minutes > 0 ? `${minutes}M` : ''}${rest}S`
}
