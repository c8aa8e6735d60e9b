import { setTimeout as sleep } from 'node:timers/promises'
import type {
  ClientProcess,
  DiskLatency,
  GuestDisk,
  GuestHardware,
  GuestSpec,
  GuestStatus,
  IncomingAddress,
  IncomingRequest,
  OutgoingRequest,
} from '@volant/contract'
import { DomainError, messageOf } from '@volant/contract'
import { isAlive } from '@volant/qemu'
import { pluggedIn, plugIn, resizeDisk, unplug } from './disks.ts'
import { GuestProcess } from './guest-process.ts'
import type { Connection, GuestContext } from './guest-process.ts'
import type { GuestRecord } from './guest-record.ts'
import type { RunState } from './monitor.ts'
import { isSafelyCopied } from './command-line.ts'
import { DiskLatencies } from './disk-latency.ts'
import { hardwareOf, memoryBytesOf } from './hardware.ts'
import { IncomingMigration } from './incoming.ts'
import type { GuestPaths } from './names.ts'
import { OutgoingMigration } from './outgoing.ts'
import { askToPowerOff, standsStill, stateOf } from './power.ts'

const statusTimeoutMs = 2000
/** nova's `wait_soft_reboot_seconds`: then the reboot is a hard one. */
const softRebootMs = 120_000
/** Beyond the reconnect delay: what drains the disks may wait for a lost head. */
const drainSlackMs = 10_000
/** QEMU leaves its own standstill within milliseconds of a migration's end. */
const settleTimeoutMs = 5000

/** One server on this host, as the agent's contract speaks of it. Its changes must not overlap. */
export class Guest {
  readonly serverId: string
  readonly #context: GuestContext
  readonly #process: GuestProcess
  readonly #latencies = new DiskLatencies()
  readonly outgoing: OutgoingMigration
  readonly incoming: IncomingMigration
  /** Runs while a soft reboot waits for the guest to power off. */
  #softReboot: NodeJS.Timeout | undefined

  constructor(context: GuestContext, serverId: string) {
    this.#context = context
    this.serverId = serverId
    this.#process = new GuestProcess(context, serverId, {
      onShutdown: (cause) => void this.#afterShutdown(cause),
      onMigration: (status) => {
        this.outgoing.note(status)
        this.incoming.note()
      },
    })
    const { migration, log, accelerator } = context
    const { clientTlsFolder, serverTlsFolder, dataAddress, machine } = migration
    this.outgoing = new OutgoingMigration(this.#process, {
      ...{ serverId, log, machine, clientTlsFolder },
      resume: (connection) => this.#goOn(connection),
    })
    const ends = { dataAddress, tlsHostname: machine, serverTlsFolder }
    this.incoming = new IncomingMigration(this.#process, { serverId, accelerator, ...ends })
  }

  get record(): GuestRecord | undefined {
    return this.#process.record
  }

  get paths(): GuestPaths {
    return this.#process.paths
  }

  /** Takes a QEMU over that an earlier agent started, and looks after what happened meanwhile. */
  async adopt(): Promise<void> {
    if (this.#process.identity() === undefined) {
      this.#process.noteDeath()
      return
    }
    const { monitor } = await this.#process.connect()
    if (this.incoming.expected !== undefined) return
    await this.outgoing.adopt()
    const state = await monitor.runState()
    if (state === 'io-error') void monitor.mend()
    if (state === 'shutdown') await this.#afterShutdown('guest-shutdown')
  }

  /** Nothing changes a guest that is on its way from one host to another. */
  #requireSteady(): void {
    const waited = this.#process.identity() === undefined ? undefined : this.incoming.expected
    const migrationId = this.outgoing.underWay ?? waited
    if (migrationId === undefined) return
    throw new DomainError(
      'conflict',
      `Server ${this.serverId} is being migrated to another host (${migrationId}).`,
    )
  }

  async ensureStarted(spec: GuestSpec): Promise<GuestStatus> {
    this.#requireSteady()
    if (this.#process.identity() !== undefined) await this.adopt()
    if (this.#process.identity() === undefined) await this.#process.start(spec)
    return this.status()
  }

  /** The guest powered itself off: ends the process, or resets it where a soft reboot was asked for. */
  async #afterShutdown(cause: string): Promise<void> {
    const byGuest = cause.startsWith('guest')
    try {
      if (this.#softReboot !== undefined && byGuest) return await this.#reset()
      await this.#process.end(byGuest ? undefined : `QEMU was ended from outside (${cause})`)
      this.#context.log.info({ serverId: this.serverId, cause }, 'guest powered off')
    } catch (error) {
      this.#warn('guest that powered off could not be ended', error)
    }
  }

  async stop(graceMs: number): Promise<void> {
    this.#requireSteady()
    await this.#stop(graceMs)
  }

  async #stop(graceMs: number): Promise<void> {
    if (this.record === undefined) return
    this.#forgetSoftReboot()
    const process = this.#process
    await process.whileEnding(async () => {
      if (graceMs > 0 && process.identity() !== undefined) await this.#askToPowerOff(graceMs)
      await process.end(undefined)
    })
  }

  async #askToPowerOff(graceMs: number): Promise<void> {
    try {
      const { qmp, monitor } = await this.#process.connect()
      if ((await monitor.runState()) === 'running') await askToPowerOff(qmp, graceMs)
    } catch (error) {
      this.#warn('guest could not be asked to power off', error)
    }
  }

  async reboot(how: 'soft' | 'hard'): Promise<void> {
    this.#requireSteady()
    const { qmp, monitor } = await this.#running()
    if (how === 'hard') return this.#reset()
    if ((await monitor.runState()) !== 'running') {
      throw new DomainError('conflict', `Server ${this.serverId} is paused; only a hard reboot is possible.`)
    }
    this.#forgetSoftReboot()
    this.#softReboot = setTimeout(() => {
      this.#reset().catch((error: unknown) => this.#warn('guest could not be reset', error))
    }, softRebootMs)
    this.#softReboot.unref()
    await qmp.execute('system_powerdown')
  }

  async #reset(): Promise<void> {
    this.#forgetSoftReboot()
    const { qmp, monitor } = await this.#process.connect()
    await qmp.execute('system_reset', {}, this.#drainTimeoutMs())
    await this.#process.exclusively(async () => {
      this.#process.write({ pausedByUser: false })
      if ((await monitor.runState()) !== 'running') await qmp.execute('cont')
    })
  }

  #forgetSoftReboot(): void {
    clearTimeout(this.#softReboot)
    this.#softReboot = undefined
  }

  #drainTimeoutMs(): number {
    return this.#context.reconnectDelaySeconds * 1000 + drainSlackMs
  }

  async setPaused(paused: boolean): Promise<void> {
    this.#requireSteady()
    const { qmp, monitor } = await this.#running()
    await this.#process.exclusively(async () => {
      this.#process.write({ pausedByUser: paused })
      const state = await monitor.runState()
      if (paused && state === 'running') await qmp.execute('stop', {}, this.#drainTimeoutMs())
      if (!paused && standsStill(state)) await qmp.execute('cont')
    })
    if (!paused) void monitor.mend()
  }

  async hardware(): Promise<GuestHardware> {
    const { qmp } = await this.#running()
    const accelerator = this.record?.accelerator ?? 'tcg'
    if (!isSafelyCopied(await memoryBytesOf(qmp), accelerator)) {
      throw new DomainError(
        'conflict',
        `Server ${this.serverId} was started by an older Volant, with a memory that QEMU cannot copy safely while it runs: stop the server, and start it again.`,
      )
    }
    return hardwareOf(qmp, accelerator)
  }

  async latency(): Promise<DiskLatency[]> {
    const { qmp } = await this.#running()
    return this.#latencies.read(qmp, this.record?.spec.disks ?? [])
  }

  async ensureIncoming(request: IncomingRequest): Promise<IncomingAddress> {
    return this.incoming.ensure(request)
  }

  async ensureArrived(migrationId: string, paused: boolean, earlierConsole?: string): Promise<void> {
    await this.incoming.arrive(migrationId, paused, earlierConsole, (connection, runState) =>
      this.#goOn(connection, runState),
    )
  }

  async ensureNoIncoming(migrationId: string): Promise<void> {
    if (await this.incoming.isRemovable(migrationId)) await this.remove()
  }

  async ensureMigration(request: OutgoingRequest): Promise<void> {
    const connection = await this.#running()
    if (this.#softReboot !== undefined) {
      throw new DomainError('conflict', `Server ${this.serverId} is being rebooted; try again after that.`)
    }
    if ((await connection.monitor.runState()) === 'postmigrate' && this.outgoing.record === undefined) {
      throw new DomainError(
        'conflict',
        `Server ${this.serverId} was paused when an earlier migration of it was given up at its end; it must be unpaused first.`,
      )
    }
    await this.outgoing.begin(connection, request)
  }

  ensureMigrationAbandoned(migrationId: string): Promise<void> {
    return this.outgoing.abandon(migrationId)
  }

  /** Continues a guest that stands still because of a migration, unless its user paused it. */
  async #goOn({ qmp, monitor }: Connection, known?: RunState): Promise<void> {
    await this.#process.exclusively(async () => {
      let state = known ?? (await monitor.runState())
      const end = performance.now() + settleTimeoutMs
      while (state === 'finish-migrate' && performance.now() < end) {
        await sleep(20)
        state = await monitor.runState()
      }
      if (this.record?.pausedByUser === true || !standsStill(state)) return
      await qmp.execute('cont', {}, this.#drainTimeoutMs())
    })
    void monitor.mend()
  }

  async #running(): Promise<Connection> {
    if (this.record === undefined) {
      throw new DomainError('notFound', `Server ${this.serverId} is not on this host.`)
    }
    if (this.#process.identity() === undefined) {
      throw new DomainError('conflict', `Server ${this.serverId} is stopped; it must run for this.`)
    }
    if (this.incoming.expected !== undefined) this.#requireSteady()
    return this.#process.connect()
  }

  async ensureDisk(disk: GuestDisk): Promise<void> {
    this.#requireSteady()
    const { qmp } = await this.#running()
    const others = this.#disksWithout(disk.attachmentId)
    this.#writeDisks([...others, disk])
    try {
      await plugIn(qmp, disk, this.#context.reconnectDelaySeconds)
    } catch (error) {
      if (qmp.isOpen && (await pluggedIn(qmp, [disk.attachmentId])).length === 0) this.#writeDisks(others)
      throw error
    }
  }

  async ensureNoDisk(attachmentId: string, timeoutMs: number): Promise<void> {
    this.#requireSteady()
    if (this.#process.identity() !== undefined) {
      const { qmp } = await this.#process.connect()
      await unplug(qmp, attachmentId, timeoutMs)
    }
    this.#writeDisks(this.#disksWithout(attachmentId))
  }

  async ensureDiskSize(attachmentId: string, sizeBytes: number): Promise<void> {
    this.#requireSteady()
    const { qmp } = await this.#running()
    await resizeDisk(qmp, attachmentId, sizeBytes)
  }

  #disksWithout(attachmentId: string): GuestDisk[] {
    return (this.record?.spec.disks ?? []).filter((disk) => disk.attachmentId !== attachmentId)
  }

  #writeDisks(disks: GuestDisk[]): void {
    if (this.record !== undefined) this.#process.write({ spec: { ...this.record.spec, disks } })
  }

  async status(): Promise<GuestStatus> {
    const { serverId, record } = this
    if (record === undefined) return { serverId, state: 'absent', diskAttachmentIds: [] }
    const identity = this.#process.identity()
    if (identity === undefined) return this.#stoppedStatus()
    const ids = record.spec.disks.map((disk) => disk.attachmentId)
    const migrationId =
      record.outgoing?.request.migrationId ?? record.incoming?.migrationId ?? record.arrivedBy
    const base = {
      serverId,
      pid: identity.pid,
      accelerator: record.accelerator,
      ...(migrationId === undefined ? {} : { migrationId }),
      ...(record.outgoing === undefined ? {} : { isLeaving: true as const }),
    }
    if (this.incoming.expected !== undefined) return { ...base, state: 'incoming', diskAttachmentIds: ids }
    return this.#runningStatus({ ...base, process: identity }, ids)
  }

  async #runningStatus(
    base: Omit<GuestStatus, 'state' | 'diskAttachmentIds'> & { process: ClientProcess },
    ids: string[],
  ): Promise<GuestStatus> {
    try {
      const { qmp, monitor } = await this.#process.connect()
      const state = stateOf(await monitor.runState(statusTimeoutMs), {
        pausedByUser: this.record?.pausedByUser ?? false,
        fault: monitor.fault,
        rebooting: this.#softReboot !== undefined,
        migrating: this.record?.outgoing !== undefined,
      })
      return { ...base, ...state, diskAttachmentIds: await pluggedIn(qmp, ids) }
    } catch (error) {
      if (!isAlive(base.process)) return this.#stoppedStatus()
      const reason = `its monitor does not answer: ${messageOf(error)}`
      return { ...base, state: 'running', diskAttachmentIds: ids, reason }
    }
  }

  #stoppedStatus(): GuestStatus {
    this.#process.noteDeath()
    const { serverId, record } = this
    const why = record?.reason === undefined ? {} : { reason: record.reason }
    return { serverId, state: 'stopped', diskAttachmentIds: [], ...why }
  }

  #warn(message: string, error: unknown): void {
    this.#context.log.warn({ serverId: this.serverId, reason: messageOf(error) }, message)
  }

  /** Stops the guest and removes its files. */
  async remove(): Promise<void> {
    await this.#stop(0)
    this.#process.remove()
  }

  /** Lets go of the guest; it runs on. */
  close(): void {
    this.#forgetSoftReboot()
    this.outgoing.close()
    this.incoming.close()
    this.#process.close()
  }
}
