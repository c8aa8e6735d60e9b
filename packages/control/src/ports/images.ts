import type { Principal } from '../domain/principal.ts'
import type { ContainerFormat, DiskFormat, ImageStatus, ImageVisibility } from '../domain/image.ts'

/** An image of the image service, as volumes and servers are made from it. */
export interface RegisteredImage {
  id: string
  name: string | null
  /** Only `active` ones have a file that can be used. */
  status: ImageStatus
  visibility: ImageVisibility
  /** The owning project; null for those of the installation. */
  owner: string | null
  diskFormat: DiskFormat | null
  containerFormat: ContainerFormat | null
  /** MD5 of the file. */
  checksum: string | null
  /** Bytes of the stored file; 0 before it was uploaded. */
  sizeBytes: number
  /** Bytes of the disk in it; 0 before it was uploaded. */
  virtualSizeBytes: number
  minDiskGib: number
  minRamMib: number
  /** Among them kernel_id, ramdisk_id, os_command_line. */
  properties: Record<string, string>
}

/** A file of the installation itself, such as the probe guest's kernel, that is to be an image. */
export interface BuiltinImage {
  /** Its identity among the built-in ones. */
  name: string
  path: string
  diskFormat: DiskFormat
  containerFormat: ContainerFormat
  properties?: Record<string, string>
  minDiskGib?: number
  minRamMib?: number
  visibility: 'public'
}

/** The image service, as the other services use it. */
export interface ImageRegistry {
  /** Undefined where there is none, or the principal may not see it. */
  visible(principal: Principal, imageId: string): Promise<RegisteredImage | undefined>
  /** Those of that name that the principal's own list has. */
  named(principal: Principal, name: string): Promise<RegisteredImage[]>
  /** Throws `notFound`. */
  get(imageId: string): Promise<RegisteredImage>
  /** The stored file. Throws `notFound` where the image is gone, `conflict` where it has no data. */
  filePath(imageId: string): Promise<string>
  /** The stored file of a disk image; `invalid` for kernels and ramdisks, which are no disks. */
  file(imageId: string): Promise<{ path: string; format: 'raw' | 'qcow2' }>
  /**
   * Registers the file, or brings its image up to date where the file has changed since; the image's id stays
   * the same. The file is linked where it can be, else copied.
   */
  ensureBuiltin(image: BuiltinImage): Promise<RegisteredImage>
}

/** An upload that was received whole, not yet an image's file. */
export interface ReceivedFile {
  path: string
  sizeBytes: number
  /** Hexadecimal. */
  md5: string
  sha512: string
}

/** Where images' files are. An image's id is its file's name. */
export interface ImageFiles {
  /**
   * Writes the stream to disk and flushes it. Throws `tooLarge` beyond the limit, and where the disk is full.
   * Whatever fails, nothing is left of it.
   */
  receive(imageId: string, data: NodeJS.ReadableStream, options: { maxBytes: number }): Promise<ReceivedFile>
  /** Makes a received file the image's. */
  keep(imageId: string, received: ReceivedFile): Promise<void>
  discard(received: ReceivedFile): Promise<void>
  /** Links or copies a file in as received. */
  take(imageId: string, path: string): Promise<ReceivedFile>
  /** Whether the image's file, taken in at that time, is still what is there, by size and time of change. */
  isCopyOf(imageId: string, path: string, since: Date): Promise<boolean>
  path(imageId: string): string
  /** What the disk still has room for. */
  freeBytes(): Promise<number>
  read(imageId: string): Promise<{ stream: NodeJS.ReadableStream; sizeBytes: number }>
  remove(imageId: string): Promise<void>
  /** Removes what interrupted uploads left. */
  sweep(): Promise<void>
}

/** Finds out what a received file is. Throws `invalid`, with the reason, for one that must not become an image. */
export interface ImageInspector {
  /** The size of the disk in it, in bytes. */
  inspect(path: string, sizeBytes: number, format: DiskFormat): Promise<number>
}
