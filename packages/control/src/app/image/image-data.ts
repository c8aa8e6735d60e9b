import { DomainError } from '@volant/contract'
import type { Logger } from 'pino'
import type { ImageStore } from '../../db/repositories/image.ts'
import type { Image } from '../../domain/image.ts'
import { isAdmin, type Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import type { ImageFiles, ImageInspector } from '../../ports/images.ts'
import { ownedImage, shownImage } from './image-access.ts'

export interface ImageDownload {
  stream: NodeJS.ReadableStream
  sizeBytes: number
  checksum: string | null
}

/** The data of images. */
export function createImageData(deps: {
  store: ImageStore
  files: ImageFiles
  inspector: ImageInspector
  clock: Clock
  log: Logger
  /** Largest file, in bytes. */
  maxImageBytes: number
}) {
  const { store, files, inspector, clock, log } = deps
  const stamp = (): string => clock.now().toISOString()

  /** From queued to saving to active. Whatever goes wrong, the image is queued again and nothing is left. */
  const upload = async (
    principal: Principal,
    id: string,
    data: NodeJS.ReadableStream,
    announcedBytes: number | undefined,
  ): Promise<void> => {
    const image = await ownedImage(store, principal, id, 'upload_image')
    checkReady(image)
    await checkSize(announcedBytes ?? 0)
    if (!(await store.updateIf(id, 'queued', { status: 'saving', updatedAt: stamp() })))
      throw notQueued(image)
    try {
      await receive(image, data)
    } catch (error) {
      log.info({ imageId: id, err: error }, 'image upload failed')
      await store.updateIf(id, 'saving', { status: 'queued', updatedAt: stamp() })
      throw error
    }
  }

  /** Before a byte is read. */
  const checkSize = async (bytes: number): Promise<void> => {
    if (bytes > deps.maxImageBytes) {
      throw new DomainError(
        'tooLarge',
        `The image is larger than the ${deps.maxImageBytes} bytes that are allowed.`,
      )
    }
    if (bytes > (await files.freeBytes())) {
      throw new DomainError('tooLarge', 'Image storage media is full: the image does not fit.')
    }
  }

  const receive = async (image: Image, data: NodeJS.ReadableStream): Promise<void> => {
    const received = await files.receive(image.id, data, { maxBytes: deps.maxImageBytes })
    try {
      const virtualSizeBytes = await inspector.inspect(
        received.path,
        received.sizeBytes,
        image.diskFormat ?? 'raw',
      )
      // The file first: an active image always has one.
      await files.keep(image.id, received)
      const active = await store.updateIf(image.id, 'saving', {
        status: 'active',
        sizeBytes: received.sizeBytes,
        virtualSizeBytes,
        checksum: received.md5,
        hashValue: received.sha512,
        updatedAt: stamp(),
      })
      if (!active) {
        await files.remove(image.id)
        throw new DomainError('notFound', `Image ${image.id} was deleted while its data was being uploaded.`)
      }
    } catch (error) {
      await files.discard(received)
      throw error
    }
  }

  return {
    upload,
    /** undefined for an image without data. */
    async download(principal: Principal, id: string): Promise<ImageDownload | undefined> {
      const image = await shownImage(store, principal, id)
      if (image.status === 'deactivated' && !isAdmin(principal)) {
        throw new DomainError(
          'forbidden',
          'The requested image has been deactivated. Image data download is forbidden.',
        )
      }
      if (image.status !== 'active' && image.status !== 'deactivated') return undefined
      const { stream, sizeBytes } = await files.read(id)
      return { stream, sizeBytes, checksum: image.checksum }
    },
    /** After a start: uploads that a stop cut off are over. */
    async recover(): Promise<void> {
      await store.endUploads(stamp())
      await files.sweep()
    },
  }
}

function checkReady(image: Image): void {
  if (image.status !== 'queued') throw notQueued(image)
  const missing = [
    ...(image.diskFormat === null ? ['disk_format'] : []),
    ...(image.containerFormat === null ? ['container_format'] : []),
  ]
  if (missing.length > 0) {
    throw new DomainError('invalid', `Properties ${missing.join(', ')} must be set prior to saving data.`)
  }
}

const notQueued = (image: Image): DomainError =>
  image.status === 'saving'
    ? new DomainError('conflict', `Image ${image.id} is being uploaded already.`)
    : new DomainError('conflict', `Image status transition from ${image.status} to saving is not allowed`)
