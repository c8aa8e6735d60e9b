import { appendFileSync } from 'node:fs'
import { DomainError, messageOf } from '@volant/contract'
import type { IncomingAddress, IncomingRequest, IncomingStatus } from '@volant/contract'
import { listenForMigration, listeningPort, queryMigration, tailOf } from '@volant/qemu'
import type { MigrationInfo } from '@volant/qemu'
import { clientDistinguishedName } from '@volant/qemu/tls/authority.ts'
import { Changes } from './changes.ts'
import { tailOfConsole } from './console-log.ts'
import type { Connection, GuestProcess } from './guest-process.ts'
import type { RunState } from './monitor.ts'
import { diskNames } from './names.ts'
import { announcement } from './outgoing.ts'

const lookAgainMs = 1000
const runStateTimeoutMs = 2000

export interface IncomingContext {
  serverId: string
  /** Where guests are received. */
  dataAddress: string
  /** Name in the certificate that is shown. */
  tlsHostname: string
  serverTlsFolder(): Promise<string>
  accelerator(): Promise<{ accelerator: 'kvm' | 'tcg'; reason?: string }>
}

/**
 * A guest that comes from another host, until it is one like any other. Its changes must not overlap. QEMU itself tells
 * the network of the guest's new place when it has all, which is before it is told to go on: whoever gives the migration up
 * then has to announce the guest where it stays. Where the source ends the connection this QEMU ends, too.
 */
export class IncomingMigration {
  readonly #process: GuestProcess
  readonly #context: IncomingContext
  readonly #changes = new Changes()
  /** All of it is here; nobody but this agent tells it to go on, so its run state stays what it is. */
  #arrived: { migrationId: string; connection: Connection; runState: Promise<RunState> } | undefined

  constructor(process: GuestProcess, context: IncomingContext) {
    this.#process = process
    this.#context = context
  }

  /** The migration that the guest is waited for by. */
  get expected(): string | undefined {
    const { record } = this.#process
    return record?.phase === 'incoming' ? record.incoming?.migrationId : undefined
  }

  async ensure(request: IncomingRequest): Promise<IncomingAddress> {
    requireFitting(request)
    const { migrationId, guest, hardware, sourceMachine, channels } = request
    const present = await this.#address(migrationId)
    if (present !== undefined) return present
    await this.#requireSameAccelerator(request)
    // Asked for first: where there is none, nothing is started.
    const tlsFolder = await this.#context.serverTlsFolder()
    await this.#process.start(guest, { migrationId, hardware, sourceMachine, channels })
    try {
      const { qmp } = await this.#process.connect()
      const host = this.#context.dataAddress
      const clientName = clientDistinguishedName(sourceMachine)
      const port = await listenForMigration(qmp, { host, channels, tlsFolder, clientName })
      return this.#addressAt(port)
    } catch (error) {
      await this.#process.end('it could not listen for its migration')
      throw new DomainError(
        'unavailable',
        `Server ${guest.serverId} cannot be received here: ${messageOf(error)}`,
        { cause: error },
      )
    }
  }

  #addressAt(port: number): IncomingAddress {
    return { host: this.#context.dataAddress, port, tlsHostname: this.#context.tlsHostname }
  }

  /** Of a QEMU that waits already; one that is in no state to do so is ended. */
  async #address(migrationId: string): Promise<IncomingAddress | undefined> {
    const { serverId } = this.#context
    const alive = this.#process.identity() !== undefined
    if (this.expected === undefined) {
      if (!alive) return undefined
      throw new DomainError('conflict', `Server ${serverId} runs on this host already.`)
    }
    if (alive && this.expected !== migrationId) {
      throw new DomainError(
        'conflict',
        `Server ${serverId} is waited for by migration ${this.expected} already.`,
      )
    }
    if (alive) {
      const { qmp } = await this.#process.connect()
      const port = listeningPort(await queryMigration(qmp))
      if (port !== undefined) return this.#addressAt(port)
    }
    await this.#process.end('another attempt to receive it begins')
    return undefined
  }

  async #requireSameAccelerator({ guest, hardware }: IncomingRequest): Promise<void> {
    const { accelerator, reason } = await this.#context.accelerator()
    if (accelerator === hardware.accelerator) return
    throw new DomainError(
      'conflict',
      `Server ${guest.serverId} runs under ${hardware.accelerator}, and this host has ${accelerator}${reason === undefined ? '' : ` (${reason})`}.`,
    )
  }

  async status(migrationId: string): Promise<IncomingStatus> {
    const { record } = this.#process
    if (record?.arrivedBy === migrationId) {
      if (this.#process.identity() !== undefined) return { migrationId, phase: 'running' }
      return { migrationId, phase: 'failed', error: record.reason ?? 'the QEMU process ended' }
    }
    if (record?.incoming?.migrationId !== migrationId) return { migrationId, phase: 'absent' }
    if (this.#process.identity() === undefined) return this.#ended(migrationId)
    if (this.#arrivedBy(migrationId) !== undefined) return { migrationId, phase: 'arrived' }
    let info: MigrationInfo
    let connection: Connection
    try {
      connection = await this.#process.connect()
      info = await queryMigration(connection.qmp)
    } catch (error) {
      if (await this.#process.hasEndedBy(error)) return this.#ended(migrationId)
      throw error
    }
    // Meanwhile it may have become a guest like any other, or have been removed.
    if (this.expected !== migrationId) return this.status(migrationId)
    if (info.status !== 'completed') return { migrationId, phase: 'waiting' }
    // Asked for now: when the guest is told to go on it stands still, and whoever does so would wait for the answer.
    const runState = connection.monitor.runState()
    runState.catch(() => {}) // asked for again where it is needed
    this.#arrived = { migrationId, connection, runState }
    return { migrationId, phase: 'arrived' }
  }

  #arrivedBy(migrationId: string) {
    const arrived = this.#arrived
    return arrived?.migrationId === migrationId && arrived.connection.qmp.isOpen ? arrived : undefined
  }

  #ended(migrationId: string): IncomingStatus {
    const said = tailOf(this.#process.paths.qemuLog).split('\n').at(-1) ?? ''
    const why = this.#process.record?.reason ?? 'the QEMU that waited for the guest ended'
    return { migrationId, phase: 'failed', error: said === '' ? why : `${why}: ${said}` }
  }

  async awaitEnd(migrationId: string, timeoutMs: number): Promise<IncomingStatus> {
    for (const end = performance.now() + timeoutMs; ;) {
      const { count } = this.#changes
      const status = await this.status(migrationId)
      const left = end - performance.now()
      if (status.phase !== 'waiting' || left <= 0) return status
      await this.#changes.after(count, Math.min(left, lookAgainMs))
    }
  }

  /** QEMU told of a new status, or the process ended. */
  note(): void {
    this.#changes.announce()
  }

  /** The guest goes on here; `resume` continues it. `earlierConsole` is what it printed where it comes from. */
  async arrive(
    migrationId: string,
    paused: boolean,
    earlierConsole: string | undefined,
    resume: (connection: Connection, runState?: RunState) => Promise<void>,
  ): Promise<void> {
    const { serverId } = this.#context
    const { phase, error } = await this.status(migrationId)
    if (phase === 'absent' || phase === 'failed') {
      const why = error === undefined ? '' : `: ${error}`
      throw new DomainError('notFound', `Server ${serverId} is not here by migration ${migrationId}${why}.`)
    }
    if (phase === 'waiting') {
      throw new DomainError('conflict', `Server ${serverId} has not arrived; it cannot go on here.`)
    }
    const connection = await this.#process.connect()
    if (phase === 'arrived') {
      const { console } = this.#process.paths
      // QEMU appends to the file, and prints nothing yet.
      if (earlierConsole !== undefined && tailOfConsole(console, 1) === '') {
        appendFileSync(console, earlierConsole)
      }
      const arrived = { phase: 'started', arrivedBy: migrationId, pausedByUser: paused } as const
      this.#process.writeBeside(arrived, 'incoming')
      this.#changes.announce()
    } else this.#process.write({})
    const arrived = phase === 'arrived' ? this.#arrivedBy(migrationId) : undefined
    this.#arrived = undefined
    await resume(connection, await arrived?.runState.catch(() => undefined))
    // QEMU takes it when it comes to it; the guest goes on already.
    if (phase === 'arrived') void connection.qmp.execute('announce-self', announcement).catch(() => {})
  }

  /**
   * Whether there is something of the migration that may be removed: nothing of a guest that arrived. Of one that goes on an
   * agent that has just ended may have written nothing down.
   */
  async isRemovable(migrationId: string): Promise<boolean> {
    const { record } = this.#process
    if (record?.incoming?.migrationId !== migrationId || record.phase === 'started') return false
    if (this.#process.identity() === undefined) return true
    try {
      const { monitor } = await this.#process.connect()
      return (await monitor.runState(runStateTimeoutMs)) !== 'running'
    } catch {
      // It hangs, as one that waits for its guest may: that can't be a guest that was told to go on.
      return true
    }
  }

  close(): void {
    this.#changes.announce()
  }
}

/** Refuses what QEMU would only refuse after the guest's memory was sent, or what is no option of its own. */
const requireFitting = ({ guest, hardware }: IncomingRequest): void => {
  if (guest.rootDisk !== undefined) {
    throw new DomainError(
      'invalid',
      `Server ${guest.serverId} has a root disk of its own on its host, which a live migration does not take along; one that boots from a volume can be migrated.`,
    )
  }
  if (!/^pc-i440fx-\d+\.\d+$/.test(hardware.machine)) {
    throw new DomainError('invalid', `"${hardware.machine}" is no machine type that a guest here can have.`)
  }
  const expected = [
    ...guest.disks.map(({ attachmentId }) => diskNames(attachmentId).device),
    ...guest.nics.map((_nic, index) => `nic${index}`),
  ]
  const wrong = Object.entries(hardware.pciAddresses).find(([, at]) => !/^[0-9a-f]{1,2}\.[0-7]$/.test(at))
  if (wrong !== undefined) throw new DomainError('invalid', `"${wrong[1]}" is no place on a PCI bus.`)
  const strange = Object.keys(hardware.pciAddresses).find((id) => !expected.includes(id))
  if (strange !== undefined) {
    throw new DomainError(
      'conflict',
      `The guest has a device ${strange} that is not among what it is to have here.`,
    )
  }
}
