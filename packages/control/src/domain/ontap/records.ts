/**
 * ONTAP's view of a cluster: the topology, the FlexVols and their space as records of the REST API
 * (`/cluster`, `/cluster/nodes`, `/storage/aggregates`, `/storage/volumes`, `/svm/svms`, `/network/ip/interfaces`).
 * Pure. Only fields that mean something here; what a client asks for beside them is an unknown field.
 */
import type { Aggregate, Cluster, StorageNode } from '../topology.ts'
import type { FlexVol } from '../volume.ts'
import { svmName, uuidOf } from './identity.ts'
import type { OntapRecord } from './query.ts'

/** Bytes; undefined: the node does not answer. */
export type Space = { totalBytes: number; usedBytes: number; freeBytes: number } | undefined

/** The release whose REST API this is, so that clients choose the right calls. */
const release = { generation: 9, major: 14, minor: 1 }

const linked = (path: string, record: OntapRecord): OntapRecord => ({
  ...record,
  _links: { self: { href: path } },
})

const versionOf = (volantVersion: string): OntapRecord => ({
  full: `Volant ${volantVersion} (REST API of NetApp Release ${release.generation}.${release.major}.${release.minor})`,
  ...release,
})

export const clusterRecord = (cluster: Cluster, volantVersion: string, address: string): OntapRecord =>
  linked('/api/cluster', {
    uuid: uuidOf(cluster.name, 'cluster', cluster.name),
    name: cluster.name,
    version: versionOf(volantVersion),
    management_interfaces: [{ name: 'cluster_mgmt', ip: { address } }],
  })

export function nodeRecord(
  cluster: Cluster,
  node: StorageNode,
  volantVersion: string,
  isUp: boolean,
): OntapRecord {
  const uuid = uuidOf(cluster.name, 'node', node.name)
  return linked(`/api/cluster/nodes/${uuid}`, {
    uuid,
    name: node.name,
    model: 'Volant',
    state: isUp ? 'up' : 'down',
    version: versionOf(volantVersion),
    is_all_flash_optimized: false,
    is_all_flash_select_optimized: false,
  })
}

export function aggregateRecord(
  cluster: Cluster,
  node: StorageNode,
  aggregate: Aggregate,
  space: Space,
  volumeCount: number,
): OntapRecord {
  const uuid = uuidOf(cluster.name, 'aggregate', aggregate.name)
  const home = { name: node.name, uuid: uuidOf(cluster.name, 'node', node.name) }
  return linked(`/api/storage/aggregates/${uuid}`, {
    uuid,
    name: aggregate.name,
    state: space === undefined ? 'unknown' : 'online',
    node: home,
    home_node: home,
    volume_count: volumeCount,
    block_storage: { storage_type: 'hdd', primary: { raid_type: 'raid0' } },
    space: {
      block_storage: {
        size: space?.totalBytes ?? null,
        used: space?.usedBytes ?? null,
        available: space?.freeBytes ?? null,
      },
    },
  })
}

export interface VolumeFacts {
  flexvol: FlexVol & { createdAt: string }
  /** Of the aggregate: a FlexVol is thin, and may grow until that is full. */
  aggregate: Space
  /** What the FlexVol's own images occupy, in bytes. */
  usedBytes: number
  /** A move under way, or the latest one. */
  movement: OntapRecord | null
}

export function volumeRecord(cluster: Cluster, facts: VolumeFacts): OntapRecord {
  const { flexvol, aggregate, usedBytes } = facts
  const size = aggregate === undefined ? null : usedBytes + aggregate.freeBytes
  const svm = svmName(cluster.name)
  return linked(`/api/storage/volumes/${flexvol.id}`, {
    uuid: flexvol.id,
    name: flexvol.name,
    svm: { name: svm, uuid: uuidOf(cluster.name, 'svm', svm) },
    aggregates: [{ name: flexvol.aggregate, uuid: uuidOf(cluster.name, 'aggregate', flexvol.aggregate) }],
    type: 'rw',
    style: 'flexvol',
    state: aggregate === undefined ? 'offline' : 'online',
    is_svm_root: false,
    error_state: { is_inconsistent: false, has_bad_blocks: false },
    language: 'c.utf_8',
    create_time: flexvol.createdAt,
    guarantee: { type: 'none', honored: true },
    encryption: { enabled: false },
    snapshot_policy: { name: 'none' },
    nas: { path: flexvol.junctionPath },
    size,
    space: {
      size,
      used: usedBytes,
      available: aggregate?.freeBytes ?? null,
      afs_total: size,
      snapshot: { reserve_percent: 0, used: 0 },
    },
    ...(facts.movement === null ? {} : { movement: facts.movement }),
  })
}

export function svmRecord(cluster: Cluster): OntapRecord {
  const name = svmName(cluster.name)
  const uuid = uuidOf(cluster.name, 'svm', name)
  return linked(`/api/svm/svms/${uuid}`, {
    uuid,
    name,
    state: 'running',
    subtype: 'default',
    language: 'c.utf_8',
    ipspace: { name: 'Default' },
    aggregates: cluster.nodes
      .flatMap((node) => node.aggregates)
      .map(({ name: aggregate }) => ({
        name: aggregate,
        uuid: uuidOf(cluster.name, 'aggregate', aggregate),
      })),
  })
}

/** LIFs are what the FlexVols' pools are named by. */
export function interfaceRecord(cluster: Cluster, lif: string): OntapRecord {
  const uuid = uuidOf(cluster.name, 'lif', lif)
  const svm = svmName(cluster.name)
  return linked(`/api/network/ip/interfaces/${uuid}`, {
    uuid,
    name: `lif_${lif}`,
    ip: { address: lif },
    state: 'up',
    enabled: true,
    scope: 'svm',
    svm: { name: svm, uuid: uuidOf(cluster.name, 'svm', svm) },
  })
}
