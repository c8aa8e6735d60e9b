import { DomainError } from '@volant/contract'
import type { ImageStore } from '../../db/repositories/image.ts'
import { mayChange, type Image, type ImageMember, type MemberStatus } from '../../domain/image.ts'
import { isAdmin, type Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import { ownedImage, shownImage } from './image-access.ts'

const mostMembers = 128

/** The projects that an image of visibility `shared` is shared with. Each decides itself whether it lists it. */
export function createImageMembers(deps: { store: ImageStore; clock: Clock }) {
  const { store, clock } = deps
  const shared = (image: Image): void => {
    if (image.visibility !== 'shared') {
      throw new DomainError('forbidden', 'Only shared images have members.')
    }
  }
  const get = async (image: Image, member: string): Promise<ImageMember> => {
    const found = await store.members.find(image.id, member)
    if (found === undefined) {
      throw new DomainError('notFound', `${member} not found in the member list of the image ${image.id}.`)
    }
    return found
  }
  return {
    /** All of them for the owner; its own for a member. */
    async list(principal: Principal, id: string): Promise<ImageMember[]> {
      const image = await shownImage(store, principal, id)
      shared(image)
      const members = await store.members.list(id)
      return mayChange(principal, image)
        ? members
        : members.filter((each) => each.member === principal.projectId)
    },
    async show(principal: Principal, id: string, member: string): Promise<ImageMember> {
      const image = await shownImage(store, principal, id)
      if (!mayChange(principal, image) && member !== principal.projectId) {
        throw new DomainError('notFound', `${member} not found in the member list of the image ${id}.`)
      }
      return get(image, member)
    },
    async add(principal: Principal, id: string, member: string): Promise<ImageMember> {
      shared(await ownedImage(store, principal, id, 'add_member'))
      const now = clock.now().toISOString()
      const made: ImageMember = { imageId: id, member, status: 'pending', createdAt: now, updatedAt: now }
      await store.transaction(async (records) => {
        const members = await records.members.list(id)
        if (members.some((each) => each.member === member)) {
          throw new DomainError('conflict', `Member ${member} is duplicated for image ${id}`)
        }
        if (members.length >= mostMembers) {
          throw new DomainError('tooLarge', `An image has at most ${mostMembers} members.`)
        }
        await records.members.create(made)
      })
      return made
    },
    async setStatus(
      principal: Principal,
      id: string,
      member: string,
      status: MemberStatus,
    ): Promise<ImageMember> {
      const image = await shownImage(store, principal, id)
      if (!isAdmin(principal) && principal.projectId !== member) {
        throw new DomainError('forbidden', 'Only the member itself can change its status.')
      }
      await get(image, member)
      await store.members.setStatus(id, member, status, clock.now().toISOString())
      return get(image, member)
    },
    async remove(principal: Principal, id: string, member: string): Promise<void> {
      const image = await ownedImage(store, principal, id, 'delete_member')
      await get(image, member)
      await store.members.remove(id, member)
    },
  }
}
