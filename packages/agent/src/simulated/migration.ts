import { DomainError } from '@volant/contract'
import type {
  GuestHardware,
  GuestSpec,
  IncomingAddress,
  IncomingRequest,
  IncomingStatus,
  MigrationLimits,
  MigrationPhase,
  MigrationStatus,
  OutgoingRequest,
} from '@volant/contract'

/** What a test may do to the live migrations of a simulated compute host. */
export interface MigrationControls {
  /** The copy does not end by itself: it goes on at `advanceMigration`. */
  holdMigrations(held: boolean): void
  /** Source: the memory is copied and the guest stands still, at `pre-switchover`. */
  advanceMigration(serverId: string): void
  /** Source: QEMU gives the migration up, and the guest goes on here. */
  failMigration(serverId: string, error: string): void
  /** Source: nobody said `beginSwitchover` in time. Throws where it was said. */
  expireSwitchover(serverId: string): void
  /** The phase at the source; `absent` where there is none. */
  migrationPhase(serverId: string): MigrationPhase
  limitsOf(serverId: string): MigrationLimits | undefined
  /** What the guest was asked to come with. */
  incomingRequest(serverId: string): IncomingRequest | undefined
}

/** The guest as the host keeps it; an incoming one becomes one like any other by `ensureArrived`. */
interface MigratingGuest {
  spec: GuestSpec
  state: string
}

export interface MigratingHost<G extends MigratingGuest> {
  host: string
  accelerator: 'kvm' | 'tcg'
  guests: Map<string, G>
  /** Throws `notFound` or `conflict` where the guest does not run. */
  running(serverId: string): G
  /** Makes a guest in state `incoming`. */
  receive(spec: GuestSpec): void
  setState(serverId: string, state: 'running' | 'paused'): void
}

interface Outgoing {
  request: OutgoingRequest
  phase: Exclude<MigrationPhase, 'absent'>
  paused: boolean
  error?: string
}

interface Incoming {
  request: IncomingRequest
  address: IncomingAddress
  phase: Exclude<IncomingStatus['phase'], 'absent'>
  error?: string
}

/** Simulated agents find each other here, as real ones do at an address. */
const listening = new Map<number, { arrive: () => boolean; lose: () => void }>()
let nextPort = 40_000
const memoryBytes = 128 * 2 ** 20

/** The live migrations of one simulated compute host: the phases, refusals and idempotence of the real agent's. */
export class SimulatedMigrations<G extends MigratingGuest> {
  readonly #host: MigratingHost<G>
  readonly #outgoing = new Map<string, Outgoing>()
  readonly #incoming = new Map<string, Incoming>()
  readonly #waiters = new Set<() => void>()
  #held = false

  constructor(host: MigratingHost<G>) {
    this.#host = host
  }

  readonly controls: MigrationControls = {
    holdMigrations: (held) => void (this.#held = held),
    advanceMigration: (serverId) => {
      const outgoing = this.#outgoing.get(serverId)
      if (outgoing?.phase !== 'copying') throw new Error(`${serverId} is not being copied`)
      this.#change(outgoing, 'pre-switchover')
    },
    failMigration: (serverId, error) => this.#fail(serverId, error),
    expireSwitchover: (serverId) => {
      if (this.#outgoing.get(serverId)?.phase !== 'pre-switchover') {
        throw new Error(`${serverId} is not at pre-switchover`)
      }
      this.#fail(serverId, 'nobody went on with it within 3 s')
    },
    migrationPhase: (serverId) => this.#outgoing.get(serverId)?.phase ?? 'absent',
    limitsOf: (serverId) => this.#outgoing.get(serverId)?.request.limits,
    incomingRequest: (serverId) => this.#incoming.get(serverId)?.request,
  }

  #change(outgoing: Outgoing, phase: Outgoing['phase'], error?: string): void {
    outgoing.phase = phase
    if (error !== undefined) outgoing.error = error
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiters) wake()
    this.#waiters.clear()
  }

  /** Returns when something changed, or after `timeoutMs`. */
  #changed(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#waiters.add(() => (clearTimeout(timer), resolve()))
    })
  }

  #fail(serverId: string, error: string): void {
    const outgoing = this.#outgoing.get(serverId)
    if (outgoing === undefined) throw new Error(`${serverId} is not being migrated`)
    this.#giveUp(outgoing, error)
    this.#goOn(serverId, outgoing.paused)
  }

  /** The destination's QEMU ends when its source's connection does. */
  #giveUp(outgoing: Outgoing, error: string): void {
    this.#change(outgoing, 'failed', error)
    listening.get(outgoing.request.to.port)?.lose()
  }

  #lose(serverId: string, error: string): void {
    const incoming = this.#incoming.get(serverId)
    if (incoming === undefined || incoming.phase === 'running') return
    listening.delete(incoming.address.port)
    incoming.phase = 'failed'
    incoming.error = error
    const guest = this.#host.guests.get(serverId)
    if (guest !== undefined) guest.state = 'stopped'
    this.#wake()
  }

  #goOn(serverId: string, paused: boolean): void {
    const guest = this.#host.guests.get(serverId)
    if (guest !== undefined && guest.state !== 'stopped') {
      this.#host.setState(serverId, paused ? 'paused' : 'running')
    }
  }

  /** The migration that keeps the guest from being changed. */
  underWay(serverId: string): string | undefined {
    const outgoing = this.#outgoing.get(serverId)
    if (outgoing !== undefined && outgoing.phase !== 'failed') return outgoing.request.migrationId
    const incoming = this.#incoming.get(serverId)
    return incoming !== undefined && incoming.phase !== 'running' ? incoming.request.migrationId : undefined
  }

  /** The guest's process is gone, or its files too. */
  noteEnd(serverId: string, removed: boolean): void {
    const outgoing = this.#outgoing.get(serverId)
    if (outgoing !== undefined) this.#giveUp(outgoing, 'the QEMU process died')
    this.#lose(serverId, 'the QEMU process died')
    if (removed) {
      this.#outgoing.delete(serverId)
      this.#incoming.delete(serverId)
    }
    this.#wake()
  }

  /** Of the migration that is under way with the guest, or that it came by. */
  migrationIdOf(serverId: string): string | undefined {
    return (this.#outgoing.get(serverId) ?? this.#incoming.get(serverId))?.request.migrationId
  }

  isLeaving(serverId: string): boolean {
    return this.#outgoing.has(serverId)
  }

  hardware(serverId: string): GuestHardware {
    const { spec } = this.#host.running(serverId)
    const addresses = spec.disks.map(({ attachmentId }, index) => [attachmentId, `0${index + 4}.0`] as const)
    return {
      machine: 'pc-i440fx-7.2',
      accelerator: this.#host.accelerator,
      pciAddresses: Object.fromEntries(addresses),
    }
  }

  ensureIncoming(request: IncomingRequest): IncomingAddress {
    const { migrationId, guest } = request
    const { serverId } = guest
    const present = this.#incoming.get(serverId)
    const there = this.#host.guests.get(serverId)
    if (present !== undefined && there?.state === 'incoming') {
      if (present.request.migrationId === migrationId) return present.address
      throw new DomainError(
        'conflict',
        `Server ${serverId} is waited for by migration ${present.request.migrationId} already.`,
      )
    }
    if (there !== undefined && there.state !== 'stopped') {
      throw new DomainError('conflict', `Server ${serverId} runs on ${this.#host.host}.`)
    }
    const port = nextPort++
    const address = { host: '127.0.0.1', port, tlsHostname: this.#host.host }
    const incoming: Incoming = { request, address, phase: 'waiting' }
    this.#incoming.set(serverId, incoming)
    listening.set(port, {
      arrive: () => this.#arrive(incoming),
      lose: () => this.#lose(serverId, 'the source ended the connection'),
    })
    this.#host.receive(guest)
    return address
  }

  #arrive(incoming: Incoming): boolean {
    listening.delete(incoming.address.port)
    if (incoming.phase !== 'waiting') return false
    incoming.phase = 'arrived'
    this.#wake()
    return true
  }

  async awaitIncoming(serverId: string, migrationId: string, timeoutMs: number): Promise<IncomingStatus> {
    const phase = (): IncomingStatus['phase'] => {
      const incoming = this.#incoming.get(serverId)
      return incoming?.request.migrationId === migrationId ? incoming.phase : 'absent'
    }
    const end = performance.now() + timeoutMs
    for (let left = timeoutMs; phase() === 'waiting' && left > 0; left = end - performance.now()) {
      await this.#changed(left)
    }
    const error = this.#incoming.get(serverId)?.error
    return { migrationId, phase: phase(), ...(error === undefined ? {} : { error }) }
  }

  ensureArrived(serverId: string, migrationId: string, paused: boolean): void {
    const incoming = this.#incoming.get(serverId)
    if (incoming?.request.migrationId !== migrationId || incoming.phase === 'failed') {
      throw new DomainError(
        'notFound',
        `Server ${serverId} is not on ${this.#host.host} by migration ${migrationId}.`,
      )
    }
    // An agent that ended in between had written it down, and not told QEMU yet.
    if (incoming.phase === 'running') return this.#goOn(serverId, paused)
    if (incoming.phase === 'waiting') {
      throw new DomainError('conflict', `Server ${serverId} has not arrived; it cannot go on here.`)
    }
    incoming.phase = 'running'
    this.#host.setState(serverId, paused ? 'paused' : 'running')
    this.#wake()
  }

  ensureNoIncoming(serverId: string, migrationId: string): void {
    const incoming = this.#incoming.get(serverId)
    if (incoming?.request.migrationId !== migrationId || incoming.phase === 'running') return
    listening.delete(incoming.address.port)
    this.#incoming.delete(serverId)
    this.#host.guests.delete(serverId)
    this.#wake()
  }

  ensureMigration(serverId: string, request: OutgoingRequest): void {
    const guest = this.#host.running(serverId)
    const present = this.#outgoing.get(serverId)
    if (present?.request.migrationId === request.migrationId) return
    const other = this.underWay(serverId)
    if (other !== undefined) {
      throw new DomainError('conflict', `Server ${serverId} is being migrated by ${other} already.`)
    }
    const outgoing: Outgoing = { request, phase: 'copying', paused: guest.state === 'paused' }
    this.#outgoing.set(serverId, outgoing)
    if (!listening.has(request.to.port)) this.#fail(serverId, 'Connection refused')
    this.#wake()
  }

  setLimits(serverId: string, migrationId: string, limits: Partial<MigrationLimits>): void {
    const { request } = this.#required(serverId, migrationId)
    request.limits = { ...request.limits, ...limits }
  }

  #required(serverId: string, migrationId: string): Outgoing {
    const outgoing = this.#outgoing.get(serverId)
    if (outgoing?.request.migrationId === migrationId) return outgoing
    throw new DomainError('conflict', `Migration ${migrationId} of server ${serverId} is not under way.`)
  }

  async awaitMigration(
    serverId: string,
    migrationId: string,
    knownPhase: MigrationPhase,
    timeoutMs: number,
  ): Promise<MigrationStatus> {
    const end = performance.now() + timeoutMs
    for (let left = timeoutMs; ; left = end - performance.now()) {
      const outgoing = this.#outgoing.get(serverId)
      if (outgoing?.request.migrationId === migrationId && outgoing.phase === 'copying') {
        const lost = !listening.has(outgoing.request.to.port)
        if (lost) this.#fail(serverId, 'Unable to write to socket: Broken pipe')
        else if (!this.#held && knownPhase === 'copying') this.#change(outgoing, 'pre-switchover')
      }
      const status = this.#status(serverId, migrationId)
      if (status.phase !== knownPhase || left <= 0) return status
      await this.#changed(left)
    }
  }

  #status(serverId: string, migrationId: string): MigrationStatus {
    const outgoing = this.#outgoing.get(serverId)
    const ours = outgoing?.request.migrationId === migrationId ? outgoing : undefined
    const phase = ours?.phase ?? 'absent'
    const left = phase === 'copying' ? memoryBytes / 2 : 0
    return {
      migrationId,
      phase,
      totalBytes: memoryBytes,
      transferredBytes: memoryBytes - left,
      remainingBytes: left,
      dirtyBps: 0,
      sentBps: 100 * 2 ** 20,
      throttlePercent: 0,
      ...(phase === 'completed' ? { downtimeMs: 20, stillMs: 25 } : {}),
      ...(ours?.error === undefined ? {} : { error: ours.error }),
    }
  }

  beginSwitchover(serverId: string, migrationId: string): void {
    const outgoing = this.#required(serverId, migrationId)
    if (outgoing.phase === 'switching' || outgoing.phase === 'completed') return
    if (outgoing.phase !== 'pre-switchover') {
      const why = outgoing.error === undefined ? '' : `: ${outgoing.error}`
      throw new DomainError(
        'conflict',
        `Migration ${migrationId} cannot switch over, it is ${outgoing.phase}${why}.`,
      )
    }
    this.#change(outgoing, 'switching')
  }

  continueMigration(serverId: string, migrationId: string): MigrationStatus {
    const outgoing = this.#required(serverId, migrationId)
    if (outgoing.phase === 'copying' || outgoing.phase === 'pre-switchover') {
      throw new DomainError(
        'conflict',
        `Migration ${migrationId} is ${outgoing.phase}; beginSwitchover comes first.`,
      )
    }
    if (outgoing.phase === 'switching') {
      if (listening.get(outgoing.request.to.port)?.arrive()) this.#change(outgoing, 'completed')
      else this.#fail(serverId, 'Unable to write to socket: Broken pipe')
    }
    return this.#status(serverId, migrationId)
  }

  ensureAbandoned(serverId: string, migrationId: string): void {
    const outgoing = this.#outgoing.get(serverId)
    if (outgoing?.request.migrationId !== migrationId) return
    this.#giveUp(outgoing, 'it was abandoned')
    this.#outgoing.delete(serverId)
    this.#goOn(serverId, outgoing.paused)
  }

  /** What a guest is in while it stands still for its switchover. */
  standsStill(serverId: string): boolean {
    const phase = this.#outgoing.get(serverId)?.phase
    return phase === 'pre-switchover' || phase === 'switching' || phase === 'completed'
  }
}
