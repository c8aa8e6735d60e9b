import { join } from 'node:path'
import { DomainError } from '@volant/contract'
import type {
  Caller,
  ClientProcess,
  CutoverDecision,
  CutoverReport,
  HolderAgent,
  HolderSpec,
  HolderStatus,
  ImageAccess,
  InventoryItem,
  IoLimits,
  MirrorRequest,
  MirrorStatus,
  PointCopyRequest,
  PointCopyStatus,
  Pending,
  StandbySpec,
} from '@volant/contract'
import { ensurePrivateFolder } from '@volant/qemu/durable-file.ts'
import { unreachable } from '@volant/qemu/reach.ts'
import { asDomainError } from '../daemon/errors.ts'
import { silentLog } from '../daemon/log.ts'
import type { Log } from '../daemon/log.ts'
import { requireSafeId, requireShortRunDir, requireSize, requireUuid } from '../daemon/names.ts'
import { createSerial } from '../daemon/serial.ts'
import { endUnrecorded } from '../daemon/supervised-daemon.ts'
import { removeParts } from '../inventory/daemons.ts'
import { neverRemoved } from '../inventory/unclaimed.ts'
import { createFenceGuard, onSuperseded } from '../fence-guard.ts'
import type { FenceGuard } from '../fence-guard.ts'
import { abandonCutover, commitCutover, cutoverDecision, finalizeCutover, prepareCutover } from './cutover.ts'
import { ensureHolder } from './ensure.ts'
import { growHolder } from './grow.ts'
import { sweepRegisters } from './guard.ts'
import { Holder, holderPaths } from './holder.ts'
import type { HolderContext } from './holder.ts'
import { findStrayHolder, holderInventory, removeStrayRegister } from './inventory.ts'
import type { HolderPlaces } from './inventory.ts'
import { dropMirror, mirrorStatus, pauseMirror, setMirrorRate, startMirror } from './mirror.ts'
import { dropPointCopy, pointCopyStatus, requireNoPointCopy, startPointCopy } from './point-copy.ts'
import { openHolderRecords } from './record.ts'
import { ensureStandby, releaseHolder } from './standby.ts'

export interface HolderAgentOptions {
  host: string
  /** Records and logs; private to the service's user. */
  stateDir: string
  /** Sockets; at most 60 characters, for a socket's path ends at 107 bytes. */
  runDir: string
  /** Network namespace that the daemons run in, as a path such as /run/netns/host1. */
  netns?: string
  /** Folder of this host's client certificate, asked for when the first remote image is opened. */
  clientTlsFolder?: () => Promise<string>
  /**
   * Milliseconds from a cutover's PENDING after which its guard decides, where nobody did. 3000: the probe may take
   * 2000 of them. With the window it is the longest that a client is ever held.
   */
  decisionMs?: number
  log?: Log
}

export interface LocalHolderAgent extends HolderAgent {
  readonly host: string
  /** Holders that a record exists for, running or not. */
  recordedIds(): string[]
  /**
   * Finds the running daemons of all recorded holders and watches them; those that are dead wait for `ensureHolder`.
   * Ends and removes what a crash left of cutovers that are over.
   */
  adopt(): Promise<void>
  /** Leaves all daemons to themselves, for the end of this process. */
  detach(): void
}

/** Holders of this machine: one storage daemon each, which outlives this process. */
export const createHolderAgent = (options: HolderAgentOptions): LocalHolderAgent => new HostHolders(options)

class HostHolders implements LocalHolderAgent {
  readonly host: string
  readonly #context: HolderContext
  readonly #places: HolderPlaces
  readonly #guard: FenceGuard
  readonly #holders = new Map<string, Holder>()
  /** `performance.now()` when the client's pause can have begun at the earliest; means nothing to another process. */
  readonly #quiescedSince = new Map<string, number>()
  readonly #serial = createSerial()

  constructor(options: HolderAgentOptions) {
    const { host, stateDir, runDir, netns, decisionMs = 3000, log = silentLog } = options
    this.host = host
    const logDir = join(stateDir, 'log')
    for (const folder of [stateDir, requireShortRunDir(runDir), logDir]) ensurePrivateFolder(folder)
    const noTls = (): Promise<string> =>
      Promise.reject(
        new DomainError('unavailable', `Host ${host} has no certificate for images on other machines.`),
      )
    const network = {
      clientTlsFolder: options.clientTlsFolder ?? noTls,
      ...(netns === undefined ? {} : { netns }),
    }
    const guard = createFenceGuard(join(stateDir, 'holder-fence.json'))
    this.#guard = guard
    onSuperseded(guard, () => this.detach())
    const records = openHolderRecords(stateDir)
    this.#places = { stateDir, runDir, logDir }
    this.#context = {
      records,
      network,
      runDir,
      logDir,
      log,
      decisionMs,
      isSuperseded: () => guard.isSuperseded(),
    }
  }

  recordedIds(): string[] {
    return this.#context.records.ids()
  }

  async adopt(): Promise<void> {
    const { records } = this.#context
    const registers = this.recordedIds().map((holderId) => this.#find(holderId)?.register?.path ?? '')
    await sweepRegisters(records.registers, new Set(registers))
    for (const holderId of this.recordedIds()) {
      await this.#serial(holderId, () => this.#adopt(holderId)).catch((error: unknown) => {
        this.#context.log.warn({ holderId, error }, 'holder was not adopted')
      })
    }
  }

  /** As a supervisor that was never away: one that died is started, but not at a cutover, nor after a reboot. */
  async #adopt(holderId: string): Promise<void> {
    const holder = this.#find(holderId)
    if (!holder) return
    const { daemon, record } = holder
    if (daemon.isAlive) await daemon.reach()
    else if (daemon.isOfThisBoot && record.cutover === undefined) await daemon.ensureRunning()
  }

  detach(): void {
    for (const holder of this.#holders.values()) holder.daemon.detach()
  }

  async ensureHolder(caller: Caller, spec: HolderSpec): Promise<HolderStatus> {
    requireSafeId('holder id', spec.holderId)
    requireUuid('image id', spec.image.imageId)
    requireSize(spec.image.sizeBytes)
    return this.#change(caller, spec.holderId, async () => {
      const holder = this.#find(spec.holderId) ?? Holder.create(this.#context, spec)
      this.#holders.set(spec.holderId, holder)
      return ensureHolder(holder, spec)
    })
  }

  async ensureStandby(caller: Caller, spec: StandbySpec): Promise<HolderStatus> {
    requireSafeId('holder id', spec.holderId)
    requireSize(spec.sizeBytes)
    return this.#change(caller, spec.holderId, async () => {
      const holder = this.#find(spec.holderId) ?? Holder.createStandby(this.#context, spec)
      this.#holders.set(spec.holderId, holder)
      return ensureStandby(holder, spec)
    })
  }

  async ensureReleased(caller: Caller, holderId: string): Promise<void> {
    return this.#changeHolder(caller, holderId, releaseHolder)
  }

  async unreachable(host: string, port: number): Promise<string | null> {
    return unreachable({ host, port }, this.#context.network.netns)
  }

  async ensureNoHolder(caller: Caller, holderId: string): Promise<void> {
    return this.#change(caller, holderId, async () => {
      const holder = this.#find(holderId)
      await (holder ? holder.stop() : endUnrecorded(holderPaths(this.#context.runDir, holderId)))
      this.#holders.delete(holderId)
    })
  }

  async holderStatus(holderId: string): Promise<HolderStatus | undefined> {
    const holder = this.#find(holderId)
    if (!holder?.daemon.isAlive) return undefined
    return asDomainError(async () => {
      await holder.daemon.reach()
      return holder.status()
    })
  }

  async listHolders(): Promise<HolderStatus[]> {
    const found = await Promise.all(this.recordedIds().map((holderId) => this.holderStatus(holderId)))
    return found.filter((status) => status !== undefined)
  }

  async ensureLimits(caller: Caller, holderId: string, limits: IoLimits): Promise<void> {
    return this.#changeHolder(caller, holderId, (holder) => holder.setLimits(limits))
  }

  async ensureSize(caller: Caller, holderId: string, sizeBytes: number): Promise<void> {
    return this.#changeHolder(caller, holderId, (holder) => growHolder(holder, requireSize(sizeBytes)))
  }

  async ensureMirror(caller: Caller, request: MirrorRequest): Promise<void> {
    requireSafeId('job id', request.jobId)
    requireUuid('image id', request.target.imageId)
    return this.#changeHolder(caller, request.holderId, async (holder) => {
      await requireNoPointCopy(holder)
      await startMirror(holder, request)
    })
  }

  async ensureNoMirror(caller: Caller, holderId: string, jobId: string): Promise<void> {
    return this.#change(caller, holderId, () => this.#endMirror(holderId, jobId))
  }

  async #endMirror(holderId: string, jobId: string): Promise<void> {
    const holder = this.#find(holderId)
    if (!holder) return
    if (holder.daemon.isAlive) await dropMirror(await this.#reach(holderId), jobId)
    else if (holder.record.mirror?.jobId === jobId && !holder.record.cutover) await holder.forget('mirror')
  }

  async ensurePointCopy(caller: Caller, request: PointCopyRequest): Promise<void> {
    requireSafeId('job id', request.jobId)
    requireUuid('image id', request.target.imageId)
    return this.#changeHolder(caller, request.holderId, (holder) => startPointCopy(holder, request))
  }

  /** In its turn: a look may bring the copy to its end. */
  async pointCopyStatus(holderId: string, jobId: string): Promise<PointCopyStatus> {
    return this.#serial(holderId, () =>
      asDomainError(async () => {
        const holder = this.#find(holderId)
        if (!holder) return { phase: 'absent', doneBytes: 0, totalBytes: 0 } as const
        return pointCopyStatus(await this.#reach(holderId), jobId)
      }),
    )
  }

  async ensureNoPointCopy(caller: Caller, holderId: string, jobId: string): Promise<void> {
    return this.#change(caller, holderId, () => this.#endPointCopy(holderId, jobId))
  }

  async #endPointCopy(holderId: string, jobId: string): Promise<void> {
    if (this.#find(holderId)) await dropPointCopy(await this.#reach(holderId), jobId)
  }

  async mirrorStatus(holderId: string, jobId: string): Promise<MirrorStatus> {
    return asDomainError(async () => mirrorStatus(await this.#reach(holderId), jobId))
  }

  async setMirrorRate(caller: Caller, holderId: string, jobId: string, rate: number): Promise<void> {
    return this.#changeHolder(caller, holderId, (holder) => setMirrorRate(holder, jobId, rate))
  }

  async ensureMirrorPaused(caller: Caller, holderId: string, jobId: string, paused: boolean): Promise<void> {
    return this.#changeHolder(caller, holderId, (holder) => pauseMirror(holder, jobId, paused))
  }

  async prepareCutover(
    caller: Caller,
    holderId: string,
    jobId: string,
    windowMs: number,
    client?: ClientProcess,
  ): Promise<Pending> {
    return this.#changeHolder(caller, holderId, async (holder) => {
      const { drainMs, quiescedSince } = await prepareCutover(holder, jobId, windowMs, client)
      if (!this.#quiescedSince.has(holderId)) this.#quiescedSince.set(holderId, quiescedSince)
      return { drainMs }
    })
  }

  async commitCutover(caller: Caller, holderId: string, jobId: string): Promise<void> {
    return this.#changeHolder(caller, holderId, (holder) => commitCutover(holder, jobId))
  }

  async cutoverDecision(caller: Caller, holderId: string, jobId: string): Promise<CutoverDecision> {
    return this.#change(caller, holderId, async () => {
      const holder = this.#find(holderId)
      return holder ? cutoverDecision(holder, jobId) : 'none'
    })
  }

  async finalizeCutover(
    caller: Caller,
    holderId: string,
    jobId: string,
    target: ImageAccess,
  ): Promise<CutoverReport> {
    return this.#changeHolder(caller, holderId, async (holder) => {
      const report = await finalizeCutover(holder, jobId, target, this.#quiescedSince.get(holderId))
      this.#quiescedSince.delete(holderId)
      return report
    })
  }

  async abandonCutover(caller: Caller, holderId: string, jobId: string): Promise<void> {
    return this.#changeHolder(caller, holderId, async (holder) => {
      this.#quiescedSince.delete(holderId)
      await abandonCutover(holder, jobId)
    })
  }

  async inventory(): Promise<InventoryItem[]> {
    return holderInventory(this.#places, this.#context.records)
  }

  async removeStray(caller: Caller, item: InventoryItem): Promise<void> {
    const { kind, holderId, jobId } = item
    const known = kind === 'holder' || kind === 'mirror' || kind === 'register' || kind === 'remains'
    if (!known || holderId === undefined) throw neverRemoved(item)
    return this.#change(caller, holderId, async () => {
      if (kind === 'register') return removeStrayRegister(this.#places, this.#context.records, item)
      const parts = await findStrayHolder(this.#places, this.#context.records, item)
      if (parts === undefined) return
      if (kind === 'mirror') {
        await this.#endPointCopy(holderId, jobId ?? '')
        return this.#endMirror(holderId, jobId ?? '')
      }
      await (parts.record && this.#find(holderId)?.stop())
      this.#holders.delete(holderId)
      await removeParts(parts)
    })
  }

  /** The holder as this process knows it, or as its record does. */
  #find(holderId: string): Holder | undefined {
    const known = this.#holders.get(requireSafeId('holder id', holderId))
    if (known) return known
    const record = this.#context.records.read(holderId)
    if (!record) return undefined
    const holder = new Holder(this.#context, record)
    this.#holders.set(holderId, holder)
    return holder
  }

  /** A holder with its monitor open, where its daemon lives; a dead one is not started here. */
  async #reach(holderId: string): Promise<Holder> {
    const holder = this.#find(holderId)
    if (!holder) throw new DomainError('notFound', `There is no holder ${holderId} on host ${this.host}.`)
    if (holder.daemon.isAlive) await holder.daemon.reach()
    return holder
  }

  /** Changes of one holder come one after the other, and only from the newest control plane. */
  #change<T>(caller: Caller, holderId: string, task: () => Promise<T>): Promise<T> {
    this.#guard.admit(caller)
    return this.#serial(holderId, () => {
      // Again: another control plane may have taken over while the call waited for its turn.
      this.#guard.admit(caller)
      return asDomainError(task)
    })
  }

  #changeHolder<T>(caller: Caller, holderId: string, task: (holder: Holder) => Promise<T>): Promise<T> {
    return this.#change(caller, holderId, async () => task(await this.#reach(holderId)))
  }
}
