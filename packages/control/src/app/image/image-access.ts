import { DomainError } from '@volant/contract'
import type { ImageRecords } from '../../db/repositories/image.ts'
import { mayChange, mayShow, type Image } from '../../domain/image.ts'
import type { Principal } from '../../domain/principal.ts'

export const imageNotFound = (id: string): DomainError =>
  new DomainError('notFound', `Failed to find image ${id}`)

/** The image, if the caller may know of it; else `notFound`. */
export async function shownImage(records: ImageRecords, principal: Principal, id: string): Promise<Image> {
  const image = await records.find(id)
  if (image === undefined) throw imageNotFound(id)
  const member =
    image.visibility === 'shared' && principal.projectId !== null
      ? await records.members.find(id, principal.projectId)
      : undefined
  if (!mayShow(principal, image, member)) throw imageNotFound(id)
  return image
}

/** The image, if the caller may change it. */
export async function ownedImage(
  records: ImageRecords,
  principal: Principal,
  id: string,
  policy: string,
): Promise<Image> {
  const image = await shownImage(records, principal, id)
  if (!mayChange(principal, image)) {
    throw new DomainError('forbidden', `You are not authorized to complete ${policy} action.`)
  }
  return image
}
