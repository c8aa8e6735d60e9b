import { DomainError, isDomainError } from '@volant/contract'
import type { ImageStore } from '../../db/repositories/image.ts'
import type { Image } from '../../domain/image.ts'
import { isAdmin, type Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import type {
  BuiltinImage,
  ImageFiles,
  ImageInspector,
  ImageRegistry,
  RegisteredImage,
} from '../../ports/images.ts'
import { imageNotFound, shownImage } from './image-access.ts'

/** What volumes and servers use of the image service. */
export function createImageRegistry(deps: {
  store: ImageStore
  files: ImageFiles
  inspector: ImageInspector
  clock: Clock
}): ImageRegistry {
  const { store, files } = deps
  const get = async (id: string): Promise<Image> => {
    const image = await store.find(id)
    if (image === undefined) throw imageNotFound(id)
    return image
  }
  const usable = async (id: string): Promise<Image> => {
    const image = await get(id)
    if (image.status !== 'active') {
      throw new DomainError(
        'conflict',
        `Image ${id} has no data that can be used: its status is ${image.status}.`,
      )
    }
    return image
  }
  return {
    get: async (id) => registered(await get(id)),
    async visible(principal: Principal, id: string) {
      try {
        return registered(await shownImage(store, principal, id))
      } catch (error) {
        if (isDomainError(error) && error.code === 'notFound') return undefined
        throw error
      }
    },
    async named(principal, name) {
      const reach = await store.inReach({
        projectId: isAdmin(principal) ? undefined : principal.projectId,
        visibility: undefined,
        memberStatus: 'accepted',
      })
      return reach.filter((image) => image.name === name && !image.hidden).map(registered)
    },
    filePath: async (id) => files.path((await usable(id)).id),
    async file(id) {
      const { diskFormat } = await usable(id)
      if (diskFormat !== 'raw' && diskFormat !== 'qcow2') {
        throw new DomainError(
          'invalid',
          `Image ${id} is no disk: its format is ${diskFormat}, not raw or qcow2.`,
        )
      }
      return { path: files.path(id), format: diskFormat }
    },
    ensureBuiltin: (image) => ensureBuiltin(deps, image),
  }
}

async function ensureBuiltin(
  deps: { store: ImageStore; files: ImageFiles; inspector: ImageInspector; clock: Clock },
  wanted: BuiltinImage,
): Promise<RegisteredImage> {
  const { store, files, inspector, clock } = deps
  const present = await store.byBuiltin(wanted.name)
  const described = {
    name: wanted.name,
    properties: wanted.properties ?? {},
    minDiskGib: wanted.minDiskGib ?? 0,
    minRamMib: wanted.minRamMib ?? 0,
  }
  if (present !== undefined && (await files.isCopyOf(present.id, wanted.path, new Date(present.updatedAt)))) {
    if (isDescribedAs(present, described)) return registered(present)
    await store.update(present.id, described)
    return registered({ ...present, ...described })
  }
  // Taken before the file is looked at: a later change of the file shows.
  const now = clock.now().toISOString()
  const id = present?.id ?? crypto.randomUUID()
  const received = await files.take(id, wanted.path)
  const virtualSizeBytes = await inspector.inspect(received.path, received.sizeBytes, wanted.diskFormat)
  await files.keep(id, received)
  const image: Image = {
    id,
    ...described,
    owner: null,
    status: 'active',
    visibility: wanted.visibility,
    protected: true,
    hidden: false,
    diskFormat: wanted.diskFormat,
    containerFormat: wanted.containerFormat,
    sizeBytes: received.sizeBytes,
    virtualSizeBytes,
    checksum: received.md5,
    hashValue: received.sha512,
    tags: present?.tags ?? [],
    builtin: wanted.name,
    createdAt: present?.createdAt ?? now,
    updatedAt: now,
  }
  if (present === undefined) {
    await store.create(image)
  } else {
    const { id: _id, createdAt: _createdAt, builtin: _builtin, ...fields } = image
    await store.update(id, fields)
  }
  return registered(image)
}

type Described = Pick<Image, 'name' | 'properties' | 'minDiskGib' | 'minRamMib'>

const isDescribedAs = (image: Image, described: Described): boolean =>
  image.name === described.name &&
  image.minDiskGib === described.minDiskGib &&
  image.minRamMib === described.minRamMib &&
  JSON.stringify(image.properties) === JSON.stringify(described.properties)

const registered = (image: Image): RegisteredImage => ({
  id: image.id,
  name: image.name,
  status: image.status,
  visibility: image.visibility,
  owner: image.owner,
  diskFormat: image.diskFormat,
  containerFormat: image.containerFormat,
  checksum: image.checksum,
  sizeBytes: image.sizeBytes ?? 0,
  virtualSizeBytes: image.virtualSizeBytes ?? 0,
  minDiskGib: image.minDiskGib,
  minRamMib: image.minRamMib,
  properties: image.properties,
})
