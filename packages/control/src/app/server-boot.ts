import { DomainError } from '@volant/contract'
import type { Flavor } from '../domain/flavor.ts'
import type { Principal } from '../domain/principal.ts'
import type { BootSource } from '../domain/server.ts'
import { gib, type Volume } from '../domain/volume.ts'
import type { ServerImage, ServerImages } from '../ports/compute-images.ts'

/** What a server starts from, as its image or the metadata of its boot volume says. */
export interface Boot {
  kernelId: string | null
  ramdiskId: string | null
  source: BootSource
  /** The image has data: a root disk is made of it. */
  rootDisk: NonNullable<BootSource['rootDisk']> | null
}

/** Nova's default for a kernel given by the image. */
const defaultCommandLine = 'root=/dev/vda console=ttyS0'

export async function usableImage(
  images: ServerImages,
  principal: Principal,
  imageId: string,
  flavor: Flavor,
): Promise<ServerImage> {
  const image = await images.visible(principal, imageId)
  if (image === undefined) throw new DomainError('invalid', 'Can not find requested image')
  if (image.status !== 'active') throw new DomainError('invalid', `Image ${imageId} is not active.`)
  if (image.minRamMib > flavor.memoryMib) {
    throw new DomainError('invalid', "Flavor's memory is too small for requested image.")
  }
  return image
}

/** Checks the image against the flavor, and its kernel and ramdisk, and tells how a server starts from it. */
export async function bootFromImage(
  images: ServerImages,
  principal: Principal,
  image: ServerImage,
  flavor: Flavor,
): Promise<Boot> {
  const { diskFormat } = image
  const hasData = image.sizeBytes > 0
  if (hasData && diskFormat !== 'raw' && diskFormat !== 'qcow2') {
    throw new DomainError(
      'invalid',
      `Image ${image.id} is unacceptable: its disk format is ${diskFormat}; a server boots from raw or qcow2.`,
    )
  }
  const kernel = await kernelOf(images, principal, image.properties)
  if (!hasData && kernel.kernelId === null) {
    throw new DomainError('invalid', `Image ${image.id} is unacceptable: it has no data and names no kernel.`)
  }
  const flavorBytes = flavor.diskGib * gib
  const needed = Math.max(image.virtualSizeBytes, image.minDiskGib * gib)
  if (flavorBytes > 0 && needed > flavorBytes) {
    throw new DomainError(
      'invalid',
      `Flavor's disk is too small for requested image. Flavor disk is ${flavorBytes} bytes, image is ${needed} ` +
        'bytes.',
    )
  }
  const rootDisk: Boot['rootDisk'] =
    hasData && (diskFormat === 'raw' || diskFormat === 'qcow2')
      ? { format: diskFormat, sizeBytes: flavorBytes > 0 ? flavorBytes : needed }
      : null
  return { ...kernel, rootDisk }
}

/** The boot volume keeps its image's properties. */
export const bootFromVolume = (
  images: ServerImages,
  principal: Principal,
  volume: Pick<Volume, 'imageMetadata'>,
): Promise<Boot> => kernelOf(images, principal, volume.imageMetadata)

async function kernelOf(
  images: ServerImages,
  principal: Principal,
  properties: Readonly<Record<string, string>>,
): Promise<Boot> {
  const { kernel_id: kernelId, ramdisk_id: ramdiskId, os_command_line: commandLine } = properties
  if (kernelId === undefined || kernelId === '')
    return { kernelId: null, ramdiskId: null, source: {}, rootDisk: null }
  for (const id of [kernelId, ramdiskId]) {
    if (id === undefined || id === '') continue
    const image = await images.visible(principal, id)
    if (image === undefined) {
      throw new DomainError('invalid', `Image ${id}, the kernel or ramdisk of the image, could not be found.`)
    }
    if (image.status !== 'active') throw new DomainError('invalid', `Image ${id} is not active.`)
  }
  return {
    kernelId,
    ramdiskId: ramdiskId === undefined || ramdiskId === '' ? null : ramdiskId,
    source: { commandLine: (commandLine ?? defaultCommandLine).slice(0, 2048) },
    rootDisk: null,
  }
}
