import { DomainError } from '@volant/contract'
import type { ImageAccess } from '@volant/contract'
import { growImage } from '../storage/images.ts'
import { checkImage } from './image-access.ts'
import type { Holder } from './holder.ts'
import { pointCopyUnderWay } from './point-copy.ts'

/** All that can fail is done while the client is still served. */
async function offerSize(holder: Holder, image: ImageAccess, sizeBytes: number): Promise<void> {
  if (image.kind === 'nbd') await checkImage({ ...image, sizeBytes }, holder.context.network)
  await holder.save({ growTo: sizeBytes })
  if (image.kind === 'nbd') return
  try {
    // The daemon that has the file open goes on with the size that it knows.
    await growImage(image.path, sizeBytes)
  } catch (error) {
    await holder.forget('growTo')
    throw error
  }
}

/**
 * Gives the client a bigger volume. The daemon is started again with the new size while its socket stays open, so
 * the client reconnects without being refused once: some tens of milliseconds, where deleting and adding the
 * export costs the second that an NBD client waits after a refusal.
 */
export async function growHolder(holder: Holder, sizeBytes: number): Promise<void> {
  const { mirror, cutover } = holder.record
  const { image } = holder
  if (image.sizeBytes === sizeBytes) {
    await holder.daemon.ensureRunning()
    return
  }
  if (sizeBytes < image.sizeBytes) {
    throw new DomainError('invalid', `A volume cannot shrink from ${image.sizeBytes} to ${sizeBytes} bytes.`)
  }
  if (mirror || cutover) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} is copying for ${mirror?.jobId}; it cannot grow now.`,
    )
  }
  if (await pointCopyUnderWay(holder)) {
    throw new DomainError('conflict', `Holder ${holder.id} copies an instant; it cannot grow now.`)
  }
  await offerSize(holder, image, sizeBytes)
  await holder.daemon.replace(holder.stopGraceMs)
}
