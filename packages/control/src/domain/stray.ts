/**
 * What becomes of a stray: removed where there is a proof that it is Volant's and finished, else told, with what a person can do. Pure:
 * docs/protocol/sweep.md has the reasons.
 */
import type { Found, Judgement, OwnerRecords, SweepPlace } from './sweep.ts'
import type { Copy } from './volume.ts'

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

export const nameOf = (copy: Copy): string =>
  copy.snapshotId === null ? `copy of volume ${copy.volumeId}` : `copy of snapshot ${copy.snapshotId}`

/** A job is named after its operation: `migrate-<id>`. */
export const operationOf = (jobId: string | undefined): string | undefined =>
  jobId === undefined ? undefined : /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.exec(jobId)?.[0]

export function judgeStray({ place, item }: Found, records: OwnerRecords): Judgement {
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
