import { randomBytes } from 'node:crypto'
import { DomainError } from '@volant/contract'
import type {
  AggregateInfo,
  ImageInfo,
  ImageRef,
  InventoryItem,
  NbdAccess,
  StorageAgent,
} from '@volant/contract'
import { createFenceGuard } from '../fence-guard.ts'
import { withFaults } from './faults.ts'
import type { Faults } from './faults.ts'
import { simulatedImageCopies } from './image-copies.ts'
import type { SimulatedImageCopies } from './image-copies.ts'
import { simulatedInventory, simulatedItem } from './inventory.ts'
import type { Planted } from './inventory.ts'

export interface SimulatedImage extends Omit<ImageInfo, 'changeMark'> {
  ref: ImageRef
  /** Writes and changes of permission so far; a test counts one up for a write that nobody knows of. */
  changes: number
  /** Stands for the bytes: a clone and a copy have their source's. A test that "writes" gives it another. */
  content: string
  /** Of `allocatedBytes`: what it shares with the image that it was cloned from. */
  sharedBytes: number
}

export interface SimulatedExport {
  access: NbdAccess
  pid: number
  clientHost?: string
  /** Runs and takes its client, with nothing open. */
  isStandby: boolean
}

export interface SimulatedStorage extends Planted, SimulatedImageCopies {
  /** By name; a test may change them. */
  readonly aggregates: Map<string, SimulatedAggregate>
  readonly images: Map<string, SimulatedImage>
  readonly exports: Map<string, SimulatedExport>
  /** Images that a holder has open; `ensureNoImage` refuses them. */
  readonly openImages: Set<string>
  readonly flexvols: Set<string>
}

export interface SimulatedAggregate extends AggregateInfo {
  totalBytes: number
}

export interface SimulatedStorageOptions {
  node?: string
  /** `reflink`: true where absent. */
  aggregates?: { name: string; totalBytes: number; reflink?: boolean }[]
  /** A copy to an image on another node is done, e.g. to give that node's image the content. */
  onExported?: (imageId: string, from: SimulatedImage) => void
}

/** A storage node in memory, for tests of what calls one. Images have no bytes, exports no process. */
export function createSimulatedStorageAgent(
  options: SimulatedStorageOptions = {},
): StorageAgent & SimulatedStorage & Faults {
  const node = options.node ?? 'node1'
  const configured = options.aggregates ?? [{ name: 'aggr1', totalBytes: 2 ** 40 }]
  const aggregates = new Map(
    configured.map(({ name, totalBytes, reflink = true }): [string, SimulatedAggregate] => {
      const path = `/simulated/${node}/${name}`
      return [name, { name, path, filesystem: 'folder', reflink, totalBytes }]
    }),
  )
  const images = new Map<string, SimulatedImage>()
  const exports = new Map<string, SimulatedExport>()
  const openImages = new Set<string>()
  const flexvols = new Set<string>()
  const guard = createFenceGuard()
  let nextPid = 1000
  let nextPort = 10_000

  const infoOf = (image: SimulatedImage): ImageInfo => {
    const { imageId, sizeBytes, allocatedBytes, readOnly, changes } = image
    return { imageId, sizeBytes, allocatedBytes, readOnly, changeMark: `${imageId}.${changes}` }
  }
  const existing = (imageId: string): SimulatedImage => {
    const image = images.get(imageId)
    if (!image) throw new DomainError('notFound', `There is no image ${imageId} on node ${node}.`)
    return image
  }
  const aggregateOf = (name: string): SimulatedAggregate => {
    const aggregate = aggregates.get(name)
    if (!aggregate) throw new DomainError('notFound', `There is no aggregate ${name} on node ${node}.`)
    return aggregate
  }
  const aggregateInfoOf = ({ name, path, filesystem, sizeBytes, reflink }: SimulatedAggregate) => ({
    ...{ name, path, filesystem, reflink },
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
  })
  const imagesIn = (flexvol: { aggregate: string; name: string }): SimulatedImage[] =>
    [...images.values()].filter(
      ({ ref }) => ref.aggregate === flexvol.aggregate && ref.flexvol === flexvol.name,
    )
  const create = (ref: ImageRef, sizeBytes: number, allocatedBytes = 0, content = 'zeroes') => {
    if (!flexvols.has(`${ref.aggregate}/${ref.flexvol}`)) {
      throw new DomainError('notFound', `There is no FlexVol ${ref.flexvol} on aggregate ${ref.aggregate}.`)
    }
    const found = images.get(ref.imageId)
    if (found && found.sizeBytes !== sizeBytes) {
      throw new DomainError(
        'conflict',
        `Image ${ref.imageId} has ${found.sizeBytes} bytes, not ${sizeBytes}.`,
      )
    }
    const image: SimulatedImage = found ?? {
      imageId: ref.imageId,
      ref,
      sizeBytes,
      allocatedBytes,
      readOnly: false,
      changes: 0,
      content,
      sharedBytes: 0,
    }
    images.set(ref.imageId, image)
    return image
  }

  /** Of the same node; a head that has the file open is not seen here. */
  const requireNoWriter = (exportId: string, imageId: string): void => {
    for (const [id, { access, isStandby }] of exports) {
      if (id === exportId || isStandby || access.imageId !== imageId) continue
      throw new DomainError('conflict', `Image ${imageId} is open for writing in export ${id}.`)
    }
  }
  /** The export as it is there, or a new one, in standby. */
  const exportOf = (exportId: string, ref: ImageRef, clientHost: string | undefined): SimulatedExport => {
    const { imageId, sizeBytes } = existing(ref.imageId)
    const found = exports.get(exportId)
    if (found && found.access.imageId !== imageId) {
      throw new DomainError(
        'conflict',
        `Export ${exportId} serves image ${found.access.imageId}, not ${imageId}.`,
      )
    }
    const exportName = found?.access.exportName ?? `${exportId}.${randomBytes(16).toString('hex')}`
    const port = found?.access.port ?? nextPort++
    const access: NbdAccess = {
      ...{ kind: 'nbd', imageId, exportName, sizeBytes },
      ...{ host: '127.0.0.1', port, tlsHostname: node },
    }
    const one = found ?? {
      access,
      pid: nextPid++,
      isStandby: true,
      ...(clientHost !== undefined && { clientHost }),
    }
    one.access = access
    exports.set(exportId, one)
    return one
  }
  const items = (): InventoryItem[] => [
    ...[...images.values()].map(({ imageId, ref, allocatedBytes }) =>
      simulatedItem({
        kind: 'image',
        id: `/simulated/${node}/${ref.aggregate}/${ref.flexvol}/${imageId}`,
        imageId,
        aggregate: ref.aggregate,
        flexvol: ref.flexvol,
        sizeBytes: allocatedBytes,
        isOpen: openImages.has(imageId),
      }),
    ),
    ...[...exports].map(([exportId, { access, pid }]) =>
      simulatedItem({
        kind: 'export',
        id: exportId,
        pids: [pid],
        imageId: access.imageId,
        holderId: exportId.slice(0, -access.imageId.length - 1),
      }),
    ),
  ]
  const remove = ({ kind, id, imageId = '' }: InventoryItem): void => {
    if (kind === 'export') exports.delete(id)
    if (kind !== 'image') return
    const exported = [...exports.values()].some(({ access }) => access.imageId === imageId)
    if (exported || openImages.has(imageId)) throw new DomainError('conflict', `Image ${imageId} is in use.`)
    images.delete(imageId)
  }

  const copies = simulatedImageCopies({
    guard,
    images,
    openImages,
    aggregate: aggregateOf,
    create,
    ...(options.onExported === undefined ? {} : { onExported: options.onExported }),
  })
  const agent: StorageAgent & SimulatedStorage = {
    ...simulatedInventory({ admit: (caller) => guard.admit(caller), items, remove }),
    node,
    images,
    ...copies.methods,
    exports,
    openImages,
    flexvols,
    aggregates,
    async aggregateSpace(name) {
      const { totalBytes } = aggregateOf(name)
      let usedBytes = 0
      for (const image of images.values()) {
        if (image.ref.aggregate === name) usedBytes += image.allocatedBytes - image.sharedBytes
      }
      return { totalBytes, usedBytes, freeBytes: Math.max(0, totalBytes - usedBytes) }
    },
    listAggregates: async () => [...aggregates.values()].map(aggregateInfoOf),
    async ensureAggregate(caller, { name, path, filesystem = 'folder', sizeBytes }) {
      guard.admit(caller)
      const found = aggregates.get(name)
      if (found && found.path !== path) {
        throw new DomainError('conflict', `Aggregate ${name} is at ${found.path}, not ${path}.`)
      }
      const totalBytes = sizeBytes ?? 2 ** 40
      const made = {
        name,
        path,
        filesystem,
        reflink: filesystem === 'xfs',
        totalBytes,
        sizeBytes: totalBytes,
      }
      const aggregate = found ?? made
      aggregates.set(name, aggregate)
      return aggregateInfoOf(aggregate)
    },
    async ensureUnmounted(caller) {
      guard.admit(caller)
    },
    async ensureNoAggregate(caller, name) {
      guard.admit(caller)
      if ([...flexvols].some((flexvol) => flexvol.startsWith(`${name}/`))) {
        throw new DomainError('conflict', `A FlexVol is on aggregate ${name}.`)
      }
      aggregates.delete(name)
    },
    async ensureNoFlexVol(caller, flexvol) {
      guard.admit(caller)
      if (imagesIn(flexvol).length > 0) {
        throw new DomainError('conflict', `FlexVol ${flexvol.name} holds images on ${flexvol.aggregate}.`)
      }
      flexvols.delete(`${flexvol.aggregate}/${flexvol.name}`)
    },
    async flexVolUsage(flexvol) {
      const found = imagesIn(flexvol)
      const sum = (bytesOf: (image: SimulatedImage) => number): number =>
        found.reduce((bytes, image) => bytes + bytesOf(image), 0)
      return {
        images: found.length,
        allocatedBytes: sum(({ allocatedBytes }) => allocatedBytes),
        uniqueBytes: sum(({ allocatedBytes, sharedBytes }) => allocatedBytes - sharedBytes),
      }
    },
    async ensureFlexVol(caller, { aggregate, name }) {
      guard.admit(caller)
      flexvols.add(`${aggregate}/${name}`)
    },
    async ensureImage(caller, ref, sizeBytes) {
      guard.admit(caller)
      return infoOf(create(ref, sizeBytes))
    },
    async ensureImageFrom(caller, ref, sizeBytes, { path }) {
      guard.admit(caller)
      return infoOf(create(ref, sizeBytes, Math.min(sizeBytes, 2 ** 20), path))
    },
    async ensureImageSize(caller, ref, sizeBytes) {
      guard.admit(caller)
      const image = existing(ref.imageId)
      if (sizeBytes < image.sizeBytes) throw new DomainError('invalid', 'An image cannot shrink.')
      image.sizeBytes = sizeBytes
      image.changes += 1
      return infoOf(image)
    },
    async ensureNoImage(caller, ref) {
      guard.admit(caller)
      const exported = [...exports.values()].some(({ access }) => access.imageId === ref.imageId)
      if (exported || openImages.has(ref.imageId) || copies.isCopied(ref.imageId))
        throw new DomainError('conflict', `Image ${ref.imageId} is in use.`)
      images.delete(ref.imageId)
    },
    isImageOpen: async ({ imageId }) =>
      openImages.has(imageId) ||
      [...exports.values()].some((one) => one.access.imageId === imageId && !one.isStandby),
    async imageInfo(ref) {
      const image = images.get(ref.imageId)
      return image ? infoOf(image) : undefined
    },
    async fileAccess(ref) {
      const { imageId, sizeBytes } = existing(ref.imageId)
      const path = `/simulated/${node}/${ref.aggregate}/${ref.flexvol}/${imageId}`
      return { kind: 'file', imageId, path, sizeBytes }
    },
    async ensureImageReadOnly(caller, ref, readOnly) {
      guard.admit(caller)
      const image = existing(ref.imageId)
      image.readOnly = readOnly
      image.changes += 1
    },
    async ensureExport(caller, exportId, ref, clientHost) {
      guard.admit(caller)
      requireNoWriter(exportId, ref.imageId)
      const found = exportOf(exportId, ref, clientHost)
      found.isStandby = false
      return found.access
    },
    async handOverExport(caller, { from, to, image, clientHost }) {
      guard.admit(caller)
      exports.delete(from)
      requireNoWriter(to, image.imageId)
      const found = exportOf(to, image, clientHost)
      found.isStandby = false
      return found.access
    },
    async ensureExportStandby(caller, exportId, ref, clientHost) {
      guard.admit(caller)
      if (exports.get(exportId)?.isStandby === false) {
        throw new DomainError('conflict', `Export ${exportId} serves its image; revoke it first.`)
      }
      return exportOf(exportId, ref, clientHost).access
    },
    async ensureExportSize(caller, exportId, sizeBytes) {
      guard.admit(caller)
      const found = exports.get(exportId)
      if (!found) throw new DomainError('notFound', `There is no export ${exportId} on node ${node}.`)
      existing(found.access.imageId).sizeBytes = sizeBytes
      found.access = { ...found.access, sizeBytes }
      return found.access
    },
    async ensureNoExport(caller, exportId) {
      guard.admit(caller)
      exports.delete(exportId)
    },
    async listExports() {
      return [...exports].map(([exportId, { access, ...rest }]) => ({
        exportId,
        imageId: access.imageId,
        ...rest,
      }))
    },
  }
  return withFaults(agent, ['setImageCopy'])
}
