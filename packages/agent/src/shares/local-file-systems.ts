import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DomainError, isDomainError, messageOf } from '@volant/contract'
import type { DeviceLatency, FileSystemSpec, FileSystemStatus, InventoryItem } from '@volant/contract'
import { silentLog } from '../daemon/log.ts'
import type { Log } from '../daemon/log.ts'
import { requireSafeId } from '../daemon/names.ts'
import { createSerial } from '../daemon/serial.ts'
import { requireUnchanged } from '../inventory/unclaimed.ts'
import {
  detachLoop,
  endLoops,
  ensureLoop,
  loopsOf,
  missingForXfs,
  mountAt,
  run,
} from '../storage/loop-mount.ts'
import { BlockDevice, missingForBlockDevice } from './block-device.ts'
import { fileSystemItems } from './file-system-inventory.ts'
import { FileSystemRecords, objection } from './file-system-record.ts'
import type { FileSystemRecord } from './file-system-record.ts'
import type { FileSystems } from './file-systems.ts'
import {
  flushFileSystem,
  formatFileSystem,
  giveIdentity,
  growFileSystem,
  labelOf,
  lookAtHead,
  mountFileSystem,
  spaceOf,
  trimFileSystem,
  unmountFileSystem,
  xfsBlockBytes,
} from './file-system.ts'
import type { HeadContent } from './file-system.ts'
import { leaveOtherNamespaces } from './namespaces.ts'

export interface FileSystemsOptions {
  node: string
  /** Records and mount points; private to the service's user. */
  stateDir: string
  /** Milliseconds that an unmount waits for a head that does not answer, before what it holds is given up. 30,000. */
  unmountMs?: number
  log?: Log
}

/** What the device does not answer is given up. Milliseconds. */
const answerMs = 60_000
/** What a machine's restart unmounted, and a supervisor that is missing. Milliseconds. */
const lookMs = 5000

/**
 * The file systems of this machine's shares: block device, loop device, XFS, mount; and what is on record of each. One
 * class, over 400 lines: each way up and down is the same chain, link by link.
 */
export class LocalFileSystems implements FileSystems {
  readonly #node: string
  readonly #unmountMs: number
  readonly #log: Log
  readonly #serial = createSerial()
  readonly #records: FileSystemRecords
  readonly #devices = new Map<string, BlockDevice>()
  #timer: NodeJS.Timeout | undefined

  constructor({ node, stateDir, unmountMs = 30_000, log = silentLog }: FileSystemsOptions) {
    this.#node = node
    this.#unmountMs = unmountMs
    this.#log = log
    this.#records = new FileSystemRecords(join(stateDir, 'file-systems'))
  }

  /** What this machine lacks, each with its remedy; empty: nothing. */
  static async missing(): Promise<string[]> {
    const said = await missingForBlockDevice().catch((error: unknown) => [messageOf(error)])
    return [...new Set([...missingForXfs(), ...said])]
  }

  ids(): string[] {
    return this.#records.all().map(({ shareId }) => shareId)
  }

  mountPath(shareId: string): string {
    return join(this.#records.folderOf(shareId), 'mount')
  }

  isMounted(shareId: string): boolean {
    const path = this.mountPath(shareId)
    try {
      const { dev } = statSync(path)
      return dev !== statSync(dirname(path)).dev && this.#isOver(shareId, dev)
    } catch {
      return false
    }
  }

  isLost(shareId: string): boolean {
    if (this.#records.find(shareId) === undefined) return false
    const path = this.mountPath(shareId)
    try {
      if (statSync(path).dev === statSync(dirname(path)).dev) return false
    } catch (error) {
      // XFS has shut itself down: the device gave an error that it could not go on from.
      return (error as NodeJS.ErrnoException).code === 'EIO'
    }
    return !this.#device(shareId).isAlive
  }

  ensure(spec: FileSystemSpec): Promise<FileSystemStatus> {
    const { shareId } = spec
    return this.#serial(shareId, async () => {
      await this.#requirePossible()
      const known = this.#records.find(shareId)
      const { isEnding: _, readOnly: __, ...kept } = known ?? {}
      const record: FileSystemRecord = {
        // Its size is its own once it is there.
        sizeBytes: spec.sizeBytes,
        ...kept,
        shareId,
        head: spec.head,
        content: spec.content,
        ...(spec.readOnly === true ? { readOnly: true } : {}),
      }
      if (this.isMounted(shareId) && !this.isLost(shareId)) {
        this.#records.write(record)
        // Where the head has moved: what is connected stays; the next connection goes there.
        const device = this.#device(shareId)
        device.point(spec.head)
        return this.#statusOf(record)
      }
      // Before anything is written down: a head that is not there, or another volume's, leaves nothing behind.
      const content = await lookAtHead(spec.head)
      const trouble = objection(record, content) ?? this.#taken(shareId, content)
      if (trouble) throw trouble
      this.#records.write(record)
      try {
        await this.#bringUp(record, content)
      } catch (error) {
        if (known === undefined) await this.#takeDown(shareId).catch(() => {})
        throw error
      }
      return this.#statusOf(this.#known(shareId))
    })
  }

  ensureNo(shareId: string): Promise<void> {
    requireSafeId('share id', shareId)
    return this.#serial(shareId, async () => {
      const record = this.#records.find(shareId)
      if (record === undefined && !existsSync(this.#records.folderOf(shareId))) return
      if (record && record.isEnding !== true) this.#records.write({ ...record, isEnding: true })
      await this.#takeDown(shareId)
    })
  }

  ensureSize(shareId: string, sizeBytes: number): Promise<FileSystemStatus> {
    return this.#serial(shareId, async () => {
      const record = this.#mounted(shareId)
      const path = this.mountPath(shareId)
      const present = await spaceOf(path, record.logBytes ?? 0)
      // A group of blocks too small to be one is left out.
      const least = 64 * xfsBlockBytes
      if (sizeBytes < present.sizeBytes - least) {
        throw new DomainError(
          'conflict',
          `The file system of share ${shareId} has ${present.sizeBytes} bytes, and XFS does not shrink.`,
        )
      }
      if (sizeBytes > present.sizeBytes + least) await this.#answer('grow', growFileSystem(path, sizeBytes))
      if (sizeBytes !== record.sizeBytes) this.#records.write({ ...record, sizeBytes })
      return this.#statusOf(this.#known(shareId))
    })
  }

  flush(shareId: string): Promise<void> {
    return this.#serial(shareId, async () => {
      this.#mounted(shareId)
      await this.#answer('flush', flushFileSystem(this.mountPath(shareId)))
    })
  }

  trim(shareId: string): Promise<void> {
    return this.#serial(shareId, async () => {
      this.#mounted(shareId)
      await this.#answer('trim', trimFileSystem(this.mountPath(shareId)))
    })
  }

  async status(shareId: string): Promise<FileSystemStatus | undefined> {
    const record = this.#records.find(shareId)
    return record && this.#statusOf(record)
  }

  latency(shareId: string): DeviceLatency {
    this.#known(shareId)
    return this.#device(shareId).latency()
  }

  rebuild(shareId: string): Promise<void> {
    return this.#serial(shareId, async () => {
      if (!this.isLost(shareId)) return
      const record = this.#known(shareId)
      const content = await lookAtHead(record.head)
      const trouble = objection(record, content)
      if (trouble) throw trouble
      this.#log.warn({ shareId }, 'the block device of a share is lost; mounting its file system anew')
      await this.#bringUp(record, content)
    })
  }

  /** In no turn: what has the turn may be what waits. */
  async giveUp(shareId: string): Promise<void> {
    if (this.#records.find(shareId) !== undefined) await this.#device(shareId).abort()
  }

  async adopt(): Promise<void> {
    this.#timer ??= setInterval(() => this.#look(), lookMs).unref()
    await Promise.all(this.ids().map((shareId) => this.#restore(shareId)))
  }

  detach(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async inventory(): Promise<InventoryItem[]> {
    return (await this.#items()).map(({ item }) => item)
  }

  async removeStray(item: InventoryItem): Promise<void> {
    const now = (await this.#items()).find((one) => one.item.id === item.id)
    if (requireUnchanged(item, now)) await this.ensureNo(item.id)
  }

  #items(): Promise<{ item: InventoryItem }[]> {
    return fileSystemItems(this.#records, (shareId) => ({
      device: this.#device(shareId).file,
      ...(this.isMounted(shareId) ? { mountedAt: this.mountPath(shareId) } : {}),
    }))
  }

  #look(): void {
    for (const shareId of this.ids()) void this.#restore(shareId)
  }

  /** Mounts what is not mounted, and completes a block device that has one process only. A lost one is for `rebuild`. */
  async #restore(shareId: string): Promise<void> {
    await this.#serial(shareId, async () => {
      const record = this.#records.find(shareId)
      if (record === undefined || record.isEnding === true || this.isLost(shareId)) return
      if (!this.isMounted(shareId)) {
        if (record.uuid === undefined) return // whoever asked for it asks again
        const content = await lookAtHead(record.head, 2000)
        const trouble = objection(record, content)
        if (trouble) throw trouble
        return this.#bringUp(record, content)
      }
      const device = this.#device(shareId)
      const { head, identity, deviceBytes } = record
      if (device.processes().length > 1 || identity === undefined || deviceBytes === undefined) return
      await device.ensure({ head, sizeBytes: deviceBytes, identity })
    }).catch((error: unknown) => {
      this.#log.info({ shareId, reason: messageOf(error) }, 'the file system of a share is not mounted yet')
    })
  }

  /** Two file systems of one volume would destroy each other. */
  #taken(shareId: string, { identity }: HeadContent): DomainError | undefined {
    const other = this.#records.all().find((one) => one.identity === identity && one.shareId !== shareId)
    return (
      other &&
      new DomainError('conflict', `Share ${shareId}: volume ${identity} is that of share ${other.shareId}.`)
    )
  }

  /** From whatever is there, to mounted. */
  async #bringUp(record: FileSystemRecord, { identity, sizeBytes, superblock }: HeadContent): Promise<void> {
    const { shareId, head } = record
    const path = this.mountPath(shareId)
    await this.#ensurePrivate()
    const device = this.#device(shareId)
    // What is above a dead device goes first; what is half done above a living one, too.
    await this.#takeDownAbove(shareId)
    if (!device.isAlive) await device.end()
    await mkdir(path, { recursive: true, mode: 0o500 })
    const below = await readdir(path)
    if (below.length > 0) {
      throw new DomainError(
        'unavailable',
        `${path} is not empty (${below.slice(0, 3).join(', ')}); move that away.`,
      )
    }
    const deviceBytes = device.isAlive ? (record.deviceBytes ?? sizeBytes) : sizeBytes
    await device.ensure({ head, sizeBytes: deviceBytes, identity })
    const disk = await this.#answer('open', ensureLoop(device.file))
    try {
      const uuid = await this.#answer('prepare', this.#prepare(record, disk, path, superblock))
      await this.#answer('mount', mountFileSystem(disk, path, record.readOnly === true))
      const logBytes = superblock?.logBytes ?? (await lookAtHead(head)).superblock?.logBytes ?? 0
      this.#records.write({ ...record, identity, uuid, logBytes, deviceBytes })
    } finally {
      await detachLoop(disk).catch(() => {})
    }
  }

  /** The UUID of what is to be mounted. */
  async #prepare(
    { shareId, content, sizeBytes, uuid }: FileSystemRecord,
    disk: string,
    path: string,
    superblock: HeadContent['superblock'],
  ): Promise<string> {
    if (superblock === undefined) return formatFileSystem(disk, shareId, sizeBytes)
    if (uuid === undefined && content === 'clone' && superblock.label !== labelOf(shareId)) {
      return giveIdentity(disk, path, shareId)
    }
    return superblock.uuid
  }

  /** Everything, the record last. */
  async #takeDown(shareId: string): Promise<void> {
    await this.#takeDownAbove(shareId)
    await this.#device(shareId).end()
    await this.#records.remove(shareId)
    if (readdirSync(this.#records.folder).length === 0) await this.#endPrivate()
  }

  /** Mount and loop device. A device that does not answer is given up, for a mount that hangs is in everybody's way. */
  async #takeDownAbove(shareId: string): Promise<void> {
    const [path, device] = [this.mountPath(shareId), this.#device(shareId)]
    if ((await mountAt(path)) === undefined && (await loopsOf(device.file)).length === 0) return
    for (const disk of await loopsOf(device.file)) {
      await leaveOtherNamespaces(deviceNumber((await stat(disk)).rdev))
    }
    const unmounting = unmountFileSystem(path)
    if (!(await within(unmounting, this.#unmountMs))) {
      this.#log.warn(
        { shareId },
        'the head of a share does not answer; its file system is cut off, to be unmounted',
      )
      await device.abort()
    }
    if (await within(unmounting, this.#unmountMs)) {
      await unmounting
      // What still has the disk is a program that was to prepare it, and waits for the head.
      return endLoops(device.file).catch(async () => {
        await device.abort()
        await endLoops(device.file)
      })
    }
    throw new DomainError('unavailable', `${path} does not let itself be unmounted.`)
  }

  /**
   * A mount is copied to other mount namespaces, and kept there, unless it is below a private one: the folder is
   * mounted at itself for that.
   */
  #ensurePrivate(): Promise<void> {
    return this.#serial(' private', async () => {
      if ((await mountAt(this.#records.folder)) === undefined)
        await run('mount', '--bind', this.#records.folder, this.#records.folder)
      await run('mount', '--make-private', this.#records.folder)
    })
  }

  #endPrivate(): Promise<void> {
    return this.#serial(' private', async () => {
      if (
        readdirSync(this.#records.folder).length === 0 &&
        (await mountAt(this.#records.folder)) !== undefined
      ) {
        await run('umount', this.#records.folder).catch(() => {})
      }
    })
  }

  async #statusOf(record: FileSystemRecord): Promise<FileSystemStatus> {
    const { shareId, sizeBytes, logBytes = 0 } = record
    const mountPath = this.mountPath(shareId)
    const device = this.#device(shareId)
    const pids = device.processes().map(({ pid }) => pid)
    const client = device.worker
    const none = {
      ...{ shareId, mountPath, sizeBytes, usedBytes: 0, freeBytes: 0, pids },
      ...(client && { client }),
    }
    if (this.isLost(shareId))
      return { ...none, trouble: 'Its block device is lost; it has to be mounted anew.' }
    if (!this.isMounted(shareId)) return { ...none, trouble: 'It is not mounted.' }
    const { trouble } = this.#device(shareId)
    return { ...none, ...(await spaceOf(mountPath, logBytes)), ...(trouble === undefined ? {} : { trouble }) }
  }

  #isOver(shareId: string, dev: number): boolean {
    const behind = readFileSync(`/sys/dev/block/${deviceNumber(dev)}/loop/backing_file`, 'utf8').trimEnd()
    return behind === this.#device(shareId).file
  }

  async #requirePossible(): Promise<void> {
    const missing = await LocalFileSystems.missing()
    if (missing.length === 0) return
    throw new DomainError(
      'notImplemented',
      `Node ${this.#node} can't serve shares: ${missing.join(', and ')}.`,
    )
  }

  #mounted(shareId: string): FileSystemRecord {
    const record = this.#known(shareId)
    if (this.isMounted(shareId) && !this.isLost(shareId)) return record
    throw new DomainError('unavailable', `The file system of share ${shareId} is not mounted at the moment.`)
  }

  #known(shareId: string): FileSystemRecord {
    const record = this.#records.find(shareId)
    if (record) return record
    throw new DomainError('notFound', `Share ${shareId} has no file system on node ${this.#node}.`)
  }

  #device(shareId: string): BlockDevice {
    const known = this.#devices.get(shareId)
    if (known) return known
    const device = new BlockDevice(this.#records.folderOf(shareId))
    this.#devices.set(shareId, device)
    return device
  }

  async #answer<T>(what: string, task: Promise<T>): Promise<T> {
    try {
      if (await within(task, answerMs)) return await task
    } catch (error) {
      if (isDomainError(error)) throw error
      throw new DomainError('unavailable', `A share's file system could not ${what}. ${messageOf(error)}`, {
        cause: error,
      })
    }
    throw new DomainError('unavailable', `A share's file system did not ${what} within ${answerMs / 1000} s.`)
  }
}

/** As the kernel writes it: MAJOR:MINOR. */
const deviceNumber = (dev: number): string =>
  `${(dev >>> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}`

/** Whether it has settled in time. What it throws is thrown when it is awaited. */
async function within(task: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ms)))
  const settled = task.then(
    () => true,
    () => true,
  )
  try {
    return await Promise.race([settled, late])
  } finally {
    clearTimeout(timer)
  }
}
