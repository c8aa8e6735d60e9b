import type { AccessLevel } from '@volant/contract'
import { DomainError } from '@volant/contract'
import { formatHostString } from './host-string.ts'
import type { Topology } from './topology.ts'
import { gib, type FlexVol } from './volume.ts'

/**
 * A share as the application sees it. Its content is a volume that no Cinder user sees (`volumeId`), in a FlexVol of its
 * own, with an attachment to the storage node that serves it. Field meanings: `db/tables/share.ts`.
 */
export interface Share {
  id: string
  projectId: string
  userId: string
  name: string | null
  description: string | null
  /** Of the file system, and so the quota. The image below is larger: see `imageBytesFor`. */
  sizeGib: number
  status: ShareStatus
  taskState: ShareTaskState | null
  shareTypeId: string
  isPublic: boolean
  snapshotSupport: boolean
  createShareFromSnapshotSupport: boolean
  revertToSnapshotSupport: boolean
  mountSnapshotSupport: boolean
  rootSquash: boolean
  sourceSnapshotId: string | null
  cluster: string
  flexvolId: string | null
  volumeId: string | null
  exportId: number | null
  accessRulesStatus: 'active' | 'syncing' | 'error'
  migration: ShareMigration | null
  metadata: Record<string, string>
  availabilityZone: string
  createdAt: string
  updatedAt: string | null
}

/** As Manila's. */
export type ShareStatus =
  | 'creating'
  | 'creating_from_snapshot'
  | 'available'
  | 'extending'
  | 'extending_error'
  | 'shrinking'
  | 'shrinking_error'
  | 'shrinking_possible_data_loss_error'
  | 'migrating'
  | 'reverting'
  | 'reverting_error'
  | 'deleting'
  | 'error'
  | 'error_deleting'

/** As Manila's, of a migration that a driver carries out. */
export type ShareTaskState =
  | 'migration_starting'
  | 'migration_driver_starting'
  | 'migration_driver_in_progress'
  | 'migration_driver_phase1_done'
  | 'migration_completing'
  | 'migration_success'
  | 'migration_cancelled'
  | 'migration_error'

/** What was asked of the latest migration. */
export interface ShareMigration {
  operationId: string
  /** Aggregate of the same cluster. */
  node: string
  aggregate: string
  /** What the share will be of; null: as it was. */
  shareTypeId: string | null
}

/** Task states of a migration that is under way. */
export const migratingTaskStates: readonly ShareTaskState[] = [
  'migration_starting',
  'migration_driver_starting',
  'migration_driver_in_progress',
  'migration_driver_phase1_done',
  'migration_completing',
]

export interface ShareAccessRule {
  id: string
  shareId: string
  accessType: 'ip'
  /** An address or a network, in canonical form. */
  accessTo: string
  accessLevel: AccessLevel
  state: ShareAccessState
  metadata: Record<string, string>
  createdAt: string
  updatedAt: string | null
}

export type ShareAccessState =
  | 'queued_to_apply'
  | 'applying'
  | 'active'
  | 'error'
  | 'queued_to_deny'
  | 'denying'

/** Who may mount a snapshot of a share. Always to read. */
export interface SnapshotAccessRule {
  id: string
  snapshotId: string
  accessType: 'ip'
  /** An address or a network, in canonical form. */
  accessTo: string
  state: ShareAccessState
  createdAt: string
  updatedAt: string | null
}

/** A snapshot that has rules, and what it is served from. Field meanings: `db/tables/share.ts`. */
export interface ShownSnapshot {
  snapshotId: string
  shareId: string
  cluster: string
  volumeId: string
  exportId: number
  createdAt: string
}

export interface ShareType {
  id: string
  name: string
  description: string | null
  isPublic: boolean
  isDefault: boolean
  extraSpecs: Record<string, string>
  createdAt: string
  updatedAt: string | null
}

/** Where a share's NFS clients mount it: the same in its whole life. */
export const junctionPathOf = (shareId: string): string => `/share_${shareId.replaceAll('-', '_')}`
/** Where a snapshot that can be mounted is. */
export const snapshotJunctionPathOf = (snapshotId: string): string =>
  `/snapshot_${snapshotId.replaceAll('-', '_')}`
/** Also its FlexVol's name. */
export const shareFlexVolName = (shareId: string): string => junctionPathOf(shareId).slice(1)

/** What clients mount: `LIF:/junction`, an IPv6 address in brackets. */
export const exportLocationOf = ({ lif, junctionPath }: Pick<FlexVol, 'lif' | 'junctionPath'>): string =>
  `${lif.includes(':') ? `[${lif}]` : lif}:${junctionPath}`

/** `HOST@BACKEND#AGGREGATE`, where the share is now; null where its cluster serves no shares. */
export function shareHostOf(
  { host, clusters }: Pick<Topology, 'host' | 'clusters'>,
  { cluster, aggregate }: Pick<FlexVol, 'cluster' | 'aggregate'>,
): string | null {
  const backend = clusters.find(({ name }) => name === cluster)?.shares?.backend
  return backend === undefined ? null : formatHostString({ host, backend, pool: aggregate })
}

/**
 * Bytes of the image below a share of so many GiB. An image cannot be resized while it is exported, so it is larger than
 * the file system, which grows in it. Its holes cost no room, but a mirror walks over them: a TiB of holes is 15 s of work.
 */
export const imageBytesFor = (sizeGib: number): number => Math.max(128, 8 * sizeGib) * gib

/** The largest share, in GiB: an image of 8 times its size is still a file that every file system takes (16 TiB on ext4). */
export const largestShareGib = 2047

/** `HOST@BACKEND#AGGREGATE`; throws `invalid`, saying what the form is. */
export function parseShareHost(text: string): { host: string; backend: string; pool: string } {
  const match = /^([^@#\s]+)@([^@#\s]+)#([^@#\s]+)$/.exec(text)
  if (match === null) {
    const shown = text.length > 120 ? `${text.slice(0, 120)}…` : text
    throw new DomainError(
      'invalid',
      `Invalid host '${shown}': it must have the form HOST@BACKEND#POOL, for example stlrx300s7-107@manila-lma#aggr2. ` +
        `'manila pool-list' lists the pools.`,
    )
  }
  return { host: match[1] as string, backend: match[2] as string, pool: match[3] as string }
}
