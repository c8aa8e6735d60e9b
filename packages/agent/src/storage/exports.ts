import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DomainError, messageOf } from '@volant/contract'
import type { NbdAccess } from '@volant/contract'
import { probeAio } from '@volant/qemu/capabilities.ts'
import { ensurePrivateFolder, readJson, RecordFile } from '@volant/qemu/durable-file.ts'
import {
  daemonNames,
  imageBlockdev,
  nbdExport,
  standbyBlockdev,
  throttleBlockdev,
  throttleGroup,
  tlsAuthorization,
  tlsCredentials,
} from '@volant/qemu/storage-daemon.ts'
import type { QmpClient, QmpEvent } from '@volant/qemu/qmp.ts'
import type { DaemonGraph } from '@volant/qemu/storage-daemon.ts'
import { clientDistinguishedName } from '@volant/qemu/tls/authority.ts'
import type { Log } from '../daemon/log.ts'
import { hasOpen, waitUntilClosed, waitUntilNoWriter, waitUntilUnwritten } from '../daemon/file-locks.ts'
import { shortName } from '../daemon/names.ts'
import { SupervisedDaemon } from '../daemon/supervised-daemon.ts'
import type { DaemonPaths, DaemonState } from '../daemon/supervised-daemon.ts'
import { readGraph } from '../holder/graph.ts'
import { checkImage } from '../holder/image-access.ts'
import { growImage } from './images.ts'

/** What is written down about an export, in `<stateDir>/exports/<exportId>.json`. */
export interface ExportRecord {
  exportId: string
  imageId: string
  path: string
  sizeBytes: number
  exportName: string
  /** Only this host's certificate may connect. */
  clientHost?: string
  /** Its client is connected, and every request of it fails, until the image is opened. */
  isStandby?: boolean
  /** A growth that was begun, in bytes; the next start of the daemon brings it to its end. */
  growTo?: number
  daemon: DaemonState
}

export interface ExportContext {
  /** Whether a newer control plane acts on this state from another process: then daemons are its business. */
  isSuperseded(): boolean
  stateDir: string
  runDir: string
  logDir: string
  /** Address that the export daemons listen at. */
  dataAddress: string
  tlsHostname: string
  netns?: string
  serverTlsFolder(): Promise<string>
  log: Log
}

/** Until the record says what the mark beside it says: the disk is left to those whom a guest waits for. */
const recordAfterMs = 1000
/** Bound for the daemon's own word that its export is gone; after it the daemon is killed. */
const fenceTimeoutMs = 2000
const isOurs = (event: QmpEvent): boolean => event.data['id'] === daemonNames.export
const nodeName = 'image0'
const isRejected = (one: PromiseSettledResult<unknown>): one is PromiseRejectedResult =>
  one.status === 'rejected'

/** Of the export that the image is taken from. */
export interface Fence {
  /** No request of it is under way, and none will come. */
  proved: Promise<void>
  /** Its daemon, which may have the image open until its end. 0: there is none. */
  pid: number
}
const none: Fence = { proved: Promise.resolve(), pid: 0 }

/**
 * One export: an image served by a daemon of its own, over TLS, to one holder on another machine.
 *
 * ```
 *     export → throttle ─▶ image0         one that was opened from standby
 *                 └──────▶ standby        every request fails
 *     export → image0                     one that was started on its image
 * ```
 *
 * In standby it has nothing open, and takes its client: TLS and NBD are done with before the fence. What stands below the
 * filter is exchanged then (`blockdev-reopen`), in one go.
 */
export class ImageExport {
  readonly daemon: SupervisedDaemon
  readonly #context: ExportContext
  #record: ExportRecord
  readonly #file: RecordFile<ExportRecord>
  /** The daemon's monitor, where it is known to stand by: whoever opens the image under its client need not ask then. */
  #standby: QmpClient | undefined

  constructor(context: ExportContext, record: ExportRecord) {
    this.#context = context
    this.#record = record
    ensurePrivateFolder(folderOf(context.stateDir))
    this.#file = new RecordFile(recordPath(context.stateDir, record.exportId))
    this.daemon = new SupervisedDaemon(
      {
        label: `export ${record.exportId}`,
        ...exportPaths(context.runDir, record.exportId),
        logPath: logPath(context, record.exportId),
        listen: { host: context.dataAddress },
        ...(context.netns === undefined ? {} : { netns: context.netns }),
        prepare: () => this.#prepare(),
        save: (daemon) => this.#save({ daemon }),
        mayRestart: () => true,
        isSuperseded: context.isSuperseded,
        log: context.log,
      },
      record.daemon,
    )
  }

  /** In standby. */
  static create(context: ExportContext, record: Omit<ExportRecord, 'exportName' | 'daemon'>): ImageExport {
    const exportName = `${record.exportId}.${randomBytes(16).toString('hex')}`
    const whole: ExportRecord = { ...record, exportName, isStandby: true, daemon: {} }
    return new ImageExport(context, whole)
  }

  get record(): ExportRecord {
    return this.#record
  }

  get access(): NbdAccess {
    const { imageId, exportName, sizeBytes } = this.#record
    const { dataAddress: host, tlsHostname } = this.#context
    return { kind: 'nbd', imageId, host, port: this.daemon.port, exportName, sizeBytes, tlsHostname }
  }

  /** The daemon runs, in standby. */
  async standBy(): Promise<void> {
    const qmp = await this.daemon.ensureRunning()
    this.#standby = (await standsBy(qmp)) ? qmp : undefined
  }

  /**
   * The daemon runs and serves the image. One in standby opens it under its client, in milliseconds; the client gets it
   * when the fence is proved, and not where that fails.
   */
  async serve(sizeBytes: number, fence: Fence = none): Promise<void> {
    if (this.#record.isStandby === true) return this.#leaveStandby(sizeBytes, fence)
    await fence.proved
    await this.#serveOn()
  }

  async #serveOn(): Promise<void> {
    const wasAlive = this.daemon.isAlive
    const qmp = await this.daemon.ensureRunning()
    if (!wasAlive) return
    // A crash may have come between the record and what it says.
    if (await standsBy(qmp)) await this.#exchange(qmp, none)
    // An agent that ended the export died before that was on record: its client waits for it.
    else if (!(await isExported(qmp))) await this.daemon.replace(0)
  }

  async #leaveStandby(sizeBytes: number, fence: Fence): Promise<void> {
    const before = this.#record
    if (before.sizeBytes !== sizeBytes) {
      throw new DomainError(
        'conflict',
        `Export ${before.exportId} is in standby with ${before.sizeBytes} bytes; the image has ${sizeBytes}.`,
      )
    }
    const qmp = await this.daemon.ensureRunning()
    const isStandby = this.#standby === qmp || (await standsBy(qmp))
    this.#standby = undefined
    try {
      if (isStandby) await this.#exchange(qmp, fence)
      else {
        await fence.proved
        this.#noteServing()
      }
    } catch (error) {
      this.#record = { ...before, daemon: this.#record.daemon }
      this.#unmark()
      if (!(await this.#isBackInStandby(qmp))) await this.daemon.replace(0)
      throw error
    }
    setTimeout(() => void this.#saveMarked(), recordAfterMs).unref()
  }

  #noteServing(): void {
    if (this.#record.isStandby !== true) return
    this.#mark()
    this.#record = serving(this.#record)
  }

  /** That it serves, for whoever reads the record before that is on disk: a client stands still meanwhile. */
  #mark(): void {
    closeSync(openSync(markPath(this.#context.stateDir, this.#record.exportId), 'w', 0o600))
  }

  #unmark(): void {
    rmSync(markPath(this.#context.stateDir, this.#record.exportId), { force: true })
  }

  async #saveMarked(): Promise<void> {
    // Whoever has it now has read the mark, and may have written since.
    if (this.daemon.isLeft) return
    try {
      await this.#save({})
      this.#unmark()
    } catch (error) {
      const { exportId } = this.#record
      this.#context.log.warn({ exportId, reason: messageOf(error) }, 'record of an export is not written yet')
    }
  }

  /**
   * Beside the fence the image is opened, with nothing on it, so that nothing is read or written, and then it is looked who
   * else has it open: of two that open it at once one sees the other, at the least. Of the one that is fenced the proof
   * tells. When all is done the export gets it.
   */
  async #exchange(qmp: QmpClient, { proved, pid }: Fence): Promise<void> {
    const opened = this.#blockdev().then((blockdev) => qmp.execute('blockdev-add', blockdev))
    const looked = opened.then(() => waitUntilNoWriter(this.#record.path, [this.daemon.pid, pid]))
    const failed = (await Promise.allSettled([proved, looked])).find(isRejected)
    if (failed !== undefined) throw failed.reason
    this.#noteServing()
    await qmp.execute('blockdev-reopen', { options: [throttleBlockdev(nodeName)] })
  }

  /** Of an image that was opened for an exchange that was not to be: whether it is closed again, under the client. */
  async #isBackInStandby(qmp: QmpClient): Promise<boolean> {
    try {
      if (!(await standsBy(qmp))) return false
      const { nodeNames } = await readGraph(qmp)
      if (nodeNames.includes(nodeName)) await qmp.execute('blockdev-del', { 'node-name': nodeName })
      return !hasOpen(this.daemon.pid, this.#record.path)
    } catch {
      return false
    }
  }

  /** Of the image, once it is known for the right one. */
  async #blockdev(): Promise<Record<string, unknown>> {
    const { imageId, path, sizeBytes } = this.#record
    const image = { kind: 'file', imageId, path, sizeBytes } as const
    await checkImage(image, { clientTlsFolder: () => Promise.reject(new Error('unused')) })
    const { aio } = await probeAio()
    return imageBlockdev(image, { nodeName, aio, reconnectDelaySeconds: 0 })
  }

  /**
   * The fence. The daemon is asked to end the export and must report that it has (the event, not the reply: until
   * then requests in flight still reach the image). A daemon that does not is killed, and nothing of it may have
   * the image open any more. A client may be held meanwhile, so what does not matter to the fence, the end of a
   * daemon that serves nothing, is left to `ended`, which begins after `first`. What a crash there leaves,
   * `endUnrecorded` finds.
   */
  async revoke(first?: Promise<unknown>): Promise<{ ended: Promise<void> }> {
    // In standby it has nothing open, and another may. A crash may have come between what it does and the record of it.
    const { isStandby, path } = this.#record
    const serves = isStandby !== true || (existsSync(path) && hasOpen(this.daemon.pid, path))
    if (!serves || !(await this.#endExport())) {
      await this.daemon.stop(0)
      if (serves) await waitUntilClosed(path)
      await this.#forget()
      return { ended: Promise.resolve() }
    }
    await this.#file.unlink()
    this.#unmark()
    const ended = this.#endIdle(first)
    ended.catch(() => {}) // told to whom it concerns: the next call about this export or image
    return { ended }
  }

  /** Ends a daemon that serves nothing any more, and has no request under way. */
  async #endIdle(first: Promise<unknown> | undefined): Promise<void> {
    await first?.catch(() => {}) // whoever did it was told
    await this.daemon.stop(0)
    await this.#forget()
  }

  /** False where the daemon did not confirm. */
  async #endExport(): Promise<boolean> {
    if (!this.daemon.isAlive) return false
    try {
      const qmp = await this.daemon.ensureRunning()
      const gone = qmp.expect('BLOCK_EXPORT_DELETED', isOurs, fenceTimeoutMs)
      try {
        await qmp.execute('block-export-del', { id: daemonNames.export, mode: 'hard' }, fenceTimeoutMs)
        await gone.event
        this.daemon.unwatch()
        return this.daemon.isAlive
      } finally {
        gone.cancel()
      }
    } catch (error) {
      const { exportId } = this.#record
      this.#context.log.warn({ exportId, reason: messageOf(error) }, 'export is revoked by force')
      return false
    }
  }

  async #forget(): Promise<void> {
    await this.#file.remove()
    removeExportRemains(this.#context, this.#record.exportId)
  }

  /** Grows the image behind the export; its client reconnects to the same address and name. */
  async grow(sizeBytes: number): Promise<void> {
    if (sizeBytes === this.#record.sizeBytes) {
      await this.daemon.ensureRunning()
      return
    }
    if (sizeBytes < this.#record.sizeBytes) {
      throw new DomainError(
        'invalid',
        `An image cannot shrink from ${this.#record.sizeBytes} to ${sizeBytes} bytes.`,
      )
    }
    if (this.#record.isStandby === true) {
      throw new DomainError('conflict', `Export ${this.#record.exportId} is in standby; it serves no image.`)
    }
    await this.#save({ growTo: sizeBytes })
    await growImage(this.#record.path, sizeBytes)
    await this.daemon.replace(3000)
  }

  #save(change: Partial<ExportRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change }
    return this.#file.write(this.#record)
  }

  async #prepare(): Promise<Omit<DaemonGraph, 'qmpPath'>> {
    const { growTo, ...rest } = this.#record
    if (growTo !== undefined) {
      await growImage(rest.path, growTo)
      this.#record = { ...rest, sizeBytes: growTo }
      await this.#file.write(this.#record)
    }
    const { imageId, exportName, clientHost, isStandby, sizeBytes } = this.#record
    const objects = [
      tlsCredentials(await this.#context.serverTlsFolder(), 'server'),
      tlsAuthorization(clientDistinguishedName(clientHost ?? '*')),
    ]
    const nbdServer = { tlsCreds: daemonNames.tlsCredentials, tlsAuthz: daemonNames.tlsAuthorization }
    if (isStandby === true) {
      const exports = [nbdExport(daemonNames.throttleNode, exportName, imageId)]
      const blockdevs = [standbyBlockdev(sizeBytes), throttleBlockdev(daemonNames.standbyNode)]
      return { objects: [...objects, throttleGroup({})], nbdServer, blockdevs, exports }
    }
    const exports = [nbdExport(nodeName, exportName, imageId)]
    await waitUntilUnwritten(this.#record.path)
    return { objects, nbdServer, blockdevs: [await this.#blockdev()], exports }
  }
}

const standsBy = async (qmp: QmpClient): Promise<boolean> =>
  (await readGraph(qmp)).standsOn === daemonNames.standbyNode

async function isExported(qmp: QmpClient): Promise<boolean> {
  const found = (await qmp.execute('query-block-exports')) as { id: string; 'shutting-down': boolean }[]
  return found.some((one) => one.id === daemonNames.export && !one['shutting-down'])
}

export const exportPaths = (runDir: string, exportId: string): DaemonPaths => ({
  qmpPath: join(runDir, `${shortName(exportId)}.eq`),
  controlPath: join(runDir, `${shortName(exportId)}.ek`),
})

/** What a crash while an export ended leaves beside its processes. */
export const removeExportRemains = (
  context: Pick<ExportContext, 'logDir' | 'stateDir'>,
  exportId: string,
): void => {
  for (const path of [logPath(context, exportId), markPath(context.stateDir, exportId)])
    rmSync(path, { force: true })
}

const logPath = ({ logDir }: Pick<ExportContext, 'logDir'>, exportId: string): string =>
  join(logDir, `export-${exportId}.log`)

const folderOf = (stateDir: string): string => join(stateDir, 'exports')
const recordPath = (stateDir: string, exportId: string): string =>
  join(folderOf(stateDir), `${exportId}.json`)

/**
 * Beside the record of an export: it serves, whatever its record says yet. Not durable, and need not be: it is for the agent that
 * comes after one that died, and after the machine's next start nothing serves before the control plane asks for it.
 */
const markPath = (stateDir: string, exportId: string): string =>
  join(folderOf(stateDir), `${exportId}.serves`)

const serving = (record: ExportRecord): ExportRecord => {
  const { isStandby: _, ...rest } = record
  return rest
}

export function readExportRecord(stateDir: string, exportId: string): ExportRecord | undefined {
  const record = readJson(recordPath(stateDir, exportId)) as ExportRecord | undefined
  return record !== undefined && existsSync(markPath(stateDir, exportId)) ? serving(record) : record
}

export function exportIds(stateDir: string): string[] {
  ensurePrivateFolder(folderOf(stateDir))
  const names = readdirSync(folderOf(stateDir)).filter((name) => name.endsWith('.json'))
  return names.map((name) => name.slice(0, -'.json'.length))
}
