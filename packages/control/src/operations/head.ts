import { DomainError, isDomainError, type Caller, type GuestDisk } from '@volant/contract'
import type { Attachment } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { Places } from '../ports/places.ts'
import type { CopyRecords, VolumeRecords } from '../ports/records.ts'

/**
 * The volume head: the storage daemon beside the guest that has the volume's image open. One for each
 * attachment, with an id of its own, for the attachment outlives it when its server goes to another host. It always
 * stands on the volume's truth.
 */
export interface HeadPorts {
  volumes: Pick<VolumeRecords, 'get'>
  copies: Pick<CopyRecords, 'get' | 'ofVolume'>
  backend: Pick<Backend, 'openFor' | 'revoke' | 'isFenced'>
  agents: Pick<Agents, 'holders'>
  places: Places
}

/** Starts the head of an attachment, or finds it running; tells where the guest connects. */
export async function ensureHead(
  ports: HeadPorts,
  caller: Caller,
  attachment: Attachment,
): Promise<GuestDisk> {
  const machine = machineOf(ports, attachment)
  const { imageId } = await ports.volumes.get(attachment.volumeId)
  if (imageId === null) {
    throw new DomainError(
      'conflict',
      `Volume ${attachment.volumeId} has no data yet: it is still being created.`,
    )
  }
  const image = await ports.backend.openFor(
    caller,
    await ports.copies.get(imageId),
    machine,
    attachment.headId,
  )
  const head = await ports.agents.holders(machine).ensureHolder(caller, {
    holderId: attachment.headId,
    volumeId: attachment.volumeId,
    image,
    serves: true,
    // Only a migration limits its client, while it lasts; what a crash left of that ends here.
    limits: {},
  })
  if (head.socketPath === undefined || head.exportName === undefined) {
    throw new DomainError(
      'internal',
      `The head of attachment ${attachment.id} does not say where it listens.`,
    )
  }
  return {
    attachmentId: attachment.id,
    volumeId: attachment.volumeId,
    socketPath: head.socketPath,
    exportName: head.exportName,
    boot: attachment.bootIndex === 0,
  }
}

/**
 * Stops the head, then takes its access to every copy of the volume away at the storage. Of a head that is fenced only
 * that: it has no access already, and what is left of it is removed when its host answers (reconcile/returned-host.ts).
 */
export async function ensureNoHead(ports: HeadPorts, caller: Caller, attachment: Attachment): Promise<void> {
  if (attachment.host === null) return
  const machine = machineOf(ports, attachment)
  try {
    await ports.agents.holders(machine).ensureNoHolder(caller, attachment.headId)
  } catch (error) {
    const isAway = isDomainError(error) && error.code === 'unavailable'
    if (!isAway || !(await ports.backend.isFenced(attachment.headId))) throw error
  }
  await closeToHead(ports, caller, attachment.volumeId, machine, attachment.headId)
}

/**
 * Takes the head's access to every copy of the volume away at the storage. A source that is kept after a migration is closed
 * where its node answers: what is written there reaches no truth, and its node may be gone for good. What is left then the
 * sweep removes.
 */
export async function closeToHead(
  ports: Pick<HeadPorts, 'copies'> & { backend: Pick<Backend, 'revoke'> },
  caller: Caller,
  volumeId: string,
  machine: string,
  headId: string,
): Promise<void> {
  for (const copy of await ports.copies.ofVolume(volumeId)) {
    try {
      await ports.backend.revoke(caller, copy, machine, headId)
    } catch (error) {
      const isAway = isDomainError(error) && error.code === 'unavailable'
      if (!isAway || copy.state !== 'retained') throw error
    }
  }
}

function machineOf(ports: HeadPorts, attachment: Attachment): string {
  if (attachment.host === null) {
    throw new DomainError('conflict', `Attachment ${attachment.id} has no compute host yet.`)
  }
  return ports.places.machineOf(attachment)
}
