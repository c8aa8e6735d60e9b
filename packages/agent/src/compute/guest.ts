import type { GuestDisk, GuestSpec, GuestStatus } from '@volant/contract'
import { DomainError, messageOf } from '@volant/contract'
import { isAlive } from '@volant/qemu'
import { pluggedIn, plugIn, resizeDisk, unplug } from './disks.ts'
import { GuestProcess } from './guest-process.ts'
import type { Connection, GuestContext } from './guest-process.ts'
import type { GuestRecord } from './guest-record.ts'
import type { GuestPaths } from './names.ts'
import { askToPowerOff, stateOf } from './power.ts'

const statusTimeoutMs = 2000
/** nova's `wait_soft_reboot_seconds`: then the reboot is a hard one. */
const softRebootMs = 120_000
/** Beyond the reconnect delay: what drains the disks may wait for a lost head. */
const drainSlackMs = 10_000

/** One server on this host, as the agent's contract speaks of it. Its changes must not overlap. */
export class Guest {
  readonly serverId: string
  readonly #context: GuestContext
  readonly #process: GuestProcess
  /** Runs while a soft reboot waits for the guest to power off. */
  #softReboot: NodeJS.Timeout | undefined

  constructor(context: GuestContext, serverId: string) {
    this.#context = context
    this.serverId = serverId
    this.#process = new GuestProcess(context, serverId, (cause) => void this.#afterShutdown(cause))
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
    const state = await monitor.runState()
    if (state === 'io-error') void monitor.mend()
    if (state === 'shutdown') await this.#afterShutdown('guest-shutdown')
  }

  async ensureStarted(spec: GuestSpec): Promise<GuestStatus> {
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
    const { qmp, monitor } = await this.#running()
    await this.#process.exclusively(async () => {
      this.#process.write({ pausedByUser: paused })
      const state = await monitor.runState()
      if (paused && state === 'running') await qmp.execute('stop', {}, this.#drainTimeoutMs())
      if (!paused && state === 'paused') await qmp.execute('cont')
    })
    if (!paused) void monitor.mend()
  }

  async #running(): Promise<Connection> {
    if (this.record === undefined) {
      throw new DomainError('notFound', `Server ${this.serverId} is not on this host.`)
    }
    if (this.#process.identity() === undefined) {
      throw new DomainError('conflict', `Server ${this.serverId} is stopped; it must run for this.`)
    }
    return this.#process.connect()
  }

  async ensureDisk(disk: GuestDisk): Promise<void> {
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
    if (this.#process.identity() !== undefined) {
      const { qmp } = await this.#process.connect()
      await unplug(qmp, attachmentId, timeoutMs)
    }
    this.#writeDisks(this.#disksWithout(attachmentId))
  }

  async ensureDiskSize(attachmentId: string, sizeBytes: number): Promise<void> {
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
    const base = { serverId, pid: identity.pid, process: identity, accelerator: record.accelerator }
    const ids = record.spec.disks.map((disk) => disk.attachmentId)
    try {
      const { qmp, monitor } = await this.#process.connect()
      const state = stateOf(await monitor.runState(statusTimeoutMs), {
        pausedByUser: this.record?.pausedByUser ?? false,
        fault: monitor.fault,
        rebooting: this.#softReboot !== undefined,
      })
      return { ...base, ...state, diskAttachmentIds: await pluggedIn(qmp, ids) }
    } catch (error) {
      if (!isAlive(identity)) return this.#stoppedStatus()
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
    await this.stop(0)
    this.#process.remove()
  }

  /** Lets go of the guest; it runs on. */
  close(): void {
    this.#forgetSoftReboot()
    this.#process.close()
  }
}
