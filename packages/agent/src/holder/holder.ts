import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError, messageOf } from '@volant/contract'
import type { HolderSpec, HolderStatus, ImageAccess, IoLimits, StandbySpec } from '@volant/contract'
import { probeAio } from '@volant/qemu/capabilities.ts'
import { unreachable } from '@volant/qemu/reach.ts'
import type { RecordFile } from '@volant/qemu/durable-file.ts'
import { QmpError } from '@volant/qemu/qmp.ts'
import type { QmpClient } from '@volant/qemu/qmp.ts'
import {
  daemonNames,
  imageBlockdev,
  nbdExport,
  reconnectDelay,
  standbyBlockdev,
  throttleBlockdev,
  throttleGroup,
  throttleLimits,
  tlsCredentials,
} from '@volant/qemu/storage-daemon.ts'
import type { DaemonGraph } from '@volant/qemu/storage-daemon.ts'
import type { Log } from '../daemon/log.ts'
import { waitUntilClosed } from '../daemon/file-locks.ts'
import { shortName } from '../daemon/names.ts'
import { SupervisedDaemon } from '../daemon/supervised-daemon.ts'
import type { DaemonPaths } from '../daemon/supervised-daemon.ts'
import { freeNodeName, isNodeOf, readGraph } from './graph.ts'
import { endGuard } from './guard.ts'
import { checkImage } from './image-access.ts'
import type { ImageNetwork } from './image-access.ts'
import { registerPath } from './record.ts'
import type { HolderRecord, HolderRecords, Standby } from './record.ts'
import { Register } from './register.ts'
import type { Decision } from './register.ts'

export interface HolderContext {
  /** Whether a newer control plane acts on this state from another process: then daemons are its business. */
  isSuperseded(): boolean
  records: HolderRecords
  network: ImageNetwork
  /** Folder of sockets; short, for a socket's path ends at 107 bytes. */
  runDir: string
  logDir: string
  log: Log
  /** Milliseconds from PENDING after which the guard of a cutover gives it up. */
  decisionMs: number
}

export const holderPaths = (runDir: string, holderId: string): Required<DaemonPaths> => ({
  qmpPath: join(runDir, `${shortName(holderId)}.q`),
  guardPath: join(runDir, `${shortName(holderId)}.g`),
  controlPath: join(runDir, `${shortName(holderId)}.k`),
})

/** SIGTERM lets a daemon flush and close its images; a dead storage node must not hold that up for long. */
const stopGraceMs = 2000
/** Where a node of a revoked export is known to be open, closing it would hang: what can be flushed is by then. */
const stopGraceWithDeadNodesMs = 250

/** One holder: its record, its daemon, and the graph `export → throttle filter → image` inside. */
export class Holder {
  readonly context: HolderContext
  readonly daemon: SupervisedDaemon
  /** When this process asked a job for completion; for the phase that QEMU does not tell. */
  completing: string | undefined
  /** The daemon's clock (ms) when the job had drained the client's I/O: its event WAITING. */
  quiescedAtMs: number | undefined
  /** The attempt that this process has written `committed` for: asked for once, while the client waits. */
  committed: string | undefined
  /** Nodes of earlier sources whose exports were revoked: they can't be closed and end with the daemon. */
  hasDeadNodes = false
  #record: HolderRecord
  readonly #file: RecordFile<HolderRecord>

  constructor(context: HolderContext, record: HolderRecord) {
    this.context = context
    this.#record = record
    this.#file = context.records.file(record.holderId)
    const { runDir, log, network } = context
    this.daemon = new SupervisedDaemon(
      {
        label: `holder ${record.holderId}`,
        ...holderPaths(runDir, record.holderId),
        logPath: this.logPath,
        ...(record.serves ? { listen: { unix: this.socketPath } } : {}),
        ...(network.netns === undefined ? {} : { netns: network.netns }),
        prepare: () => this.#prepare(),
        save: (daemon) => this.save({ daemon }),
        mayRestart: () => this.#record.cutover === undefined,
        isSuperseded: context.isSuperseded,
        log,
      },
      record.daemon,
    )
  }

  static create(context: HolderContext, spec: HolderSpec): Holder {
    const { holderId, volumeId, serves, image, limits = {} } = spec
    const exportName = serves ? { exportName: newExportName() } : {}
    const record: HolderRecord = { holderId, volumeId, serves, image, limits, daemon: {}, ...exportName }
    return new Holder(context, record)
  }

  static createStandby(context: HolderContext, { holderId, volumeId, sizeBytes }: StandbySpec): Holder {
    const owner = { holderId, volumeId, serves: true, exportName: newExportName() }
    return new Holder(context, { ...owner, image: null, standby: { sizeBytes }, limits: {}, daemon: {} })
  }

  get record(): HolderRecord {
    return this.#record
  }

  /** What the daemon is started on. Throws `conflict` in standby. */
  get image(): ImageAccess {
    const { image } = this.#record
    if (image) return image
    throw new DomainError('conflict', `Holder ${this.id} is in standby: it stands on no image.`)
  }

  get id(): string {
    return this.#record.holderId
  }

  get logPath(): string {
    return join(this.context.logDir, `holder-${this.id}.log`)
  }

  get socketPath(): string {
    return join(this.context.runDir, `${shortName(this.#record.holderId)}.n`)
  }

  get stopGraceMs(): number {
    return this.hasDeadNodes ? stopGraceWithDeadNodesMs : stopGraceMs
  }

  get qmp(): QmpClient {
    return this.daemon.qmp
  }

  /** Writes the record down durably before anything relies on it. */
  save(change: Partial<HolderRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change }
    return this.#file.write(this.#record)
  }

  /** For the supervisor of this process alone, where there is no time for the disk; `save` follows. */
  setImageInMemory(image: ImageAccess): void {
    const { standby: _, ...rest } = this.#record
    this.#record = { ...rest, image }
  }

  /** The same, for standby. */
  setStandbyInMemory(standby: Standby): void {
    this.#record = { ...this.#record, image: null, standby }
  }

  /** With its cutover go the attempt's guard and register, after the mark: without it they mean nothing. */
  async forget(...keys: ('mirror' | 'cutover' | 'growTo' | 'pointCopy')[]): Promise<void> {
    const over = keys.includes('cutover') ? this.#record.cutover : undefined
    const rest = { ...this.#record }
    for (const key of keys) delete rest[key]
    this.#record = rest
    await this.#file.write(rest)
    if (over) await this.#endAttempt(over)
  }

  /** The decision register of the attempt that this holder is at. */
  get register(): Register | undefined {
    const { cutover } = this.#record
    return cutover && this.#registerOf(cutover)
  }

  /** Writes the decision about this attempt. Throws `conflict` where the other one was written before. */
  async decide(wanted: Decision): Promise<void> {
    const found = await this.register?.decide(wanted)
    if (found !== undefined && found !== wanted) throw this.decided(found)
  }

  /** Why something that the register's decision contradicts is refused. */
  decided(decision: Decision): DomainError {
    return new DomainError(
      'conflict',
      decision === 'committed'
        ? `The cutover of holder ${this.id} is committed: the target is the truth, and it can only be finalized.`
        : `The cutover of holder ${this.id} was given up: the source is the truth. It can be tried again.`,
    )
  }

  get guardPath(): string {
    return holderPaths(this.context.runDir, this.id).guardPath
  }

  #registerOf({ attempt }: { attempt: string }): Register {
    return new Register(registerPath(this.context.records, this.id, attempt))
  }

  async #endAttempt(cutover: NonNullable<HolderRecord['cutover']>): Promise<void> {
    const register = this.#registerOf(cutover)
    this.committed = undefined
    await endGuard(register.path, cutover.guard)
    await register.remove()
  }

  async status(): Promise<HolderStatus> {
    const { holderId, image, serves, exportName } = this.#record
    const { standsOn } = await readGraph(this.qmp)
    const isStandby = standsOn === daemonNames.standbyNode
    return {
      holderId,
      pid: this.daemon.pid,
      imageId: isStandby ? null : (this.#imageOf(standsOn) ?? image?.imageId ?? null),
      ...(serves && exportName !== undefined ? { socketPath: this.socketPath, exportName } : {}),
    }
  }

  /** The image that the export stands on, as read from the daemon; undefined where that is none we know. */
  async standingImage(): Promise<ImageAccess | undefined> {
    const { image, mirror, cutover } = this.#record
    const { standsOn } = await readGraph(this.qmp)
    for (const candidate of [image, mirror?.target, cutover?.target]) {
      if (candidate && isNodeOf(standsOn, candidate.imageId)) return candidate
    }
    return undefined
  }

  #imageOf(nodeName: string | undefined): string | undefined {
    const { image, mirror, cutover, standby } = this.#record
    const known = [image?.imageId, mirror?.target.imageId, cutover?.target.imageId, standby?.releasedFrom]
    return known.find((imageId) => imageId !== undefined && isNodeOf(nodeName, imageId))
  }

  async setLimits(limits: IoLimits): Promise<void> {
    await this.save({ limits })
    const path = `/objects/${daemonNames.throttleGroup}`
    await this.qmp.execute('qom-set', { path, property: 'limits', value: throttleLimits(limits) })
  }

  /** Ends the daemon for good, and then the record of it. */
  async stop(): Promise<void> {
    const { cutover } = this.#record
    if (cutover) await endGuard(this.#registerOf(cutover).path, cutover.guard)
    await this.daemon.stop(await this.#graceAtEnd())
    for (const image of [this.#record.image, this.#record.mirror?.target, this.#record.pointCopy?.target]) {
      if (image?.kind === 'file') await waitUntilClosed(image.path)
    }
    await this.#file.remove()
    if (cutover) await this.#endAttempt(cutover)
    rmSync(this.logPath, { force: true })
  }

  /**
   * An export that was revoked takes nothing any more: its node would hold the daemon's end up to its last moment. Where
   * the daemon has nothing else open there is nothing that could be flushed.
   */
  async #graceAtEnd(): Promise<number> {
    const { image, mirror, pointCopy, cutover } = this.#record
    if (image?.kind !== 'nbd' || !this.daemon.isAlive) return this.stopGraceMs
    const { netns } = this.context.network
    if ((await unreachable(image, netns, stopGraceWithDeadNodesMs)) === null) return this.stopGraceMs
    const hasMore = mirror !== undefined || pointCopy !== undefined || cutover !== undefined
    return hasMore ? stopGraceWithDeadNodesMs : 0
  }

  /** Ends the daemon without mercy and starts it on `image`: the caller's word on which copy is the truth. */
  async restartOn(image: ImageAccess, change: Partial<HolderRecord> = {}): Promise<void> {
    this.completing = undefined
    await this.daemon.replace(0, async () => {
      void this.save({ image, ...change })
      await this.forget('mirror', 'cutover')
    })
  }

  /** Makes the client's TLS credentials known to a running daemon that was started without them. */
  async ensureTlsCredentials(): Promise<void> {
    const objects = (await this.qmp.execute('qom-list', { path: '/objects' })) as { name: string }[]
    if (objects.some((object) => object.name === daemonNames.tlsCredentials)) return
    const folder = await this.context.network.clientTlsFolder()
    await this.qmp.execute('object-add', tlsCredentials(folder, 'client'))
  }

  /** Closes a node; one that is not there is all right. False where it is still in use or does not close. */
  async closeNode(nodeName: string, timeoutMs = 2000): Promise<boolean> {
    try {
      await this.qmp.execute('blockdev-del', { 'node-name': nodeName }, timeoutMs)
      return true
    } catch (error) {
      if (error instanceof QmpError && !(await readGraph(this.qmp)).nodeNames.includes(nodeName)) return true
      this.context.log.warn(
        { holderId: this.id, nodeName, reason: messageOf(error) },
        'block node does not close',
      )
      return false
    }
  }

  /** Only while no daemon has the image open. */
  async #finishGrowth(): Promise<void> {
    const { image, growTo } = this.#record
    if (growTo === undefined || image === null) return
    if (image.kind === 'file' && (await stat(image.path)).size < growTo) await truncate(image.path, growTo)
    void this.save({ image: { ...image, sizeBytes: growTo } })
    await this.forget('growTo')
  }

  async #prepare(): Promise<Omit<DaemonGraph, 'qmpPath' | 'guardPath'>> {
    await this.#finishGrowth()
    this.hasDeadNodes = false
    const { limits, serves, exportName, volumeId } = this.#record
    const { credentials, nodeName, blockdev } = await this.#ground()
    const objects = [throttleGroup(limits), ...credentials]
    const blockdevs = [blockdev, throttleBlockdev(nodeName)]
    if (!serves) return { objects, blockdevs }
    if (exportName === undefined) throw new DomainError('internal', `Holder ${this.id} has no export name.`)
    const exports = [nbdExport(daemonNames.throttleNode, exportName, volumeId)]
    return { objects, blockdevs, nbdServer: {}, exports }
  }

  /** What the throttle filter stands on at the daemon's start: the image, or the node of standby. */
  async #ground() {
    const { image, standby } = this.#record
    const { network } = this.context
    if (image === null) {
      if (standby === undefined) throw new DomainError('internal', `Holder ${this.id} has no image.`)
      // It does not know yet whether its image will be on another machine, and a host may have no certificate.
      const folder = await network.clientTlsFolder().catch(() => undefined)
      const credentials = folder === undefined ? [] : [tlsCredentials(folder, 'client')]
      return {
        credentials,
        nodeName: daemonNames.standbyNode,
        blockdev: standbyBlockdev(standby.sizeBytes),
      }
    }
    await checkImage(image, network)
    if (image.kind === 'file') await waitUntilClosed(image.path)
    const nodeName = freeNodeName(image.imageId, [])
    const { aio } = await probeAio()
    const options = { nodeName, aio, reconnectDelaySeconds: reconnectDelay.client }
    const credentials =
      image.kind === 'nbd' ? [tlsCredentials(await network.clientTlsFolder(), 'client')] : []
    return { credentials, nodeName, blockdev: imageBlockdev(image, options) }
  }
}

const newExportName = (): string => randomBytes(16).toString('hex')
