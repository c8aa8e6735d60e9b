/**
 * ONTAP's view of a cluster: the topology, the FlexVols and their space as records of the REST API
 * (`/cluster`, `/cluster/nodes`, `/storage/aggregates`, `/storage/volumes`, `/svm/svms`, `/network/ip/interfaces`).
 * Pure. Only fields that mean something here; what a client asks for beside them is an unknown field.
 */
import type { Snapshot } from '../snapshot.ts'
import type { Cluster, StorageNode } from '../topology.ts'
import type { Copy, FlexVol } from '../volume.ts'
import { svmName, uuidOf } from './identity.ts'
import type { OntapRecord } from './query.ts'

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

const svmOf = (cluster: { name: string }): { name: string; uuid: string } => {
  const name = svmName(cluster.name)
  return { name, uuid: uuidOf(cluster.name, 'svm', name) }
}

export const aggregateReference = (cluster: { name: string }, name: string): OntapRecord => ({
  name,
  uuid: uuidOf(cluster.name, 'aggregate', name),
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

export interface AggregateFacts {
  name: string
  node: string
  state: 'online' | 'deleting' | 'unavailable'
  /** Null: made with the cluster, by its configuration. */
  createdAt: string | null
  /** Bytes; null while its node does not answer. */
  space: { totalBytes: number; usedBytes: number; availableBytes: number } | null
  /** FlexVols whose home it is. */
  volumes: number
}

export function aggregateRecord(cluster: Cluster, facts: AggregateFacts): OntapRecord {
  const { space } = facts
  const uuid = uuidOf(cluster.name, 'aggregate', facts.name)
  const home = { name: facts.node, uuid: uuidOf(cluster.name, 'node', facts.node) }
  const usedPercent =
    space === null || space.totalBytes === 0 ? null : Math.round((space.usedBytes / space.totalBytes) * 100)
  return linked(`/api/storage/aggregates/${uuid}`, {
    uuid,
    name: facts.name,
    state: facts.state === 'unavailable' ? 'unknown' : facts.state === 'deleting' ? 'destroying' : 'online',
    node: home,
    home_node: home,
    create_time: facts.createdAt,
    volume_count: facts.volumes,
    block_storage: { storage_type: 'hdd', primary: { raid_type: 'raid0' } },
    space: {
      block_storage: {
        size: space?.totalBytes ?? null,
        used: space?.usedBytes ?? null,
        available: space?.availableBytes ?? null,
        used_percent: usedPercent,
      },
    },
  })
}

export interface VolumeFacts {
  flexvol: FlexVol
  /** Of its aggregate. */
  isOnline: boolean
  /** What its own images occupy, and what may still be written; bytes. Null: not known, or not asked for. */
  space: { usedBytes: number; availableBytes: number } | null
  /** A move under way, or the latest one. */
  movement: OntapRecord | null
}

/** Its access rules, named as a NetApp driver names the export policy of a Manila share. */
const nasOfShare = (shareId: string): OntapRecord => ({
  security_style: 'unix',
  export_policy: { name: `policy_${shareId.replaceAll('-', '_')}` },
})

/** What the FlexVol may hold: its own limit, or what it has and what its aggregate has left for it. */
const sizeOfVolume = ({ flexvol, space }: VolumeFacts): number | null =>
  flexvol.sizeBytes ?? (space === null ? null : space.usedBytes + space.availableBytes)

export function volumeRecord(cluster: Cluster, facts: VolumeFacts): OntapRecord {
  const { flexvol, space } = facts
  const size = sizeOfVolume(facts)
  return linked(`/api/storage/volumes/${flexvol.id}`, {
    uuid: flexvol.id,
    name: flexvol.name,
    svm: svmOf(cluster),
    aggregates: [aggregateReference(cluster, flexvol.aggregate)],
    type: 'rw',
    style: 'flexvol',
    state: facts.isOnline ? 'online' : 'offline',
    is_svm_root: false,
    error_state: { is_inconsistent: false, has_bad_blocks: false },
    language: 'c.utf_8',
    create_time: flexvol.createdAt,
    guarantee: { type: 'none', honored: true },
    encryption: { enabled: false },
    snapshot_policy: { name: 'none' },
    efficiency: {
      volume_path: `/vol/${flexvol.name}`,
      state: 'disabled',
      compression: 'none',
      dedupe: 'none',
    },
    nas: { path: flexvol.junctionPath, ...(flexvol.shareId === null ? {} : nasOfShare(flexvol.shareId)) },
    size,
    space: {
      size,
      used: space?.usedBytes ?? null,
      available: space?.availableBytes ?? null,
      afs_total: size,
      percent_used:
        space === null || size === null || size === 0 ? null : Math.round((space.usedBytes / size) * 100),
      snapshot: { reserve_percent: 0, used: 0 },
    },
    ...(facts.movement === null ? {} : { movement: facts.movement }),
  })
}

/** The name is the one that a NetApp driver gives the file of a Cinder snapshot, or the snapshot of a Manila share. */
export const snapshotRecord = (
  cluster: Cluster,
  flexvol: FlexVol,
  snapshot: Pick<Snapshot, 'id' | 'volumeId' | 'shareId' | 'name' | 'status' | 'createdAt' | 'sizeGib'>,
): OntapRecord => {
  const { id, shareId } = snapshot
  const of = shareId === null ? `volume-${snapshot.volumeId}` : `share ${shareId}`
  return linked(`/api/storage/volumes/${flexvol.id}/snapshots/${id}`, {
    uuid: id,
    name: shareId === null ? `snapshot-${id}` : `share_snapshot_${id.replaceAll('-', '_')}`,
    volume: { name: flexvol.name, uuid: flexvol.id },
    svm: svmOf(cluster),
    create_time: snapshot.createdAt,
    state: snapshot.status === 'error' ? 'invalid' : 'valid',
    comment: `${snapshot.name ?? ''} (of ${of})`.trim(),
    size: snapshot.sizeGib * 1024 ** 3,
  })
}

/** An image as a file of its FlexVol, named as a NetApp driver names the files of Cinder's volumes and snapshots. */
export const fileRecord = (copy: Pick<Copy, 'volumeId' | 'snapshotId' | 'sizeBytes'>): OntapRecord => {
  const name = copy.snapshotId === null ? `volume-${copy.volumeId}` : `snapshot-${copy.snapshotId}`
  return { name, path: name, type: 'file', size: copy.sizeBytes }
}

export function svmRecord(cluster: Cluster, aggregates: readonly string[]): OntapRecord {
  const svm = svmOf(cluster)
  return linked(`/api/svm/svms/${svm.uuid}`, {
    uuid: svm.uuid,
    name: svm.name,
    state: 'running',
    subtype: 'default',
    language: 'c.utf_8',
    ipspace: { name: 'Default' },
    aggregates: aggregates.map((name) => aggregateReference(cluster, name)),
  })
}

/** LIFs are what the FlexVols' pools are named by. */
export function interfaceRecord(cluster: Cluster, lif: string): OntapRecord {
  const uuid = uuidOf(cluster.name, 'lif', lif)
  return linked(`/api/network/ip/interfaces/${uuid}`, {
    uuid,
    name: `lif_${lif}`,
    ip: { address: lif },
    state: 'up',
    enabled: true,
    scope: 'svm',
    services: ['data_core', 'data_nfs'],
    svm: svmOf(cluster),
  })
}
