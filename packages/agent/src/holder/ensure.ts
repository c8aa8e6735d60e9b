import { DomainError } from '@volant/contract'
import type { HolderSpec, HolderStatus, ImageAccess } from '@volant/contract'
import { finalizeCutover } from './cutover.ts'
import type { Holder } from './holder.ts'
import { checkImage } from './image-access.ts'
import { leaveStandby } from './standby.ts'

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
  if (record.standby) await leaveStandby(holder, spec.image)
  else if (!daemon.isAlive) await startOn(holder, spec)
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
  const { cutover } = holder.record
  const { image: known } = holder
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
  const { image: known } = holder
  const standing = await holder.standingImage()
  if (standing?.imageId === image.imageId) {
    if (known.imageId !== image.imageId) await holder.save({ image: standing })
    else if (!cutover && !isSameWay(known, image)) await changeWay(holder, image)
    return
  }
  // A crash came between the record that it leaves standby, or the daemon's way there, and what was to follow.
  if (known.imageId === image.imageId && (await holder.status()).imageId === null) {
    await changeWay(holder, image)
    return
  }
  throw new DomainError(
    'conflict',
    `Holder ${holder.id} runs on image ${standing?.imageId ?? 'unknown'}, not on ${image.imageId}: the client's writes ` +
      'go there. Stop the holder first if the record is right.',
  )
}

/** Whether two accesses to one image lead the same way. Sizes say nothing of that: a caller's may be older. */
function isSameWay(known: ImageAccess, given: ImageAccess): boolean {
  if (known.kind === 'file' || given.kind === 'file') return known.kind === given.kind
  return known.host === given.host && known.port === given.port && known.exportName === given.exportName
}

/**
 * Of an export that was revoked what is open is dead, and flushing or closing it would hang. So the daemon is started
 * anew; its client finds it in the backlog of the same socket.
 */
async function changeWay(holder: Holder, image: ImageAccess): Promise<void> {
  // All that can fail is done before.
  await checkImage(image, holder.context.network)
  await holder.restartOn(image)
}
