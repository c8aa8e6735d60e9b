import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DomainError, isDomainError, messageOf } from '@volant/contract'
import type { FileSystemSpec, FileSystemStatus, InventoryItem } from '@volant/contract'
import { readJson, syncFolder, writeJsonDurably } from '@volant/qemu/durable-file.ts'
import { silentLog } from '../daemon/log.ts'
import type { Log } from '../daemon/log.ts'
import { requireSafeId } from '../daemon/names.ts'
import { createSerial } from '../daemon/serial.ts'
import { findFile } from '../inventory/files.ts'
import { processesNaming, processText, processToken } from '../inventory/processes.ts'
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
import type { HeadAddress } from './block-device.ts'
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

/** What is written down about a share's file system, in `<stateDir>/file-systems/<shareId>/record.json`. */
interface FileSystemRecord {
  shareId: string
  head: HeadAddress
  content: FileSystemSpec['content']
  /** As it was asked for first; what it has is the kernel's to say. */
  sizeBytes: number
  readOnly?: boolean
  /** Of the head's export: what it says of itself at the first connection, and must say at each later one. */
  identity?: string
  /** From the time when it was mounted first: nothing else is mounted in its place, and it is never formatted again. */
  uuid?: string
  logBytes?: number
  /** What the head served when the block device was made: its size for good. */
  deviceBytes?: number
  /** It is being taken down: nobody mounts it again. */
  isEnding?: true
}

/** What the device does not answer is given up. Milliseconds. */
const answerMs = 60_000
/** What a machine's restart unmounted, and a supervisor that is missing. Milliseconds. */
const lookMs = 5000

/** The file systems of this machine's shares: block device, loop device, XFS, mount; and what is on record of each. */
export class LocalFileSystems implements FileSystems {
  readonly #node: string
  readonly #folder: string
  readonly #unmountMs: number
  readonly #log: Log
  readonly #serial = createSerial()
  readonly #records = new Map<string, FileSystemRecord>()
  readonly #devices = new Map<string, BlockDevice>()
  #timer: NodeJS.Timeout | undefined

  constructor({ node, stateDir, unmountMs = 30_000, log = silentLog }: FileSystemsOptions) {
    this.#node = node
    this.#unmountMs = unmountMs
    this.#log = log
    mkdirSync(join(stateDir, 'file-systems'), { recursive: true, mode: 0o700 })
    this.#folder = realpathSync(join(stateDir, 'file-systems'))
    for (const shareId of readdirSync(this.#folder)) {
      const record = readJson(this.#recordPath(shareId)) as FileSystemRecord | undefined
      if (record !== undefined) this.#records.set(shareId, record)
    }
  }

  /** What this machine lacks, each with its remedy; empty: nothing. */
  static async missing(): Promise<string[]> {
    const said = await missingForBlockDevice().catch((error: unknown) => [messageOf(error)])
    return [...new Set([...missingForXfs(), ...said])]
  }

  ids(): string[] {
    return [...this.#records.keys()]
  }

  mountPath(shareId: string): string {
    return join(this.#folderOf(shareId), 'mount')
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
    if (!this.#records.has(shareId)) return false
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
      const known = this.#records.get(shareId)
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
        this.#write(record)
        // Where the head has moved: what is connected stays; the next connection goes there.
        const device = this.#device(shareId)
        device.point(spec.head)
        return this.#statusOf(record)
      }
      // Before anything is written down: a head that is not there, or another volume's, leaves nothing behind.
      const content = await lookAtHead(spec.head)
      const trouble = objection(record, content) ?? this.#taken(shareId, content)
      if (trouble) throw trouble
      this.#write(record)
      try {
        await this.#bringUp(record, content)
      } catch (error) {
        if (known === undefined) await this.#takeDown(shareId, true).catch(() => {})
        throw error
      }
      return this.#statusOf(this.#known(shareId))
    })
  }

  ensureNo(shareId: string): Promise<void> {
    requireSafeId('share id', shareId)
    return this.#serial(shareId, async () => {
      const record = this.#records.get(shareId)
      if (record === undefined && !existsSync(this.#folderOf(shareId))) return
      if (record && record.isEnding !== true) this.#write({ ...record, isEnding: true })
      await this.#takeDown(shareId, true)
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
      if (sizeBytes !== record.sizeBytes) this.#write({ ...record, sizeBytes })
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
    const record = this.#records.get(shareId)
    return record && this.#statusOf(record)
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

  async adopt(): Promise<void> {
    this.#timer ??= setInterval(() => this.#look(), lookMs).unref()
    await Promise.all(this.ids().map((shareId) => this.#restore(shareId)))
  }

  detach(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async inventory(): Promise<InventoryItem[]> {
    return (await this.#found()).map(({ item }) => item)
  }

  async removeStray(item: InventoryItem): Promise<void> {
    const now = (await this.#found()).find((one) => one.item.id === item.id)
    if (requireUnchanged(item, now)) await this.ensureNo(item.id)
  }

  async #found(): Promise<{ item: InventoryItem }[]> {
    const processes = await processesNaming([this.#folder])
    const found: { item: InventoryItem }[] = []
    for (const shareId of readdirSync(this.#folder)) {
      const folder = findFile(this.#folderOf(shareId))
      if (folder === undefined) continue
      const record = findFile(this.#recordPath(shareId))
      const own = processes.filter(({ words }) => words.includes(`mount=${this.#device(shareId).file}`))
      const mounted = this.isMounted(shareId) ? [`mounted at ${this.mountPath(shareId)}`] : []
      const item: InventoryItem = {
        kind: 'file-system',
        id: shareId,
        shareId,
        what: [(record ?? folder).path, ...mounted, ...own.map(processText)].join('; '),
        identity: [(record ?? folder).token, ...own.map(processToken)].toSorted().join(' '),
        ageSeconds: Math.min((record ?? folder).ageSeconds, ...own.map(({ ageSeconds }) => ageSeconds)),
        sizeBytes: 0,
        pids: own.map(({ identity }) => identity.pid),
      }
      found.push({ item })
    }
    return found
  }

  #look(): void {
    for (const shareId of this.ids()) void this.#restore(shareId)
  }

  /** Mounts what is not mounted, and completes a block device that has one process only. A lost one is for `rebuild`. */
  async #restore(shareId: string): Promise<void> {
    await this.#serial(shareId, async () => {
      const record = this.#records.get(shareId)
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
    const other = [...this.#records.values()].find(
      (one) => one.identity === identity && one.shareId !== shareId,
    )
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
      this.#write({ ...record, identity, uuid, logBytes, deviceBytes })
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

  /** Everything; without `withRecord` all but the record. */
  async #takeDown(shareId: string, withRecord: boolean): Promise<void> {
    await this.#takeDownAbove(shareId)
    await this.#device(shareId).end()
    if (!withRecord) return
    this.#records.delete(shareId)
    await rm(this.#recordPath(shareId), { force: true })
    await rm(this.#folderOf(shareId), { recursive: true, force: true })
    syncFolder(this.#folder)
    if (readdirSync(this.#folder).length === 0) await this.#endPrivate()
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
      if ((await mountAt(this.#folder)) === undefined)
        await run('mount', '--bind', this.#folder, this.#folder)
      await run('mount', '--make-private', this.#folder)
    })
  }

  #endPrivate(): Promise<void> {
    return this.#serial(' private', async () => {
      if (readdirSync(this.#folder).length === 0 && (await mountAt(this.#folder)) !== undefined) {
        await run('umount', this.#folder).catch(() => {})
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
    const record = this.#records.get(shareId)
    if (record) return record
    throw new DomainError('notFound', `Share ${shareId} has no file system on node ${this.#node}.`)
  }

  #device(shareId: string): BlockDevice {
    const known = this.#devices.get(shareId)
    if (known) return known
    const device = new BlockDevice(this.#folderOf(shareId))
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

  #write(record: FileSystemRecord): void {
    mkdirSync(this.#folderOf(record.shareId), { recursive: true, mode: 0o700 })
    writeJsonDurably(this.#recordPath(record.shareId), record)
    this.#records.set(record.shareId, record)
  }

  #folderOf(shareId: string): string {
    return join(this.#folder, requireSafeId('share id', shareId))
  }

  #recordPath(shareId: string): string {
    return join(this.#folderOf(shareId), 'record.json')
  }
}

/** As the kernel writes it: MAJOR:MINOR. */
const deviceNumber = (dev: number): string =>
  `${(dev >>> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}`

/** Why what the head has is not to be mounted, or formatted. */
function objection(
  record: FileSystemRecord,
  { identity, superblock, sizeBytes }: HeadContent,
): DomainError | undefined {
  const { shareId, content } = record
  const wrong = (text: string): DomainError => new DomainError('conflict', `Share ${shareId}: ${text}`)
  if (record.identity !== undefined && record.identity !== identity) {
    return wrong(`the head serves ${identity || 'a volume without a name'} instead of ${record.identity}.`)
  }
  if (superblock === undefined) {
    if (record.uuid !== undefined) return wrong('there is no file system in its image any more.')
    if (content !== 'format') return wrong('there is no file system in its image.')
    if (record.sizeBytes > sizeBytes)
      return wrong(`its image has ${sizeBytes} bytes, less than the file system is to have.`)
  } else if (record.uuid !== undefined && record.uuid !== superblock.uuid) {
    return wrong(`its image holds another file system (${superblock.uuid} instead of ${record.uuid}).`)
  }
  return undefined
}

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
