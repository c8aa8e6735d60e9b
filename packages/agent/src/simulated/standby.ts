import { DomainError } from '@volant/contract'
import type { HolderAgent, HolderStatus, ImageAccess } from '@volant/contract'
import type { FenceGuard } from '../fence-guard.ts'
import type { SimulatedHolder, SimulatedHolderOptions } from './holder.ts'

/** The image that a simulated holder stands on. Throws `conflict` in standby. */
export function imageOf({ spec, image }: SimulatedHolder): ImageAccess {
  if (image) return image
  throw new DomainError('conflict', `Holder ${spec.holderId} is in standby; it stands on no image.`)
}

/** Refuses what a head in standby cannot be given. */
export function requireTakes(
  { spec, image, sizeBytes, released }: SimulatedHolder,
  given: ImageAccess,
): void {
  if (image !== null) return
  if (released !== undefined && released !== given.imageId) {
    throw new DomainError('conflict', `Holder ${spec.holderId} was released from image ${released}.`)
  }
  if (sizeBytes !== given.sizeBytes) {
    throw new DomainError(
      'conflict',
      `Holder ${spec.holderId} serves ${sizeBytes} bytes, the image has ${given.sizeBytes}.`,
    )
  }
}

/** No two holders of one machine have one file open for writing. */
export function requireNoWriter(
  holders: ReadonlyMap<string, SimulatedHolder>,
  holderId: string,
  given: ImageAccess,
): void {
  for (const [id, { image }] of holders) {
    if (id === holderId || image?.kind !== 'file' || given.kind !== 'file') continue
    if (image.imageId !== given.imageId) continue
    throw new DomainError('conflict', `Image ${given.imageId} is open for writing in holder ${id}.`)
  }
}

/** Heads in standby, and the way back there. */
export function simulatedStandby(given: {
  holders: Map<string, SimulatedHolder>
  guard: FenceGuard
  statusOf: (holder: SimulatedHolder) => HolderStatus
  newPid: () => number
  options: SimulatedHolderOptions
  unreachable: Set<string>
}): Pick<HolderAgent, 'ensureStandby' | 'ensureReleased' | 'unreachable'> {
  const { holders, guard, statusOf, newPid, options, unreachable } = given
  return {
    async ensureStandby(caller, { holderId, volumeId, sizeBytes }) {
      guard.admit(caller)
      const spec = { holderId, volumeId, serves: true }
      const holder = holders.get(holderId) ?? { spec, image: null, sizeBytes, pid: newPid() }
      if (holder.image !== null || holder.spec.volumeId !== volumeId || holder.sizeBytes !== sizeBytes) {
        throw new DomainError('conflict', `Holder ${holderId} stands on an image, or serves another volume.`)
      }
      holders.set(holderId, holder)
      return statusOf(holder)
    },
    async ensureReleased(caller, holderId) {
      guard.admit(caller)
      const holder = holders.get(holderId)
      if (!holder) throw new DomainError('notFound', `There is no holder ${holderId}.`)
      if (holder.mirror ?? holder.cutover ?? holder.pointCopy?.phase === 'copying') {
        throw new DomainError('conflict', `Holder ${holderId} copies; end that first.`)
      }
      if (holder.image === null) return
      options.onClose?.(holder.image.imageId)
      Object.assign(holder, {
        image: null,
        sizeBytes: holder.image.sizeBytes,
        released: holder.image.imageId,
      })
    },
    unreachable: async (host, port) =>
      unreachable.has(`${host}:${port}`) || unreachable.has(host)
        ? `${host}:${port}: no route to host`
        : null,
  }
}
