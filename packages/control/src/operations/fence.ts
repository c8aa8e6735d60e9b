/**
 * # The fence of a compute host that is given up
 *
 * Before a server is started elsewhere, every way by which its old host could write to its volumes is closed at the storage,
 * and that is proved: for every attachment and every copy of its volume,
 *
 * - an image on another machine than the host's: the export of the old head is revoked, and so is every other one that the
 *   machine could use; each by its agent's answer (which comes after the daemon's BLOCK_EXPORT_DELETED, or its death), and
 *   afterwards none is listed;
 * - an image that is a file on the host's own machine: the head is removed there, where that machine's agent answers; and
 *   the storage agent there says that no process has the image open.
 *
 * Before anything is revoked the heads are written down as fenced: from then on no storage driver opens anything for them,
 * whoever asks. docs/protocol/evacuation.md
 */
import { DomainError, isDomainError, messageOf, type Caller } from '@volant/contract'
import type { Attachment, Copy } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { FencedHeadRecords } from '../ports/fenced-heads.ts'
import type { Places } from '../ports/places.ts'
import type { AttachmentRecords, CopyRecords } from '../ports/records.ts'

export interface FencePorts {
  attachments: Pick<AttachmentRecords, 'ofServer'>
  copies: Pick<CopyRecords, 'ofVolume'>
  fencedHeads: Pick<FencedHeadRecords, 'add'>
  backend: Pick<Backend, 'revoke' | 'revokeAllTo' | 'exportsTo' | 'isOpen'>
  agents: Pick<Agents, 'holders'>
  places: Places
}

export interface FenceReport {
  volumes: number
  /** Images that the host can't reach any more. */
  images: number
  /** Milliseconds from the first call to the last proof. */
  ms: number
}

/**
 * Closes the old host's access to all volumes of the server; returns when that is proved. Throws `unavailable` or `conflict`
 * where it can't be, with the volume and the reason: then nothing may be started elsewhere. May be repeated.
 */
export async function fenceServer(
  ports: FencePorts,
  caller: Caller,
  serverId: string,
  now: Date,
): Promise<FenceReport> {
  const began = performance.now()
  const attachments = await ports.attachments.ofServer(serverId)
  for (const { headId, volumeId, host } of attachments) {
    if (host === null) continue
    await ports.fencedHeads.add({ headId, volumeId, serverId, host, fencedAt: now.toISOString() })
  }
  const counts = await Promise.all(attachments.map((attachment) => fenceVolume(ports, caller, attachment)))
  return {
    volumes: attachments.length,
    images: counts.reduce((sum, count) => sum + count, 0),
    ms: Math.round(performance.now() - began),
  }
}

/** Returns how many of its images are closed to the host. */
async function fenceVolume(ports: FencePorts, caller: Caller, attachment: Attachment): Promise<number> {
  const { volumeId, headId, host } = attachment
  // It never got as far as a head.
  if (host === null) return 0
  const machine = ports.places.machineOf(attachment)
  let closed = 0
  for (const copy of await ports.copies.ofVolume(volumeId)) {
    try {
      await closeCopy(ports, caller, copy, machine, headId)
      closed += 1
    } catch (error) {
      if (isDomainError(error) && error.code === 'staleFence') throw error
      // A source that is kept after a migration: what is written there reaches no truth, and its node may be gone for good.
      if (copy.state === 'retained') continue
      throw new DomainError(
        isDomainError(error) ? error.code : 'unavailable',
        `Volume ${volumeId} can't be fenced off from host ${host}: ${messageOf(error)}`,
        { cause: error },
      )
    }
  }
  return closed
}

async function closeCopy(
  { backend, agents, places }: FencePorts,
  caller: Caller,
  copy: Copy,
  machine: string,
  headId: string,
): Promise<void> {
  if (places.machineOfNode(copy.node) === machine) {
    // Where the machine's agent is silent the image itself tells; a head that came back later would find it locked.
    try {
      await agents.holders(machine).ensureNoHolder(caller, headId)
    } catch (error) {
      if (!isDomainError(error) || error.code !== 'unavailable') throw error
    }
    if (!(await backend.isOpen(copy))) return
    throw new DomainError(
      'unavailable',
      `image ${copy.imageId} is a file on its own machine ${machine}, and is still open there.`,
    )
  }
  await backend.revoke(caller, copy, machine, headId)
  await backend.revokeAllTo(caller, copy, machine)
  const left = await backend.exportsTo(copy, machine)
  if (left.length === 0) return
  throw new DomainError('unavailable', `storage node ${copy.node} still exports it: ${left.join(', ')}.`)
}
