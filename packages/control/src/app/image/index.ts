import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { localImageFiles } from '../../backends/image-files.ts'
import { imageInspector } from '../../backends/image-inspector.ts'
import { imageStore } from '../../db/repositories/image.ts'
import type { Database } from '../../db/schema.ts'
import type { Clock } from '../../ports/clock.ts'
import { createImageData } from './image-data.ts'
import { createImageMembers } from './image-members.ts'
import { createImageRegistry } from './image-registry.ts'
import { createImagesApp } from './images.ts'

export interface ImageOptions {
  db: Kysely<Database>
  /** Images' files are in `stateDir/images`. */
  stateDir: string
  clock: Clock
  log: Logger
  /** Largest file, in bytes; default 1 TiB, as Glance's. */
  maxImageBytes?: number
  /** Largest disk in a qcow2 image, in bytes; default 16 TiB. */
  maxVirtualBytes?: number
}

const tebi = 1024 ** 4

/** Everything the image service does, without HTTP. */
export async function createImageApp(options: ImageOptions) {
  const { clock, log } = options
  const store = imageStore(options.db)
  const files = await localImageFiles(join(options.stateDir, 'images'))
  const inspector = imageInspector({ maxVirtualBytes: options.maxVirtualBytes ?? 16 * tebi })
  const deps = { store, files, inspector, clock, log, maxImageBytes: options.maxImageBytes ?? tebi }
  const data = createImageData(deps)
  await data.recover()
  return {
    images: createImagesApp(deps),
    data,
    members: createImageMembers(deps),
    registry: createImageRegistry(deps),
  }
}

export type ImageApp = Awaited<ReturnType<typeof createImageApp>>
