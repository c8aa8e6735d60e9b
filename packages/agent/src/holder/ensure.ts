import { DomainError } from '@volant/contract'
import type { HolderSpec, HolderStatus } from '@volant/contract'
import { finalizeCutover } from './cutover.ts'
import type { Holder } from './holder.ts'

/**
 * After it the export stands on `spec.image`, the copy that the caller's record names as the truth. A daemon that
 * runs on another image is refused, unless a cutover to the truth was under way: its client's writes would be lost.
 */
export async function ensureHolder(holder: Holder, spec: HolderSpec): Promise<HolderStatus> {
  const { record, daemon } = holder
  if (record.volumeId !== spec.volumeId || record.serves !== spec.serves) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} is there for volume ${record.volumeId}, or serves otherwise.`,
    )
  }
  if (!daemon.isAlive) await startOn(holder, spec)
  else await adopt(holder, spec)
  if (spec.limits && JSON.stringify(spec.limits) !== JSON.stringify(holder.record.limits)) {
    await holder.setLimits(spec.limits)
  }
  return holder.status()
}

/**
 * At a cutover the caller's word decides which copy a dead holder comes up on, and the cutover ends with it. At no
 * other time has an image but the one it stood on the client's last writes: a caller that names another one has an
 * old record (a database that was restored, a call that was held up).
 */
async function startOn(holder: Holder, { image }: HolderSpec): Promise<void> {
  const { image: known, cutover } = holder.record
  if (image.imageId !== known.imageId && image.imageId !== cutover?.target.imageId) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} stood on image ${known.imageId}, not on ${image.imageId}: the client's last writes are ` +
        'there. Stop the holder first if the record is right.',
    )
  }
  if (cutover) await holder.decide(image.imageId === cutover.target.imageId ? 'committed' : 'abandoned')
  const grown = known.imageId === image.imageId && known.sizeBytes > image.sizeBytes
  if (!grown) await holder.save({ image })
  if (cutover) await holder.forget('mirror', 'cutover')
  await holder.daemon.ensureRunning()
}

async function adopt(holder: Holder, { image }: HolderSpec): Promise<void> {
  await holder.daemon.ensureRunning()
  const { cutover } = holder.record
  if (cutover?.target.imageId === image.imageId) {
    await finalizeCutover(holder, cutover.jobId, image, undefined)
    return
  }
  if ((await holder.register?.read()) === 'committed') {
    throw new DomainError(
      'conflict',
      `The cutover of holder ${holder.id} to image ${cutover?.target.imageId} is committed; image ${image.imageId} is ` +
        'not the truth any more.',
    )
  }
  const standing = await holder.standingImage()
  if (standing?.imageId === image.imageId) {
    if (holder.record.image.imageId !== image.imageId) await holder.save({ image: standing })
    return
  }
  throw new DomainError(
    'conflict',
    `Holder ${holder.id} runs on image ${standing?.imageId ?? 'unknown'}, not on ${image.imageId}: the client's writes ` +
      'go there. Stop the holder first if the record is right.',
  )
}
