import { DomainError } from '@volant/contract'
import { isAdmin, type Principal } from './principal.ts'

export const diskFormats = ['raw', 'qcow2', 'aki', 'ari', 'ami'] as const
export const containerFormats = ['bare', 'aki', 'ari', 'ami'] as const
export const visibilities = ['public', 'private', 'shared', 'community'] as const
export const memberStatuses = ['pending', 'accepted', 'rejected'] as const

export type DiskFormat = (typeof diskFormats)[number]
export type ContainerFormat = (typeof containerFormats)[number]
export type ImageVisibility = (typeof visibilities)[number]
export type MemberStatus = (typeof memberStatuses)[number]
/** queued: without data; saving: data is coming in; deactivated: cannot be downloaded for now. */
export type ImageStatus = 'queued' | 'saving' | 'active' | 'deactivated'

/** An image. Field meanings: `db/tables/image.ts`. */
export interface Image {
  id: string
  name: string | null
  owner: string | null
  status: ImageStatus
  visibility: ImageVisibility
  protected: boolean
  hidden: boolean
  diskFormat: DiskFormat | null
  containerFormat: ContainerFormat | null
  minDiskGib: number
  minRamMib: number
  sizeBytes: number | null
  virtualSizeBytes: number | null
  checksum: string | null
  hashValue: string | null
  properties: Record<string, string>
  tags: string[]
  builtin: string | null
  createdAt: string
  updatedAt: string
}

export interface ImageMember {
  imageId: string
  member: string
  status: MemberStatus
  createdAt: string
  updatedAt: string
}

/** What a request may set, apart from properties. */
export type ImageFields = Pick<
  Image,
  | 'name'
  | 'owner'
  | 'visibility'
  | 'protected'
  | 'hidden'
  | 'diskFormat'
  | 'containerFormat'
  | 'minDiskGib'
  | 'minRamMib'
  | 'tags'
>

export const mostProperties = 128
export const mostTags = 128

const isOwner = (principal: Principal, image: Image): boolean =>
  image.owner !== null && image.owner === principal.projectId

/** `member`: the caller's project's membership, if it has one. */
export function mayShow(principal: Principal, image: Image, member: ImageMember | undefined): boolean {
  if (isAdmin(principal) || image.visibility === 'public' || image.visibility === 'community') return true
  return isOwner(principal, image) || (image.visibility === 'shared' && member !== undefined)
}

export const mayChange = (principal: Principal, image: Image): boolean =>
  isAdmin(principal) || (isOwner(principal, image) && principal.roles.includes('member'))

/** Amazon's formats come in pairs; one of them alone stands for both. */
export function checkedFormats(
  disk: DiskFormat | null,
  container: ContainerFormat | null,
): { diskFormat: DiskFormat | null; containerFormat: ContainerFormat | null } {
  const amazon = [disk, container].find((format) => format === 'aki' || format === 'ari' || format === 'ami')
  if (amazon !== undefined && amazon !== null) {
    const format = amazon as 'aki' | 'ari' | 'ami'
    if ((disk ?? format) !== format || (container ?? format) !== format) {
      throw new DomainError(
        'invalid',
        "Invalid mix of disk and container formats. When setting a disk or container format to one of 'aki', " +
          "'ari', or 'ami', the container and disk formats must match.",
      )
    }
    return { diskFormat: format, containerFormat: format }
  }
  return { diskFormat: disk, containerFormat: container }
}
