import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, messageOf } from '@volant/contract'
import type { NfsClient, NfsServerSpec, NfsServerStatus, ShareExportSpec } from '@volant/contract'
import { ensurePrivateFolder } from '@volant/qemu/durable-file.ts'
import { bootId, isAlive, isStopped } from '@volant/qemu/process.ts'
import type { Log } from '../daemon/log.ts'
import { createSerial } from '../daemon/serial.ts'
import { BusConnection, BusError } from './bus.ts'
import { exportText, requireConsistent, requireExportSpec, requireServerSpec, serverText } from './exports.ts'
import type { FileSystems } from './file-systems.ts'
import { connectedClients, Ganesha } from './ganesha.ts'
import {
  boundLog,
  configPath,
  connectedTo,
  endBus,
  endGanesha,
  protocolsHere,
  recoveryRoot,
  startBus,
  startGanesha,
  untilListening,
} from './server-process.ts'
import type { ServerPlaces } from './server-process.ts'
import { ServerRecords } from './server-record.ts'
import type { ServerRecord } from './server-record.ts'

export interface NfsServerContext {
  fileSystems: FileSystems
  log: Log
  /** Whether a newer control plane acts on this state from another process: then the server is its business. */
  isSuperseded(): boolean
  /**
   * Milliseconds that a server which has to be started waits for file systems that are not mounted, before it starts
   * without them: until then their clients wait, from then on they get errors, and the others are served.
   */
  patienceMs: number
  /** Milliseconds that the end of an export, for good, waits for requests that hang. */
  giveUpMs: number
}

const longestBackoffMs = 2000
const longestStopMs = 5000

/**
 * The NFS server of one SVM: an NFS-Ganesha and its bus, which outlive this process. It is found again by what was
 * written down, and started again at once when it dies: clients claim their locks and see a pause. One class, over 400
 * lines: whatever is done follows from what the running server was told, which nobody else may know half of.
 */
export class NfsServer {
  readonly spec: NfsServerSpec
  readonly #places: ServerPlaces
  readonly #context: NfsServerContext
  readonly #records: ServerRecords
  readonly #exports = new Map<string, ShareExportSpec>()
  /** What the running server was told of each export, by share. */
  readonly #told = new Map<string, string>()
  /** What the running server may have open: all that it exports, by whatever rules, whoever told it. */
  readonly #open = new Set<string>()
  readonly #serial = createSerial()
  #record: ServerRecord
  #ganesha: Ganesha | undefined
  #watched = false
  #reviving = false
  #trouble: string | undefined
  #stoppedSince: number | undefined

  constructor(spec: NfsServerSpec, places: ServerPlaces, context: NfsServerContext) {
    requireServerSpec(spec)
    this.spec = spec
    this.#places = places
    this.#context = context
    this.#records = new ServerRecords(places.folder)
    this.#record = this.#records.read() ?? { ...spec }
    for (const one of this.#records.exports()) this.#exports.set(one.shareId, one)
  }

  get exports(): readonly ShareExportSpec[] {
    return [...this.#exports.values()]
  }

  /** The record of one of them. */
  exportFile(shareId: string): string {
    return this.#records.exportPath(shareId)
  }

  get isAlive(): boolean {
    return isAlive(this.#record.ganesha)
  }

  isServed(shareId: string): boolean {
    return this.isAlive && this.#told.has(shareId)
  }

  status(): NfsServerStatus {
    const { ganesha } = this.#record
    const away = this.exports.filter(({ shareId }) => !this.isServed(shareId)).length
    const trouble = this.isAlive
      ? away > 0
        ? `${away} of its ${this.#exports.size} exports are not served.`
        : undefined
      : (this.#trouble ?? 'It does not run.')
    return {
      ...this.spec,
      pid: this.isAlive ? (ganesha?.pid ?? 0) : 0,
      ...(trouble === undefined ? {} : { trouble }),
    }
  }

  /** Finds the running server and supervises it from then on. One that does not run is started, but not waited for. */
  async adopt(): Promise<void> {
    if (this.isAlive) return this.#inTurn(() => this.#converge())
    this.#watched = this.#exports.size > 0
    void this.#revive()
  }

  /** Exports the share, or changes its export. Where the server refuses it, everything is as it was. */
  async ensureExport(spec: ShareExportSpec): Promise<void> {
    requireExportSpec(spec)
    return this.#inTurn(async () => {
      const before = this.#exports.get(spec.shareId)
      requireConsistent(spec, this.exports)
      if (!this.#context.fileSystems.isMounted(spec.shareId)) {
        throw new DomainError('unavailable', `The file system of share ${spec.shareId} is not mounted.`)
      }
      this.#exports.set(spec.shareId, spec)
      this.#records.write(this.#record)
      this.#records.writeExport(spec)
      try {
        await this.#converge(spec.shareId)
        // By these rules: a file system that is lost is still exported by the former ones.
        if (this.isServed(spec.shareId) && this.#told.get(spec.shareId) === this.#textOf(spec)) return
        throw new DomainError(
          'unavailable',
          `The NFS server of ${this.spec.svm} does not serve ${spec.shareId}.`,
        )
      } catch (error) {
        await this.#takeBack(spec.shareId, before)
        throw error
      }
    })
  }

  /** Returns when no client can reach it. The last one's end is the server's. */
  async ensureNoExport(shareId: string, { forGood } = { forGood: false }): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#exports.has(shareId)) return
      const late = forGood ? setTimeout(() => void this.#giveUp(shareId), this.#context.giveUpMs) : undefined
      try {
        await this.#forget(shareId)
      } finally {
        clearTimeout(late)
      }
    })
  }

  /** Ends the server for good, with its exports. */
  async stop(): Promise<void> {
    this.#watched = false
    await this.#inTurn(async () => {
      this.#exports.clear()
      await this.#end()
    })
  }

  /**
   * Ends the server, for now: what it exports and what its clients may claim of it stays on record, and whoever opens it
   * next starts it again, as after a restart of the machine.
   */
  async halt(): Promise<void> {
    this.#watched = false
    await this.#inTurn(async () => {
      await this.#endProcesses()
      this.#records.write({ ...this.spec })
    })
  }

  /** Leaves it to itself, for the end of this process. */
  detach(): void {
    this.#watched = false
    this.#ganesha?.close()
  }

  /** Those with a connection, as far as the server is there. */
  async clients(): Promise<NfsClient[]> {
    const { ganesha } = this.#record
    if (!isAlive(ganesha)) return []
    return connectedClients(
      this.spec,
      connectedTo(ganesha.pid, this.spec.lif),
      await this.#ganesha?.clients(),
    )
  }

  /**
   * What nobody tells: a file system that is lost or has come back, a server that ended unseen, a log that grows. Asked
   * often; does nothing while a call is at the server.
   */
  async look(): Promise<void> {
    if (!this.#watched || this.#reviving || this.#context.isSuperseded()) return
    boundLog(this.#places)
    await this.#endStopped()
    const { fileSystems } = this.#context
    const isLost = this.exports.some(({ shareId }) => fileSystems.isLost(shareId))
    const canServe = this.exports.some(
      ({ shareId }) => !this.#told.has(shareId) && fileSystems.isMounted(shareId),
    )
    if (isLost || canServe || !this.isAlive) await this.#revive()
  }

  /** Stopped by a signal it is no better than dead, and nobody starts it again. */
  async #endStopped(): Promise<void> {
    const { ganesha, bus } = this.#record
    const stopped = [ganesha, bus].some((one) => isStopped(one))
    this.#stoppedSince = stopped ? (this.#stoppedSince ?? performance.now()) : undefined
    if (performance.now() - (this.#stoppedSince ?? performance.now()) < longestStopMs) return
    this.#stoppedSince = undefined
    this.#context.log.warn({ svm: this.spec.svm }, 'NFS server does not answer; killed')
    await this.#inTurn(async () => {
      await endGanesha(this.#places, ganesha)
      if (isStopped(bus)) await endBus(this.#places)
    })
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    return this.#serial('server', task)
  }

  async #takeBack(shareId: string, before: ShareExportSpec | undefined): Promise<void> {
    try {
      if (before === undefined) return await this.#forget(shareId)
      this.#exports.set(shareId, before)
      this.#records.writeExport(before)
      await this.#converge()
    } catch (error) {
      this.#warn(error, 'an export was not put back')
    }
  }

  /** The server's one thread for changes waits for the last request to what it removes. */
  async #giveUp(shareId: string): Promise<void> {
    this.#context.log.warn({ shareId }, 'requests to a share that is removed hang; they are given up')
    await this.#context.fileSystems
      .giveUp(shareId)
      .catch((error: unknown) => this.#warn(error, 'requests to a share are not given up'))
  }

  /** The record goes last: whoever dies in between finds the export, and ends it again. */
  async #forget(shareId: string): Promise<void> {
    const spec = this.#exports.get(shareId)
    if (spec !== undefined && this.#exports.size > 1 && this.isAlive) {
      await (await this.#reach()).removeExport(spec.exportId)
    }
    this.#told.delete(shareId)
    this.#open.delete(shareId)
    this.#exports.delete(shareId)
    if (this.#exports.size === 0) return this.#end()
    this.#records.removeExport(shareId)
  }

  async #end(): Promise<void> {
    await this.#endProcesses()
    this.#records.remove()
  }

  async #endProcesses(): Promise<void> {
    this.#watched = false
    this.#told.clear()
    this.#ganesha?.close()
    await endGanesha(this.#places, this.#record.ganesha)
    await endBus(this.#places)
    this.#record = { ...this.spec }
  }

  #save(change: Partial<ServerRecord>): void {
    this.#record = { ...this.#record, ...change }
    this.#records.write(this.#record)
  }

  /**
   * The server serves exactly the exports on record whose file systems are mounted. One that it refuses is in nobody's way;
   * throws where it is `wanted`.
   */
  async #converge(wanted?: string): Promise<void> {
    if (this.#context.isSuperseded()) {
      throw new DomainError(
        'staleFence',
        `Another control plane has taken over the NFS server of ${this.spec.svm}.`,
      )
    }
    if (this.#exports.size === 0) return this.#end()
    this.#watched = true
    // Without its bus it is on its way to its end.
    if (!this.isAlive || !isAlive(this.#record.bus)) return this.#start()
    const ganesha = await this.#reach()
    const present = await ganesha.exportIds()
    for (const spec of this.exports) {
      const isPresent = present.delete(spec.exportId)
      if (isPresent) this.#open.add(spec.shareId)
      else this.#told.delete(spec.shareId)
      if (!this.#canServe(spec)) continue
      const text = this.#textOf(spec)
      if (this.#told.get(spec.shareId) === text) continue
      try {
        await this.#tell(ganesha, spec, text, isPresent)
      } catch (error) {
        if (spec.shareId === wanted) throw error
        this.#warn(error, 'an export is not served')
      }
    }
    for (const exportId of present) await ganesha.removeExport(exportId)
  }

  async #tell(ganesha: Ganesha, spec: ShareExportSpec, text: string, isPresent: boolean): Promise<void> {
    const { shareId, exportId } = spec
    const file = this.#records.exportFile(shareId)
    writeFileSync(file, text, { mode: 0o600 })
    this.#told.delete(shareId)
    this.#open.add(shareId)
    try {
      await (isPresent ? ganesha.updateExport(file, exportId) : ganesha.addExport(file, exportId))
    } catch (error) {
      if (!(error instanceof BusError)) throw error
      throw new DomainError('conflict', `The NFS server refuses to export share ${shareId}: ${error.message}`)
    }
    this.#told.set(shareId, text)
  }

  /** The very look before the server does: below a path that is not mounted it would export another file system. */
  #canServe({ shareId }: ShareExportSpec): boolean {
    const { fileSystems } = this.#context
    return fileSystems.isMounted(shareId) && !fileSystems.isLost(shareId)
  }

  #textOf(spec: ShareExportSpec): string {
    return exportText(spec, this.#context.fileSystems.mountPath(spec.shareId), this.#record.protocols ?? [4])
  }

  /** The bus of the running server. */
  async #reach(): Promise<Ganesha> {
    if (this.#ganesha?.isOpen) return this.#ganesha
    const ganesha = new Ganesha(await BusConnection.open(this.#places.busPath))
    for (const end = performance.now() + 10_000; !(await ganesha.isThere()); await sleep(10)) {
      if (this.isAlive && performance.now() < end) continue
      ganesha.close()
      throw new DomainError('unavailable', `The NFS server of ${this.spec.svm} is not on its bus.`)
    }
    await ganesha.watch(() => {
      if (this.#ganesha === ganesha) void this.#revive()
    })
    this.#ganesha = ganesha
    return ganesha
  }

  async #start(): Promise<void> {
    const { lif, svm } = this.spec
    const places = this.#places
    ensurePrivateFolder(recoveryRoot(places))
    this.#told.clear()
    this.#open.clear()
    this.#ganesha?.close()
    await endGanesha(places, this.#record.ganesha)
    await this.#awaitFileSystems()
    const protocols = await protocolsHere()
    const bus = isAlive(this.#record.bus) ? this.#record.bus : await startBus(places)
    this.#save({ bus, protocols })
    const served = this.exports.filter((spec) => this.#canServe(spec))
    const texts = served.map((spec) => [spec.shareId, this.#textOf(spec)] as const)
    const exportFiles = texts.map(([shareId, text]) => {
      const file = this.#records.exportFile(shareId)
      writeFileSync(file, text, { mode: 0o600 })
      return file
    })
    const settings = { svm, lif, recoveryRoot: recoveryRoot(places), protocols }
    writeFileSync(configPath(places), serverText({ ...settings, exportFiles }), { mode: 0o600 })
    for (const [shareId] of texts) this.#open.add(shareId)
    const ganesha = await startGanesha(places)
    this.#save({ ganesha })
    try {
      await untilListening(places, ganesha, lif)
      const present = await (await this.#reach()).exportIds()
      const isThere = (shareId: string): boolean => present.has(this.#exports.get(shareId)?.exportId ?? 0)
      for (const [shareId, text] of texts) if (isThere(shareId)) this.#told.set(shareId, text)
      this.#trouble = undefined
    } catch (error) {
      this.#trouble = messageOf(error)
      await endGanesha(places, ganesha)
      throw error
    }
  }

  /** After the machine's start heads come first, and somebody has to bring them. */
  get #patienceMs(): number {
    const { ganesha } = this.#record
    const { patienceMs } = this.#context
    return ganesha === undefined || ganesha.bootId === bootId() ? patienceMs : 3 * patienceMs
  }

  /** No server runs now, so what is lost can be mounted anew. */
  async #awaitFileSystems(): Promise<void> {
    const { fileSystems } = this.#context
    for (const end = performance.now() + this.#patienceMs; ; await sleep(50)) {
      const away = this.exports.filter((spec) => !this.#canServe(spec))
      await Promise.all(
        away
          .filter(({ shareId }) => fileSystems.isLost(shareId))
          .map(({ shareId }) => this.#rebuild(shareId)),
      )
      if (away.length === 0 || performance.now() > end) return
      if (!this.#watched || this.#context.isSuperseded()) {
        throw new DomainError('unavailable', `The NFS server of ${this.spec.svm} was left to others.`)
      }
    }
  }

  async #rebuild(shareId: string): Promise<void> {
    try {
      await this.#context.fileSystems.rebuild(shareId)
      this.#context.log.warn({ shareId }, 'a lost file system of a share was mounted again')
    } catch (error) {
      this.#warn(error, 'a lost file system of a share is not mounted again; trying on')
    }
  }

  async #revive(): Promise<void> {
    if (this.#reviving || !this.#watched) return
    this.#reviving = true
    const since = performance.now()
    try {
      for (let backoffMs = 20; this.#watched; backoffMs = Math.min(backoffMs * 2, longestBackoffMs)) {
        if (this.#context.isSuperseded()) return
        try {
          return await this.#inTurn(() => this.#mend(since))
        } catch (error) {
          this.#warn(error, 'NFS server does not start; trying on')
        }
        await sleep(backoffMs, undefined, { ref: false })
      }
    } finally {
      this.#reviving = false
    }
  }

  async #mend(since: number): Promise<void> {
    if (!this.#watched) return
    const { fileSystems } = this.#context
    const lost = this.exports.filter(({ shareId }) => fileSystems.isLost(shareId))
    // Whoever has it open gets errors, and keeps it from being unmounted.
    if (this.isAlive && lost.some(({ shareId }) => this.#open.has(shareId))) {
      this.#ganesha?.close()
      await endGanesha(this.#places, this.#record.ganesha)
    } else {
      for (const { shareId } of lost) await this.#rebuild(shareId)
    }
    const wasAway = !this.isAlive || !isAlive(this.#record.bus)
    await this.#converge()
    if (!wasAway) return
    const { svm, lif } = this.spec
    const awayMs = Math.round(performance.now() - since)
    this.#context.log.warn({ svm, lif, awayMs }, 'NFS server was started again')
  }

  #warn(error: unknown, message: string): void {
    this.#context.log.warn({ svm: this.spec.svm, reason: messageOf(error) }, message)
  }
}
