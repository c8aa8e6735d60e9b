import { DomainError } from '@volant/contract'
import type { ImageStore } from '../../db/repositories/image.ts'
import { checkedFormats, mostProperties, mostTags, type Image, type ImageFields } from '../../domain/image.ts'
import { selectImages, type ImagePage, type ImageQuery } from '../../domain/image-query.ts'
import { isAdmin, type Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import type { ImageFiles } from '../../ports/images.ts'
import { imageNotFound, ownedImage, shownImage } from './image-access.ts'

export interface NewImage extends Partial<ImageFields> {
  id?: string
  properties: Record<string, string>
}

/** One step of a change, in order. */
export type ImageStep =
  | { do: 'set'; field: keyof ImageFields; value: ImageFields[keyof ImageFields] }
  /** `replace` needs the property to be there. */
  | { do: 'property'; name: string; value: string; replace: boolean }
  | { do: 'removeProperty'; name: string }

export type Images = ReturnType<typeof createImagesApp>

/** The records of images. Users see public and community ones, their project's and those shared with it. */
export function createImagesApp(deps: { store: ImageStore; files: ImageFiles; clock: Clock }) {
  const { store, files, clock } = deps
  const stamp = (): string => clock.now().toISOString()
  return {
    async list(principal: Principal, query: ImageQuery): Promise<ImagePage> {
      const reach = {
        projectId: isAdmin(principal) ? undefined : principal.projectId,
        visibility: query.visibility,
        memberStatus: query.memberStatus,
      }
      return selectImages(await store.inReach(reach), query)
    },
    show: (principal: Principal, id: string): Promise<Image> => shownImage(store, principal, id),
    async create(principal: Principal, input: NewImage): Promise<Image> {
      requireMember(principal, 'add_image')
      const image = newImage(principal, input, stamp())
      requireVisibility(principal, image)
      requireOwner(principal, image)
      checkLimits(image)
      await store.transaction(async (records) => {
        if ((await records.find(image.id)) !== undefined) {
          throw new DomainError('conflict', `Image ID ${image.id} already exists!`)
        }
        await records.create(image)
      })
      return image
    },
    async change(principal: Principal, id: string, steps: readonly ImageStep[]): Promise<Image> {
      return store.transaction(async (records) => {
        const image = await ownedImage(records, principal, id, 'modify_image')
        const changed = steps.reduce((before, step) => apply(before, step), image)
        Object.assign(changed, checkedFormats(changed.diskFormat, changed.containerFormat))
        if (changed.visibility !== image.visibility) requireVisibility(principal, changed)
        if (changed.owner !== image.owner) requireOwner(principal, changed)
        checkLimits(changed)
        const { id: _id, createdAt: _createdAt, builtin: _builtin, ...fields } = changed
        await records.update(id, { ...fields, updatedAt: stamp() })
        return { ...changed, updatedAt: stamp() }
      })
    },
    async setTag(principal: Principal, id: string, tag: string): Promise<void> {
      const image = await ownedImage(store, principal, id, 'modify_image')
      if (image.tags.includes(tag)) return
      const tags = [...image.tags, tag]
      checkLimits({ ...image, tags })
      await store.update(id, { tags, updatedAt: stamp() })
    },
    async removeTag(principal: Principal, id: string, tag: string): Promise<void> {
      const image = await ownedImage(store, principal, id, 'modify_image')
      if (!image.tags.includes(tag))
        throw new DomainError('notFound', `Tag ${tag} was not found on image ${id}`)
      await store.update(id, { tags: image.tags.filter((each) => each !== tag), updatedAt: stamp() })
    },
    async remove(principal: Principal, id: string): Promise<void> {
      const image = await ownedImage(store, principal, id, 'delete_image')
      if (image.protected) {
        throw new DomainError('forbidden', `Image ${id} is protected and cannot be deleted.`)
      }
      // The row first: a crash in between leaves a file without a row, which harms nobody.
      await store.transaction((records) => records.remove(id))
      await files.remove(id)
    },
    /** Makes an active image unavailable for download, or available again. */
    async setActive(principal: Principal, id: string, active: boolean): Promise<void> {
      const image = await shownImage(store, principal, id)
      const policy = active ? 'reactivate' : 'deactivate'
      if (!isAdmin(principal)) {
        throw new DomainError('forbidden', `You are not authorized to complete ${policy} action.`)
      }
      const [from, to] = active ? (['deactivated', 'active'] as const) : (['active', 'deactivated'] as const)
      if (image.status === to) return
      if (!(await store.updateIf(id, from, { status: to, updatedAt: stamp() }))) {
        if ((await store.find(id)) === undefined) throw imageNotFound(id)
        throw new DomainError('forbidden', `Not allowed to ${policy} image in status '${image.status}'`)
      }
    },
  }
}

function newImage(principal: Principal, input: NewImage, now: string): Image {
  return {
    id: input.id ?? crypto.randomUUID(),
    name: input.name ?? null,
    owner: input.owner ?? principal.projectId,
    status: 'queued',
    visibility: input.visibility ?? 'shared',
    protected: input.protected ?? false,
    hidden: input.hidden ?? false,
    ...checkedFormats(input.diskFormat ?? null, input.containerFormat ?? null),
    minDiskGib: input.minDiskGib ?? 0,
    minRamMib: input.minRamMib ?? 0,
    sizeBytes: null,
    virtualSizeBytes: null,
    checksum: null,
    hashValue: null,
    properties: input.properties,
    tags: [...new Set(input.tags)],
    builtin: null,
    createdAt: now,
    updatedAt: now,
  }
}

function requireMember(principal: Principal, policy: string): void {
  if (!isAdmin(principal) && !(principal.roles.includes('member') && principal.projectId !== null)) {
    throw new DomainError('forbidden', `You are not authorized to complete ${policy} action.`)
  }
}

function requireVisibility(principal: Principal, image: Image): void {
  if (image.visibility === 'public' && !isAdmin(principal)) {
    throw new DomainError('forbidden', 'You are not authorized to complete publicize_image action.')
  }
}

function requireOwner(principal: Principal, image: Image): void {
  if (isAdmin(principal) || image.owner === principal.projectId) return
  throw new DomainError('forbidden', `You are not permitted to create images owned by '${image.owner}'.`)
}

function checkLimits(image: Image): void {
  const count = Object.keys(image.properties).length
  if (count > mostProperties) {
    throw new DomainError(
      'tooLarge',
      `The limit has been exceeded on the number of allowed image properties. Attempted: ${count}, Maximum: ` +
        `${mostProperties}`,
    )
  }
  if (image.tags.length > mostTags) {
    throw new DomainError(
      'tooLarge',
      `The limit has been exceeded on the number of allowed image tags. Attempted: ${image.tags.length}, ` +
        `Maximum: ${mostTags}`,
    )
  }
}

function apply(image: Image, step: ImageStep): Image {
  if (step.do === 'set') return setField(image, step.field, step.value)
  const { properties } = image
  const present = Object.hasOwn(properties, step.name)
  if (step.do === 'removeProperty') {
    if (!present) throw new DomainError('conflict', `Property ${step.name} does not exist.`)
    return {
      ...image,
      properties: Object.fromEntries(Object.entries(properties).filter(([name]) => name !== step.name)),
    }
  }
  if (step.replace && !present) throw new DomainError('conflict', `Property ${step.name} does not exist.`)
  return { ...image, properties: { ...properties, [step.name]: step.value } }
}

function setField(image: Image, field: keyof ImageFields, value: ImageFields[keyof ImageFields]): Image {
  if ((field === 'diskFormat' || field === 'containerFormat') && image.status !== 'queued') {
    if (image[field] === value) return image
    const name = field === 'diskFormat' ? 'disk_format' : 'container_format'
    throw new DomainError('forbidden', `Attribute ${name} can be only replaced for a queued image.`)
  }
  return { ...image, [field]: field === 'tags' ? [...new Set(value as string[])] : value }
}
