/**
 * # What the sweep makes of what exists
 *
 * Each thing that was found in the data plane is owned, in somebody's hands, or a stray. A stray is removed only with a
 * proof that it is Volant's and that it is finished; without one it is told. Pure: docs/protocol/sweep.md has the
 * reasons.
 *
 * Every proof here is one that can't become wrong again: an operation that has ended stays so, a deleted server stays
 * deleted, and no id is ever given out twice. So what is begun between the judgement and the removal can't be hit by it.
 */
import type { InventoryItem, InventoryKind } from '@volant/contract'
import { judgeStray, nameOf, operationOf } from './stray.ts'
import type { Attachment, Copy } from './volume.ts'

/** Whose inventory it stands in. */
export interface SweepPlace {
  agent: 'storage' | 'shares' | 'holders' | 'compute' | 'database'
  name: string
}

/** A row that holds space back in a pool is swept, too. */
export type SweptKind = InventoryKind | 'reservation'

export interface Found {
  place: SweepPlace
  item: Omit<InventoryItem, 'kind'> & { kind: SweptKind }
}

/** A row that was removed on purpose, and what it was. */
export interface Tombstone {
  kind: 'copy' | 'attachment' | 'share'
  id: string
  /** Empty, of a share. */
  volumeId: string
  serverId: string | null
  /** The copy's state, or the attachment's or share's status, when it was removed. */
  state: string
  operationId: string | null
  removedAt: string
}

export interface UnfinishedOperation {
  id: string
  kind: string
  keys: readonly string[]
  /** Its input as JSON: whatever id stands in it may be in its hands. */
  input: string
}

/** What the records say of all that was found. Read after the inventories, never before. */
export interface OwnerRecords {
  /** By the image's id. */
  copies: ReadonlyMap<string, Copy>
  /** By their heads' ids. */
  attachments: ReadonlyMap<string, Attachment>
  servers: ReadonlyMap<string, { host: string | null; deletedAt: string | null }>
  /** A volume's truth. */
  volumes: ReadonlyMap<string, { imageId: string | null }>
  /** With the node that serves it; null: none does (yet). */
  shares: ReadonlyMap<string, { node: string | null }>
  /** NFS servers that there are by the configuration, as `NODE/SVM`. */
  nfsServers: ReadonlySet<string>
  /** A snapshot's image. */
  snapshots: ReadonlyMap<string, { imageId: string | null }>
  /** Operations by id: whether they have ended, and how. */
  operations: ReadonlyMap<string, { kind: string; state: string; hasEnded: boolean }>
  unfinished: readonly UnfinishedOperation[]
  /** By `copy/ID`, `attachment/ID` and `share/ID`. */
  tombstones: ReadonlyMap<string, Tombstone>
  flexvols: ReadonlyMap<string, { name: string }>
  /** Paths of those that were made at run time, by `NODE/NAME`. */
  aggregates: ReadonlyMap<string, string>
  /** Files that aggregates are, of whatever node of a machine, as `MACHINE:PATH`. */
  aggregateFiles: ReadonlySet<string>
  machineOfNode: ReadonlyMap<string, string>
  machineOfHost: ReadonlyMap<string, string>
  /** Ids of the holders that stand on an image by their own records, whatever the database says; by the image's id. */
  standing: ReadonlyMap<string, readonly string[]>
  /** Machines whose holders are not known: they did not answer. */
  silentMachines: readonly string[]
}

export type Judgement =
  | { verdict: 'owned'; reason: string }
  /** Somebody may be working on it: left alone, and not told. */
  | { verdict: 'busy'; reason: string }
  | { verdict: 'stray-removable'; reason: string; proof: string }
  | { verdict: 'stray-reported'; reason: string; advice: string }

export interface SweepPolicy {
  /** What is younger is left alone: it may be on its way into the records. Seconds. */
  graceSeconds: number
}

const owned = (reason: string): Judgement => ({ verdict: 'owned', reason })

/** What a record owns, what an operation may own, what is young: in this order. Only then is it a stray. */
export function judge(found: Found, records: OwnerRecords, policy: SweepPolicy): Judgement {
  const owner = ownerOf(found, records)
  if (owner !== undefined) return owned(owner)
  const operation = workingOn(found.item, records)
  if (operation !== undefined) {
    return { verdict: 'busy', reason: `operation ${operation.id} (${operation.kind}) has not ended` }
  }
  if (found.item.ageSeconds < policy.graceSeconds) {
    return { verdict: 'busy', reason: `younger than ${policy.graceSeconds} s` }
  }
  return judgeStray(found, records)
}

/** The record that owns it, in words; undefined: none. */
function ownerOf({ place, item }: Found, records: OwnerRecords): string | undefined {
  const { imageId = '', holderId = '', serverId = '' } = item
  const attachment = records.attachments.get(holderId)
  switch (item.kind) {
    case 'image': {
      const copy = records.copies.get(imageId)
      return copy && isAt(copy, place, item, records) ? nameOf(copy) : undefined
    }
    case 'image-part':
      // The retention pass, or the deletion of the volume, begins and repeats its removal.
      return item.isBeingRemoved === true && records.copies.get(imageId)?.state === 'retained'
        ? `retained copy ${imageId}`
        : undefined
    case 'export': {
      const truth = attachment && records.volumes.get(attachment.volumeId)?.imageId
      return attachment && truth === imageId ? `attachment ${holderId}` : undefined
    }
    case 'holder': {
      const machines = attachment?.shareId === null ? records.machineOfHost : records.machineOfNode
      const machine = attachment?.host && machines.get(attachment.host)
      return attachment && (machine ?? place.name) === place.name ? `attachment ${holderId}` : undefined
    }
    case 'guest': {
      const server = records.servers.get(serverId)
      return server?.deletedAt === null && server.host === place.name ? `server ${serverId}` : undefined
    }
    case 'file-system': {
      const share = records.shares.get(item.shareId ?? '')
      return share && (share.node ?? place.name) === place.name ? `share ${item.shareId}` : undefined
    }
    case 'nfs-server':
      return records.nfsServers.has(`${place.name}/${item.id}`) ? `SVM ${item.id}` : undefined
    case 'aggregate': {
      if (records.aggregates.has(`${place.name}/${item.aggregate}`)) return `aggregate ${item.aggregate}`
      // Another node of the machine has its aggregates beside this one's.
      const file = item.id.replace(/\.(new|gone)$/, '')
      const isOthers = records.aggregateFiles.has(`${records.machineOfNode.get(place.name) ?? ''}:${file}`)
      return item.aggregate === undefined && isOthers ? 'an aggregate of another node' : undefined
    }
    case 'remains':
      // What has an owner is made anew under the same names.
      if (attachment !== undefined) return `attachment ${holderId}`
      return records.servers.get(serverId)?.deletedAt === null ? `server ${serverId}` : undefined
    default:
      return undefined
  }
}

const isAt = (copy: Copy, place: SweepPlace, item: Found['item'], records: OwnerRecords): boolean => {
  const flexvol = records.flexvols.get(copy.flexvolId)
  return (
    copy.node === place.name &&
    copy.aggregate === item.aggregate &&
    (flexvol === undefined || flexvol.name === item.flexvol)
  )
}

/** An operation that has not ended and names it, or something that it belongs to. */
function workingOn(item: Found['item'], records: OwnerRecords): UnfinishedOperation | undefined {
  const { imageId, holderId, serverId, shareId, jobId } = item
  const copy = records.copies.get(imageId ?? '') ?? records.tombstones.get(`copy/${imageId}`)
  const attachment =
    records.attachments.get(holderId ?? '') ?? records.tombstones.get(`attachment/${holderId}`)
  const snapshot = copy !== undefined && 'snapshotId' in copy ? copy.snapshotId : null
  const volumes = [item.volumeId, copy?.volumeId, attachment?.volumeId, snapshot]
  const servers = [serverId, attachment?.serverId]
  const aggregate = item.kind === 'aggregate' ? item.aggregate : undefined
  const ids = [
    imageId,
    holderId,
    serverId,
    shareId,
    operationOf(jobId),
    aggregate,
    ...volumes,
    ...servers,
  ].filter((id): id is string => typeof id === 'string' && id !== '')
  return records.unfinished.find(
    ({ id, keys, input }) =>
      ids.includes(id) ||
      ids.some((one) => input.includes(one) || keys.some((key) => key.endsWith(`/${one}`))),
  )
}

/** Users before what they use: a guest, or a share's file system, before its head, a holder before its export, that before the image. */
const removalOrder: readonly SweptKind[] = [
  'guest',
  'file-system',
  'holder',
  'mirror',
  'register',
  'export',
  'remains',
  'image-part',
  'image',
  'reservation',
]

export const inRemovalOrder = <T extends Found>(strays: readonly T[]): T[] =>
  strays.toSorted((a, b) => removalOrder.indexOf(a.item.kind) - removalOrder.indexOf(b.item.kind))
