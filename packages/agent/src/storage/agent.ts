import { join } from 'node:path'
import { DomainError } from '@volant/contract'
import type {
  AggregateDefinition,
  AggregateInfo,
  AggregateSpace,
  Caller,
  ExportStatus,
  FileAccess,
  FlexVolUsage,
  HandOverRequest,
  ImageCopyRequest,
  ImageCopyStatus,
  ImageInfo,
  ImageRef,
  InventoryItem,
  NbdAccess,
  StorageAgent,
} from '@volant/contract'
import { ensurePrivateFolder } from '@volant/qemu/durable-file.ts'
import { asDomainError } from '../daemon/errors.ts'
import { isOpenInQemu } from '../daemon/file-locks.ts'
import { silentLog } from '../daemon/log.ts'
import type { Log } from '../daemon/log.ts'
import { requireShortRunDir, requireSize, requireUuid } from '../daemon/names.ts'
import { createSerial } from '../daemon/serial.ts'
import { createFenceGuard, onSuperseded } from '../fence-guard.ts'
import type { FenceGuard } from '../fence-guard.ts'
import { Aggregates } from './aggregates.ts'
import { createImageFrom } from './convert.ts'
import type { SourceImage } from './convert.ts'
import { usageOf } from './copier.ts'
import {
  cloneImage,
  createImage,
  growImage,
  ImageFolders,
  imageInfo,
  removeImage,
  setReadOnly,
} from './images.ts'
import type { Aggregate, FlexVolRef } from './images.ts'
import { ImageCopies, partOf } from './image-copies.ts'
import { findStrayExport, removeStrayImage, storageInventory } from './inventory.ts'
import type { StoragePlaces } from './inventory.ts'
import { NodeExports } from './node-exports.ts'
import { mountedFirst } from './mounted-first.ts'
import { removeParts } from '../inventory/daemons.ts'
import { neverRemoved } from '../inventory/unclaimed.ts'

export interface StorageAgentOptions {
  node: string
  /** Records and logs; private to the service's user. */
  stateDir: string
  /** Sockets; at most 60 characters, for a socket's path ends at 107 bytes. */
  runDir: string
  aggregates: readonly Aggregate[]
  /** Numeric address that export daemons listen at. */
  dataAddress: string
  /** The name in this node's certificate; absent: the node's. */
  tlsHostname?: string
  /** Network namespace that export daemons run in, as a path such as /run/netns/node1. */
  netns?: string
  /** Folder of this node's server certificate, asked for when the first export is made. */
  serverTlsFolder?: () => Promise<string>
  /** Folder of this machine's client certificate, asked for when an image is copied to another node. */
  clientTlsFolder?: () => Promise<string>
  log?: Log
}

export interface LocalStorageAgent extends StorageAgent {
  /**
   * Mounts the aggregates that are files. Finds the daemons of all recorded exports, starts those that died, and watches them. After a restart of the
   * machine nothing is started here: whether an export still stands is then the caller's to say (`ensureExport`).
   */
  adopt(): Promise<void>
  /** Leaves all export daemons to themselves, and ends all copies, for the end of this process. */
  detach(): void
}

/**
 * A storage node on this machine: images as thin files, exports as storage daemons that outlive this process. One class, over
 * 400 lines: the calls of a storage node, one by one, each in its turn and handed on to who does it.
 */
export function createStorageAgent(options: StorageAgentOptions): LocalStorageAgent {
  const { node, stateDir, log = silentLog } = options
  const aggregates = new Aggregates({ node, stateDir, configured: options.aggregates, log })
  return mountedFirst(new StorageNode(options, aggregates), aggregates)
}

class StorageNode implements LocalStorageAgent {
  readonly node: string
  readonly #aggregates: Aggregates
  readonly #folders: ImageFolders
  readonly #log: Log
  readonly #places: StoragePlaces
  readonly #guard: FenceGuard
  readonly #copies: ImageCopies
  readonly #exports: NodeExports
  readonly #serial = createSerial()

  constructor(options: StorageAgentOptions, aggregates: Aggregates) {
    const { node, stateDir, runDir, netns, log = silentLog } = options
    this.node = node
    const logDir = join(stateDir, 'log')
    for (const folder of [stateDir, requireShortRunDir(runDir), logDir]) ensurePrivateFolder(folder)
    this.#aggregates = aggregates
    this.#folders = new ImageFolders(aggregates)
    this.#places = { stateDir, runDir, logDir, aggregates }
    const guard = createFenceGuard(join(stateDir, 'storage-fence.json'))
    this.#guard = guard
    onSuperseded(guard, () => this.detach())
    const noTls = (): Promise<string> =>
      Promise.reject(new DomainError('unavailable', `Node ${node} has no certificate to serve images with.`))
    this.#log = log
    this.#exports = new NodeExports(node, {
      stateDir,
      runDir,
      logDir,
      log,
      isSuperseded: () => guard.isSuperseded(),
      dataAddress: options.dataAddress,
      tlsHostname: options.tlsHostname ?? node,
      ...(netns === undefined ? {} : { netns }),
      serverTlsFolder: options.serverTlsFolder ?? noTls,
    })
    this.#copies = new ImageCopies({
      log,
      path: (image) => this.#folders.path(image),
      canShare: async (name) => (await aggregates.list()).some((one) => one.name === name && one.reflink),
      clientTlsFolder: options.clientTlsFolder ?? noTls,
      ...(netns === undefined ? {} : { netns }),
    })
  }

  async aggregateSpace(aggregate: string): Promise<AggregateSpace> {
    return this.#folders.space(aggregate)
  }

  async listAggregates(): Promise<AggregateInfo[]> {
    return this.#aggregates.list()
  }

  async ensureAggregate(caller: Caller, aggregate: AggregateDefinition): Promise<AggregateInfo> {
    return this.#change(caller, `aggregate ${aggregate.name}`, () => this.#aggregates.ensure(aggregate))
  }

  async ensureNoAggregate(caller: Caller, aggregate: string): Promise<void> {
    return this.#change(caller, `aggregate ${aggregate}`, () => this.#aggregates.ensureNo(aggregate))
  }

  async ensureUnmounted(caller: Caller): Promise<void> {
    return this.#change(caller, 'aggregates', async () => {
      await this.#copies.stop()
      await this.#aggregates.unmount()
    })
  }

  async ensureNoFlexVol(caller: Caller, flexvol: FlexVolRef): Promise<void> {
    return this.#change(caller, `flexvol ${flexvol.name}`, () => this.#folders.ensureNoFlexVol(flexvol))
  }

  async flexVolUsage(flexvol: FlexVolRef): Promise<FlexVolUsage> {
    return usageOf(this.#folders.folder(flexvol))
  }

  async ensureClone(caller: Caller, image: ImageRef, from: ImageRef): Promise<ImageInfo> {
    const { sizeBytes } = await this.#require(from)
    const source = this.#folders.path(from)
    return this.#create(caller, image, sizeBytes, (path) => cloneImage(path, source, sizeBytes))
  }

  async ensureImageCopy(caller: Caller, request: ImageCopyRequest): Promise<void> {
    return this.#change(caller, request.to.imageId, () => this.#copies.ensure(request))
  }

  async imageCopyStatus(imageId: string): Promise<ImageCopyStatus> {
    return this.#copies.status(imageId)
  }

  async setImageCopyRate(caller: Caller, imageId: string, rate: number): Promise<void> {
    return this.#change(caller, imageId, () => this.#copies.setRate(imageId, rate))
  }

  async ensureImageCopyPaused(caller: Caller, imageId: string, paused: boolean): Promise<void> {
    return this.#change(caller, imageId, async () => this.#copies.setPaused(imageId, paused))
  }

  async ensureNoImageCopy(caller: Caller, imageId: string): Promise<void> {
    return this.#change(caller, imageId, () => this.#copies.ensureNone(requireUuid('image id', imageId)))
  }

  async ensureFlexVol(caller: Caller, flexvol: FlexVolRef): Promise<void> {
    return this.#change(caller, `flexvol ${flexvol.name}`, () => this.#folders.ensureFlexVol(flexvol))
  }

  async ensureImage(caller: Caller, image: ImageRef, sizeBytes: number): Promise<ImageInfo> {
    return this.#create(caller, image, sizeBytes, (path) => createImage(path, sizeBytes))
  }

  async ensureImageFrom(
    caller: Caller,
    image: ImageRef,
    sizeBytes: number,
    from: SourceImage,
  ): Promise<ImageInfo> {
    return this.#create(caller, image, sizeBytes, (path) => createImageFrom(path, image, sizeBytes, from))
  }

  async ensureImageSize(caller: Caller, image: ImageRef, sizeBytes: number): Promise<ImageInfo> {
    requireSize(sizeBytes)
    return this.#change(caller, image.imageId, async () => {
      const path = this.#folders.path(image)
      this.#copies.requireNotCopied(image.imageId)
      const found = await this.#require(image)
      if (sizeBytes < found.sizeBytes) {
        throw new DomainError(
          'invalid',
          `An image cannot shrink from ${found.sizeBytes} to ${sizeBytes} bytes.`,
        )
      }
      if (sizeBytes === found.sizeBytes) return found
      if (await isOpenInQemu(path)) {
        throw new DomainError(
          'conflict',
          `Image ${image.imageId} is open; its holder or export must grow it.`,
        )
      }
      await growImage(path, sizeBytes)
      return this.#require(image)
    })
  }

  async ensureNoImage(caller: Caller, image: ImageRef): Promise<void> {
    return this.#change(caller, image.imageId, async () => {
      const path = this.#folders.path(image)
      await this.#copies.forget(image.imageId)
      await this.#exports.imageEnded(image.imageId)
      const exported = (await this.listExports()).some((one) => one.imageId === image.imageId)
      if (exported || (await isOpenInQemu(path))) {
        throw new DomainError(
          'conflict',
          `Image ${image.imageId} is exported or open in a storage daemon; end that first.`,
        )
      }
      await removeImage(path)
      await removeImage(partOf(path))
    })
  }

  async isImageOpen(image: ImageRef): Promise<boolean> {
    return isOpenInQemu(this.#folders.path(image))
  }

  async imageInfo(image: ImageRef): Promise<ImageInfo | undefined> {
    return imageInfo(this.#folders.path(image), image.imageId)
  }

  async fileAccess(image: ImageRef): Promise<FileAccess> {
    const { imageId, sizeBytes } = await this.#require(image)
    return { kind: 'file', imageId, path: this.#folders.path(image), sizeBytes }
  }

  async ensureImageReadOnly(caller: Caller, image: ImageRef, readOnly: boolean): Promise<void> {
    return this.#change(caller, image.imageId, async () => {
      await this.#require(image)
      await setReadOnly(this.#folders.path(image), readOnly)
    })
  }

  async ensureExport(
    caller: Caller,
    exportId: string,
    image: ImageRef,
    clientHost?: string,
  ): Promise<NbdAccess> {
    return this.#change(caller, `export ${exportId}`, async () =>
      this.#exports.ensure(await this.#wanted(exportId, image, clientHost)),
    )
  }

  async ensureExportStandby(
    caller: Caller,
    exportId: string,
    image: ImageRef,
    clientHost?: string,
  ): Promise<NbdAccess> {
    return this.#change(caller, `export ${exportId}`, async () =>
      this.#exports.ensureStandby(await this.#wanted(exportId, image, clientHost)),
    )
  }

  async #wanted(exportId: string, image: ImageRef, clientHost: string | undefined) {
    const { imageId, sizeBytes } = await this.#require(image)
    return { exportId, imageId, path: this.#folders.path(image), sizeBytes, clientHost }
  }

  async ensureExportSize(caller: Caller, exportId: string, sizeBytes: number): Promise<NbdAccess> {
    requireSize(sizeBytes)
    return this.#change(caller, `export ${exportId}`, () => this.#exports.ensureSize(exportId, sizeBytes))
  }

  async ensureNoExport(caller: Caller, exportId: string): Promise<void> {
    return this.#change(caller, `export ${exportId}`, () => this.#exports.revoke(exportId))
  }

  async handOverExport(caller: Caller, request: HandOverRequest): Promise<NbdAccess> {
    const { from, to, image, clientHost } = request
    if (from === to) throw new DomainError('invalid', `Export ${from} cannot take over from itself.`)
    // In one order for all, so that no two wait for each other.
    const [first, second] = [from, to].toSorted() as [string, string]
    return this.#change(caller, `export ${first}`, () =>
      this.#change(caller, `export ${second}`, async () => {
        return this.#exports.handOver(from, await this.#wanted(to, image, clientHost))
      }),
    )
  }

  async inventory(): Promise<InventoryItem[]> {
    return storageInventory(this.#places)
  }

  async removeStray(caller: Caller, item: InventoryItem): Promise<void> {
    const { kind, id, imageId, aggregate, flexvol } = item
    if (kind === 'image' || kind === 'image-part') {
      if (imageId === undefined || aggregate === undefined || flexvol === undefined) throw neverRemoved(item)
      const path = this.#folders.path({ imageId, aggregate, flexvol })
      const end = kind === 'image' ? '' : item.isBeingRemoved === true ? '.gone' : '.new'
      return this.#change(caller, imageId, async () => {
        this.#copies.requireNotCopied(imageId)
        const exported = (await this.listExports()).some((one) => one.imageId === imageId)
        if (exported) throw new DomainError('conflict', `Image ${imageId} is exported; end that first.`)
        await removeStrayImage(item, `${path}${end}`)
      })
    }
    if (kind !== 'export' && kind !== 'remains') throw neverRemoved(item)
    return this.#change(caller, `export ${id.replace(/^export /, '')}`, async () => {
      const parts = await findStrayExport(this.#places, item)
      if (parts === undefined) return
      if (parts.record !== undefined) return this.#exports.revoke(parts.id)
      await removeParts(parts)
    })
  }

  async listExports(): Promise<ExportStatus[]> {
    return this.#exports.list()
  }

  async adopt(): Promise<void> {
    await this.#aggregates.adopt()
    for (const exportId of this.#exports.ids()) {
      // In turn with the calls about this export: one that is being revoked must not be started again.
      const adopted = this.#serial(`export ${exportId}`, () => this.#exports.adopt(exportId))
      await adopted.catch((error: unknown) => {
        this.#log.warn({ exportId, error }, 'export was not adopted')
      })
    }
  }

  detach(): void {
    void this.#copies.stop()
    this.#exports.detach()
  }

  async #require(image: ImageRef): Promise<ImageInfo> {
    const info = await imageInfo(this.#folders.path(image), image.imageId)
    if (info) return info
    throw new DomainError(
      'notFound',
      `There is no image ${image.imageId} in FlexVol ${image.flexvol} of node ${this.node}.`,
    )
  }

  #create(
    caller: Caller,
    image: ImageRef,
    sizeBytes: number,
    make: (path: string) => Promise<void>,
  ): Promise<ImageInfo> {
    requireSize(sizeBytes)
    return this.#change(caller, image.imageId, async () => {
      const path = this.#folders.path(image)
      this.#copies.requireNotCopied(image.imageId)
      const found = await imageInfo(path, image.imageId)
      if (found && found.sizeBytes !== sizeBytes) {
        throw new DomainError(
          'conflict',
          `Image ${image.imageId} is there with ${found.sizeBytes} bytes, not ${sizeBytes}.`,
        )
      }
      if (!found) await make(path)
      return this.#require(image)
    })
  }

  /** Changes of one image or export come one after the other, and only from the newest control plane. */
  #change<T>(caller: Caller, key: string, task: () => Promise<T>): Promise<T> {
    this.#guard.admit(caller)
    return this.#serial(key, () => {
      // Again: another control plane may have taken over while the call waited for its turn.
      this.#guard.admit(caller)
      return asDomainError(task)
    })
  }
}
