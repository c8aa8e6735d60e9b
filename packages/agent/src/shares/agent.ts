import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DomainError, isDomainError, messageOf } from '@volant/contract'
import type {
  Caller,
  DeviceLatency,
  FileSystemSpec,
  FileSystemStatus,
  InventoryItem,
  NfsClient,
  NfsServerStatus,
  ShareAgent,
  ShareExportSpec,
  ShareStatus,
} from '@volant/contract'
import { ensurePrivateFolder } from '@volant/qemu/durable-file.ts'
import { silentLog } from '../daemon/log.ts'
import type { Log } from '../daemon/log.ts'
import { requireSafeId, requireShortRunDir, requireSize, shortName } from '../daemon/names.ts'
import { createSerial } from '../daemon/serial.ts'
import { createFenceGuard, onSuperseded } from '../fence-guard.ts'
import type { FenceGuard } from '../fence-guard.ts'
import { neverRemoved, requireUnchanged } from '../inventory/unclaimed.ts'
import { requireExportSpec } from './exports.ts'
import type { FileSystems } from './file-systems.ts'
import { exportItem, removeStrayServer, serverInventory } from './inventory.ts'
import type { NfsServerFolders } from './inventory.ts'
import { LocalFileSystems } from './local-file-systems.ts'
import { NfsServer } from './nfs-server.ts'
import type { NfsServerContext } from './nfs-server.ts'
import type { ServerPlaces } from './server-process.ts'
import { ServerRecords } from './server-record.ts'

export interface LocalShareAgent extends ShareAgent {
  /** Finds what an earlier process left, and supervises it. */
  adopt(): Promise<void>
  /** Lets go of everything: it runs on. */
  detach(): void
}

export interface ShareAgentOptions {
  node: string
  /** Records, logs, what clients may claim after a restart; private to the service's user. */
  stateDir: string
  /** For sockets; at most 60 characters. */
  runDir: string
  /** Network namespace of the NFS servers, as a path. */
  netns?: string
  /** Absent: those of this machine. */
  fileSystems?: FileSystems
  /** Milliseconds; see `NfsServerContext`. 20,000. */
  patienceMs?: number
  /** Milliseconds; see `NfsServerContext`. 10,000. */
  giveUpMs?: number
  log?: Log
}

/** How often the servers are looked at. Milliseconds. */
const lookMs = 250

export const createShareAgent = (options: ShareAgentOptions): LocalShareAgent => new NodeShares(options)

class NodeShares implements LocalShareAgent {
  readonly node: string
  readonly #options: ShareAgentOptions
  readonly #context: NfsServerContext
  readonly #fileSystems: FileSystems
  readonly #guard: FenceGuard
  readonly #servers = new Map<string, NfsServer>()
  readonly #serial = createSerial()
  readonly #timer: NodeJS.Timeout

  constructor(options: ShareAgentOptions) {
    const { node, stateDir, runDir, log = silentLog, patienceMs = 20_000, giveUpMs = 10_000 } = options
    this.node = node
    this.#options = options
    for (const folder of [stateDir, requireShortRunDir(runDir), this.#serversDir]) ensurePrivateFolder(folder)
    this.#fileSystems = options.fileSystems ?? new LocalFileSystems({ node, stateDir, log })
    const guard = createFenceGuard(join(stateDir, 'shares-fence.json'))
    this.#guard = guard
    const isSuperseded = (): boolean => guard.isSuperseded()
    this.#context = { fileSystems: this.#fileSystems, log, isSuperseded, patienceMs, giveUpMs }
    for (const svm of this.#recordedServers()) this.#server(svm)
    onSuperseded(guard, () => this.detach())
    this.#timer = setInterval(() => this.#look(), lookMs)
    this.#timer.unref()
  }

  get #folders(): NfsServerFolders {
    return { serversDir: this.#serversDir, runDir: this.#options.runDir }
  }

  get #serversDir(): string {
    return join(this.#options.stateDir, 'nfs')
  }

  async missing(): Promise<string[]> {
    const ofFileSystems = this.#options.fileSystems ? [] : await LocalFileSystems.missing()
    return [...new Set([...missingPrograms(), ...ofFileSystems])]
  }

  async adopt(): Promise<void> {
    await this.#fileSystems.adopt()
    await Promise.all(
      [...this.#servers.values()].map((server) =>
        server.adopt().catch((error: unknown) => {
          this.#context.log.warn({ ...server.spec, reason: messageOf(error) }, 'NFS server was not adopted')
        }),
      ),
    )
  }

  detach(): void {
    clearInterval(this.#timer)
    for (const server of this.#servers.values()) server.detach()
    this.#fileSystems.detach()
  }

  async ensureFileSystem(caller: Caller, spec: FileSystemSpec): Promise<FileSystemStatus> {
    requireSafeId('share id', spec.shareId)
    requireSize(spec.sizeBytes)
    return this.#change(caller, spec.shareId, () => this.#fileSystems.ensure(spec))
  }

  async ensureNoFileSystem(caller: Caller, shareId: string): Promise<void> {
    return this.#change(caller, shareId, async () => {
      this.#requireNotExported(shareId)
      await this.#fileSystems.ensureNo(shareId)
    })
  }

  async ensureFileSystemSize(caller: Caller, shareId: string, sizeBytes: number): Promise<FileSystemStatus> {
    requireSize(sizeBytes)
    return this.#change(caller, shareId, () => this.#fileSystems.ensureSize(shareId, sizeBytes))
  }

  async flushFileSystem(caller: Caller, shareId: string): Promise<void> {
    return this.#change(caller, shareId, () => this.#fileSystems.flush(shareId))
  }

  async trimFileSystem(caller: Caller, shareId: string): Promise<void> {
    return this.#change(caller, shareId, () => this.#fileSystems.trim(shareId))
  }

  async ensureShareExport(caller: Caller, spec: ShareExportSpec): Promise<void> {
    requireExportSpec(spec)
    return this.#change(caller, spec.shareId, async () => {
      const present = this.#serverOf(spec.shareId)
      if (present && present.spec.svm !== spec.server.svm) {
        throw new DomainError('conflict', `Share ${spec.shareId} is exported by SVM ${present.spec.svm}.`)
      }
      await this.#server(spec.server.svm, spec.server.lif).ensureExport(spec)
    })
  }

  async ensureNoShareExport(caller: Caller, shareId: string, how?: { forGood: boolean }): Promise<void> {
    return this.#change(caller, shareId, async () => {
      await this.#serverOf(shareId)?.ensureNoExport(shareId, how)
    })
  }

  async shareStatus(shareId: string): Promise<ShareStatus> {
    requireSafeId('share id', shareId)
    const fileSystem = await this.#fileSystems.status(shareId)
    const server = this.#serverOf(shareId)
    const spec = server?.exports.find((one) => one.shareId === shareId)
    return {
      shareId,
      ...(fileSystem === undefined ? {} : { fileSystem }),
      ...(server && spec ? { export: { ...spec, isServed: server.isServed(shareId) } } : {}),
    }
  }

  async shareLatency(shareId: string): Promise<DeviceLatency> {
    requireSafeId('share id', shareId)
    return this.#fileSystems.latency(shareId)
  }

  async listShares(): Promise<ShareStatus[]> {
    const exported = [...this.#servers.values()].flatMap((server) => server.exports)
    const ids = new Set([...this.#fileSystems.ids(), ...exported.map(({ shareId }) => shareId)])
    return Promise.all([...ids].map((shareId) => this.shareStatus(shareId)))
  }

  async listServers(): Promise<NfsServerStatus[]> {
    return this.#inUse().map((server) => server.status())
  }

  async listClients(): Promise<NfsClient[]> {
    return (await Promise.all(this.#inUse().map((server) => server.clients()))).flat()
  }

  async ensureAllStopped(caller: Caller): Promise<void> {
    this.#guard.admit(caller)
    for (const server of this.#servers.values()) await server.halt()
    this.#servers.clear()
    // One that somebody works in keeps nobody else's up.
    const failed: unknown[] = []
    for (const shareId of this.#fileSystems.ids()) {
      await this.#change(caller, shareId, () => this.#fileSystems.ensureNo(shareId)).catch((error: unknown) =>
        failed.push(error),
      )
    }
    const [first] = failed
    if (failed.length <= 1) {
      if (first !== undefined) throw first
      return
    }
    const code = isDomainError(first) ? first.code : 'unavailable'
    throw new DomainError(code, failed.map(messageOf).join('\n'))
  }

  async inventory(): Promise<InventoryItem[]> {
    return [...(await this.#fileSystemItems()), ...(await serverInventory(this.#folders))]
  }

  /** With those of which only the export is left. */
  async #fileSystemItems(): Promise<InventoryItem[]> {
    const found = await this.#fileSystems.inventory()
    const known = new Set(found.map(({ shareId }) => shareId))
    const alone = [...this.#servers.values()].flatMap((server) => {
      const exported = server.exports.filter(({ shareId }) => !known.has(shareId))
      return exported.map((spec) => exportItem(spec, server.exportFile(spec.shareId)))
    })
    return [...found, ...alone]
  }

  async removeStray(caller: Caller, item: InventoryItem): Promise<void> {
    const { kind, shareId } = item
    if (kind === 'file-system' && shareId !== undefined) {
      return this.#change(caller, shareId, async () => {
        const now = (await this.#fileSystemItems()).find((one) => one.shareId === shareId)
        if (requireUnchanged(item, now && { item: now }) === undefined) return
        await this.#serverOf(shareId)?.ensureNoExport(shareId)
        await this.#fileSystems.removeStray(item)
      })
    }
    if (kind !== 'nfs-server' && kind !== 'remains') throw neverRemoved(item)
    this.#guard.admit(caller)
    return removeStrayServer(this.#folders, item, async (svm) => {
      const server = this.#server(svm)
      const [served] = server.exports
      if (served) throw new DomainError('conflict', `NFS server ${svm} exports share ${served.shareId}.`)
      await server.stop()
      this.#servers.delete(svm)
    })
  }

  #look(): void {
    for (const server of this.#servers.values()) void server.look()
  }

  #requireNotExported(shareId: string): void {
    if (this.#serverOf(shareId) === undefined) return
    throw new DomainError('conflict', `Share ${shareId} is exported; end its export first.`)
  }

  #inUse(): NfsServer[] {
    return [...this.#servers.values()].filter(({ exports }) => exports.length > 0)
  }

  #recordedServers(): string[] {
    return readdirSync(this.#serversDir).filter((svm) =>
      existsSync(join(this.#serversDir, svm, 'server.json')),
    )
  }

  #placesOf(svm: string): ServerPlaces {
    const { runDir, netns } = this.#options
    return {
      folder: join(this.#serversDir, requireSafeId('SVM name', svm)),
      busPath: join(runDir, `${shortName(svm)}.b`),
      ...(netns === undefined ? {} : { netns }),
    }
  }

  /** Where `lif` is absent: as its record says. */
  #server(svm: string, lif?: string): NfsServer {
    const known = this.#servers.get(svm)
    const places = this.#placesOf(svm)
    if (known && (lif === undefined || known.spec.lif === lif)) return known
    if (known && known.exports.length > 0) {
      throw new DomainError('conflict', `The NFS server of SVM ${svm} is at ${known.spec.lif}, not ${lif}.`)
    }
    const recorded = new ServerRecords(places.folder).read()
    const server = new NfsServer({ svm, lif: lif ?? recorded?.lif ?? '' }, places, this.#context)
    this.#servers.set(svm, server)
    return server
  }

  #serverOf(shareId: string): NfsServer | undefined {
    return [...this.#servers.values()].find(({ exports }) => exports.some((one) => one.shareId === shareId))
  }

  /** Changes of one share come one after the other, and only from the newest control plane. */
  #change<T>(caller: Caller, shareId: string, task: () => Promise<T>): Promise<T> {
    this.#guard.admit(caller)
    return this.#serial(shareId, () => {
      this.#guard.admit(caller)
      return task()
    })
  }
}

/** Why this machine can't serve shares; empty: it can, as far as one sees without trying. */
function missingPrograms(): string[] {
  const folders = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']
  const has = (program: string): boolean => folders.some((folder) => existsSync(join(folder, program)))
  const missing: string[] = []
  if (process.geteuid?.() !== 0) missing.push('Volant must run as root')
  if (!has('ganesha.nfsd')) {
    missing.push('the packages nfs-ganesha and nfs-ganesha-vfs must be installed (there is no ganesha.nfsd)')
  }
  if (!has('dbus-daemon')) missing.push('the package dbus must be installed (there is no dbus-daemon)')
  return missing
}
