import type { Principal } from '../domain/principal.ts'

/** An image of the image service, as servers are made from it. */
export interface ServerImage {
  id: string
  name: string | null
  /** Only `active` ones can be used. */
  status: string
  /** raw, qcow2, aki (a kernel), ari (a ramdisk), … */
  diskFormat: string | null
  /** Bytes of the stored file. */
  sizeBytes: number
  /** Bytes of the disk in it. */
  virtualSizeBytes: number
  minDiskGib: number
  minRamMib: number
  /** Among them kernel_id, ramdisk_id and os_command_line. */
  properties: Record<string, string>
}

/** The image service, as servers use it. */
export interface ServerImages {
  /** Undefined where there is none, or the principal may not see it. */
  visible(principal: Principal, imageId: string): Promise<ServerImage | undefined>
  /** The stored file. Throws `notFound` where the image is gone meanwhile. */
  filePath(imageId: string): Promise<string>
}
