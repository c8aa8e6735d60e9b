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
const removable = (reason: string, proof: string): Judgement => ({
  verdict: 'stray-removable',
  reason,
  proof,
})
const reported = (reason: string, advice: string): Judgement => ({
  verdict: 'stray-reported',
  reason,
  advice,
})

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

const nameOf = (copy: Copy): string =>
  copy.snapshotId === null ? `copy of volume ${copy.volumeId}` : `copy of snapshot ${copy.snapshotId}`

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

/** A job is named after its operation: `migrate-<id>`. */
export const operationOf = (jobId: string | undefined): string | undefined =>
  jobId === undefined ? undefined : /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.exec(jobId)?.[0]

function judgeStray({ place, item }: Found, records: OwnerRecords): Judgement {
  switch (item.kind) {
    case 'image':
      return judgeImage(item, records)
    case 'image-part':
      return judgePart(item, records)
    case 'export':
    case 'holder':
      return judgeHolder(item, place, records)
    case 'mirror':
      return judgeMirror(item, records)
    case 'register':
      return removable(
        'the decision register of a cutover that is over',
        "its holder's record names no such attempt, and no operation works on the volume",
      )
    case 'guest':
      return judgeGuest(item, place, records)
    case 'reservation':
      return judgeReservation(item, records)
    case 'remains':
      return removable('what it belonged to is gone', 'neither a process nor a record has it')
    case 'process':
      return reported(
        "a process that no record knows names a folder of Volant's",
        `look at it (ps -fp ${item.id}), and end it if nobody needs it`,
      )
    case 'aggregate':
      return reported(
        item.aggregate === undefined
          ? 'the file of an aggregate that nobody has'
          : 'an aggregate that was made at run time, and that the records do not know',
        'look at what is in it; if nobody needs it: unmount it (umount), detach its loop device (losetup -d), remove the file',
      )
    case 'file-system':
      return judgeFileSystem(item, records)
    case 'nfs-server':
      return reported(
        'an NFS server that this node has not by the configuration',
        'give its cluster its shares back in the configuration, or end it (kill) when no client has a mount',
      )
    case 'file':
      return reported('nothing that Volant makes', `move it away, or remove it: rm -r '${item.id}'`)
  }
}

/** An operation has ended; it is forgotten only after that, so one that a record names and that is gone has, too. */
const hasEnded = (operationId: string | null, records: OwnerRecords): operationId is string =>
  operationId !== null && (records.operations.get(operationId)?.hasEnded ?? true)

function judgeImage(item: Found['item'], records: OwnerRecords): Judgement {
  const { imageId = '' } = item
  const copy = records.copies.get(imageId)
  if (copy !== undefined) {
    return reported(
      `the ${nameOf(copy)} is on record at ${copy.node}/${copy.aggregate}, not here`,
      `compare both before you remove one; this one is ${item.id}`,
    )
  }
  const grave = records.tombstones.get(`copy/${imageId}`)
  if (grave === undefined) {
    return reported(
      'no record knows its UUID: an image of another installation, or of a time that the database has forgotten',
      `keep it, or remove it if nobody needs it: rm '${item.id}'`,
    )
  }
  if (grave.state === 'target' && hasEnded(grave.operationId, records)) {
    return (
      ifHeld(imageId, records) ??
      removable(
        `a target of volume ${grave.volumeId} that never came to be its truth`,
        `operation ${grave.operationId}, which made it, has ended and has given it up`,
      )
    )
  }
  return reported(
    `it held the data of volume ${grave.volumeId} once, and was removed on ${grave.removedAt}: somebody has put it back`,
    `keep it, or remove it if nobody needs it: rm '${item.id}'`,
  )
}

/**
 * The last line against a wrong record: an image is not removed while a holder that is not finished itself stands on it,
 * dead or alive: a client's last writes may be there. Nor while some machine's holders are not known.
 */
function ifHeld(imageId: string, records: OwnerRecords): Judgement | undefined {
  const holder = (records.standing.get(imageId) ?? []).find((id) => endOfHolder(id, records) === undefined)
  if (holder !== undefined) {
    return reported(
      `the records have given it up, but holder ${holder} stands on it`,
      "look at the volume before anything else: its client's last writes may be in this image alone",
    )
  }
  const [silent] = records.silentMachines
  return silent === undefined
    ? undefined
    : { verdict: 'busy', reason: `machine ${silent} does not answer: a holder there may stand on it` }
}

function judgePart(item: Found['item'], records: OwnerRecords): Judgement {
  const { imageId = '' } = item
  const grave = records.tombstones.get(`copy/${imageId}`)
  const byHand = `remove it if nobody needs it: rm '${item.id}'`
  if (records.copies.has(imageId)) return reported('a part beside an image that is on record', byHand)
  if (grave === undefined) return reported('no record knows the image that it is a part of', byHand)
  if (item.isBeingRemoved === true) {
    return removable('a removal that was cut short', `image ${imageId} was given up on ${grave.removedAt}`)
  }
  return grave.state === 'target' && hasEnded(grave.operationId, records)
    ? removable(
        'an image that was never finished',
        `operation ${grave.operationId}, which made it, has ended`,
      )
    : reported('a part of an image that was given up', byHand)
}

/** Its image is not touched: what clients wrote is in it, whoever has it. */
function judgeFileSystem({ shareId = '' }: Found['item'], records: OwnerRecords): Judgement {
  const share = records.shares.get(shareId)
  if (share !== undefined) {
    return reported(
      `share ${shareId} is served by node ${share.node}, not here`,
      'look at both nodes at once: two that have the file system of one image mounted destroy it',
    )
  }
  const grave = records.tombstones.get(`share/${shareId}`)
  if (grave !== undefined) {
    return removable(
      'the file system of a share that is gone',
      `share ${shareId} was removed on ${grave.removedAt}`,
    )
  }
  return reported(
    'the file system of a share that no record knows',
    'look whether clients use it; if nobody needs it: end its NFS export, unmount it (umount), detach its loop device (losetup -d)',
  )
}

/** What a holder's id, an attachment's or an operation's, proves; undefined: nothing. */
function endOfHolder(holderId: string, records: OwnerRecords): string | undefined {
  if (records.attachments.has(holderId)) return undefined
  const operation = records.operations.get(holderId)
  if (operation?.hasEnded === true)
    return `operation ${holderId} (${operation.kind}), whose mover it is, has ended`
  const grave = records.tombstones.get(`attachment/${holderId}`)
  return grave && `attachment ${holderId} was removed on ${grave.removedAt}`
}

function judgeHolder(item: Found['item'], place: SweepPlace, records: OwnerRecords): Judgement {
  const { holderId = '', kind } = item
  const end = endOfHolder(holderId, records)
  if (end !== undefined)
    return removable(`${kind === 'export' ? 'an export for' : ''} a holder that is finished`.trim(), end)
  const attachment = records.attachments.get(holderId)
  const look = `look at it: ${item.what.slice(0, 120)}`
  if (attachment === undefined) {
    return reported('no record knows the attachment or the operation that it is named after', look)
  }
  return kind === 'export'
    ? reported(
        `attachment ${holderId} stands on image ${records.volumes.get(attachment.volumeId)?.imageId ?? 'none'} by the records, not on this one`,
        'detach the volume and attach it again: that closes every export of the attachment',
      )
    : reported(
        `attachment ${holderId} is on host ${attachment.host}, not on machine ${place.name}`,
        'two holders of one attachment: stop the server, and look at which one its guest used',
      )
}

function judgeMirror(item: Found['item'], records: OwnerRecords): Judgement {
  const operation = records.operations.get(operationOf(item.jobId) ?? '')
  if (operation?.hasEnded !== true) {
    return reported(
      'no record knows the operation that it is named after',
      `look at its holder, ${item.holderId}`,
    )
  }
  if (item.isAtCutover === true) {
    return reported(
      `its operation has ended (${operation.state}), and it is at its cutover`,
      'restart Volant: the holder is then found on the copy that the decision register and the record name',
    )
  }
  return removable('a copy that nobody waits for', `its operation has ended (${operation.state})`)
}

function judgeGuest(item: Found['item'], place: SweepPlace, records: OwnerRecords): Judgement {
  const server = records.servers.get(item.serverId ?? '')
  if (server === undefined) {
    return reported('no record knows its server', `look at it: ${item.what.slice(0, 120)}`)
  }
  if (server.deletedAt !== null) {
    return removable('the guest of a server that is gone', `its server was deleted on ${server.deletedAt}`)
  }
  return reported(
    server.host === null
      ? 'its server has no host by the records'
      : `its server is on host ${server.host}, not on ${place.name}`,
    `delete the server if nobody needs it (openstack server delete ${item.serverId}); then this goes, too`,
  )
}

/** A target's row whose operation has ended: it holds space back, and may have an image. */
function judgeReservation(item: Found['item'], records: OwnerRecords): Judgement {
  const copy = records.copies.get(item.imageId ?? '')
  const operation = records.operations.get(copy?.operationId ?? '')
  const owner =
    typeof copy?.snapshotId !== 'string'
      ? records.volumes.get(copy?.volumeId ?? '')
      : records.snapshots.get(copy.snapshotId)
  const isTruth = owner?.imageId === item.imageId
  if (copy?.state === 'target' && !isTruth && operation !== undefined && hasFailed(operation)) {
    return (
      ifHeld(copy.imageId, records) ??
      removable(
        `space that is held back in a pool for a ${nameOf(copy)}`,
        `operation ${copy.operationId} has ended (${operation.state})`,
      )
    )
  }
  return reported(
    `a target of volume ${item.volumeId} that no operation is known to make`,
    `look at the volume: cinder show ${item.volumeId}`,
  )
}

const hasFailed = ({ state }: { state: string }): boolean => state === 'failed' || state === 'cancelled'

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
