import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, isDomainError, messageOf } from '@volant/contract'
import type { MigrationLimits, MigrationPhase, MigrationStatus, OutgoingRequest } from '@volant/contract'
import {
  beginMigration,
  isUnderWay,
  queryMigration,
  QmpError,
  QmpTimeout,
  querySourceMigration,
  setMigrationParameters,
  yankMigration,
} from '@volant/qemu'
import type { MigrationInfo, QmpClient } from '@volant/qemu'
import type { Log } from '../daemon/log.ts'
import { Changes } from './changes.ts'
import type { Connection, GuestProcess } from './guest-process.ts'
import { readGuestRecord } from './guest-record.ts'
import type { OutgoingRecord } from './guest-record.ts'

/** So long the guest stands still at `pre-switchover` for a caller that says nothing. */
const switchoverPatienceMs = 3000
/** Events drive the waiting; one that was missed, because the connection was lost, is made up for by looking. */
const lookAgainMs = 1000
const cancelTimeoutMs = 10_000
/** A QEMU that is to give up and does not answer for so long is writing to a destination that does not read. */
const hangsAfterMs = 1000
const giveUpPauseMs = 200

export interface OutgoingContext {
  serverId: string
  log: Log
  /** Name in the certificates of this machine. */
  machine: string
  clientTlsFolder(): Promise<string>
  /** Continues a guest that stands still because of its migration, unless its user paused it. */
  resume(connection: Connection): Promise<void>
}

const phases: Record<string, MigrationPhase> = {
  'pre-switchover': 'pre-switchover',
  device: 'switching',
  completed: 'completed',
  failed: 'failed',
  cancelling: 'failed',
  cancelled: 'failed',
  none: 'failed',
}

const phaseOf = (
  { begun, switching, failure }: OutgoingRecord,
  { status }: MigrationInfo,
): MigrationPhase => {
  if (failure !== undefined) return 'failed'
  if (!begun) return 'copying'
  const phase = phases[status ?? 'none'] ?? 'copying'
  const standsStill = phase === 'pre-switchover' || phase === 'switching' || phase === 'completed'
  // The rest may have been sent without a word: as long as nobody has said it, the agent may give it up.
  if (standsStill && !switching) return 'pre-switchover'
  return phase === 'pre-switchover' ? 'switching' : phase
}

/**
 * The live migration of one guest to another host. One class, over 400 lines: every call is judged by the same record and phase.
 *
 * How QEMU (7.2) behaves, which the phases rest on: at `pre-switchover` the guest is stopped (run state `finish-migrate`)
 * and its writes are flushed; the disks are given up (inactive) only by `migrate-continue`, which does no I/O on them.
 * A migration that fails or is cancelled continues the guest by itself, also after the fence: then its requests fail, which
 * stops it (`io-error`) until the storage answers. `completed` (run state `postmigrate`) says that all was sent, not that
 * it arrived; `cont` there takes the disks back and runs the guest. One that its user paused cannot be migrated again
 * from `postmigrate` before it ran.
 *
 * What must outlive the agent is in the guest's record, the rest is
 * what QEMU says, so that a new agent goes on in every phase. Its changes must not overlap.
 */
export class OutgoingMigration {
  readonly #process: GuestProcess
  readonly #context: OutgoingContext
  readonly #changes = new Changes()
  #timer: NodeJS.Timeout | undefined
  #closed = false
  /** The migration whose rest QEMU sends by this agent's word: it may come to nothing else meanwhile, and is asked once. */
  #told: string | undefined
  /** What QEMU said last of itself, and what it answered last. */
  #said: string | undefined
  #answered: MigrationStatus | undefined

  constructor(process: GuestProcess, context: OutgoingContext) {
    this.#process = process
    this.#context = context
  }

  get record(): OutgoingRecord | undefined {
    return this.#process.record?.outgoing
  }

  /** The migration that keeps the guest from being changed. */
  get underWay(): string | undefined {
    const { record } = this
    if (record === undefined || record.failure !== undefined) return undefined
    return this.#process.identity() === undefined ? undefined : record.request.migrationId
  }

  #write(change: Partial<OutgoingRecord>): void {
    if (this.record === undefined) return
    this.#process.write({ outgoing: { ...this.record, ...change } })
    this.#changes.announce()
  }

  #setSwitching(switching: boolean): void {
    this.#process.setSwitching(switching)
    this.#changes.announce()
  }

  /** The guest runs, and nothing else migrates it. */
  async begin({ qmp }: Connection, request: OutgoingRequest): Promise<void> {
    const { migrationId, to, limits, channels } = request
    const present = this.record
    if (present?.request.migrationId === migrationId) {
      if (present.begun || present.failure !== undefined) return
    } else if (present !== undefined) await this.#requireOver(present)
    this.#process.write({ outgoing: { request, begun: false, switching: false } })
    // That was of an earlier one.
    this.#said = undefined
    try {
      // It is ours where an agent ended between telling QEMU and writing that down.
      if (!isUnderWay(await queryMigration(qmp))) {
        const tlsFolder = await this.#context.clientTlsFolder()
        const { downtimeMs, bandwidth, autoConverge } = limits
        await beginMigration(qmp, { ...to, channels, downtimeMs, bandwidth, autoConverge, tlsFolder })
      }
    } catch (error) {
      if (!(error instanceof QmpError) && !(error instanceof DomainError)) throw error
      this.#process.write({}, 'outgoing')
      throw new DomainError(
        'unavailable',
        `Server ${this.#context.serverId} cannot be migrated: ${messageOf(error)}`,
        { cause: error },
      )
    }
    this.#write({ begun: true })
  }

  async #requireOver({ request }: OutgoingRecord): Promise<void> {
    const { phase } = await this.status(request.migrationId)
    if (phase !== 'failed') {
      throw new DomainError(
        'conflict',
        `Server ${this.#context.serverId} is being migrated by ${request.migrationId} already.`,
      )
    }
    await this.#end()
  }

  async setLimits(migrationId: string, limits: Partial<MigrationLimits>): Promise<void> {
    const record = this.#required(migrationId)
    const before = record.request.limits
    if (limits.autoConverge !== undefined && limits.autoConverge !== before.autoConverge) {
      throw new DomainError('conflict', 'Whether processors are slowed is chosen when a migration begins.')
    }
    const { qmp } = await this.#process.connect()
    await setMigrationParameters(qmp, limits)
    this.#write({ request: { ...record.request, limits: { ...before, ...limits } } })
  }

  #required(migrationId: string): OutgoingRecord {
    if (this.record?.request.migrationId === migrationId) return this.record
    throw new DomainError(
      'conflict',
      `Migration ${migrationId} of server ${this.#context.serverId} is not under way.`,
    )
  }

  async status(migrationId: string): Promise<MigrationStatus> {
    const none = { totalBytes: 0, transferredBytes: 0, remainingBytes: 0 }
    const base = { migrationId, ...none, dirtyBps: 0, sentBps: 0, throttlePercent: 0 }
    if (this.record?.request.migrationId !== migrationId) return { ...base, phase: 'absent' }
    let info: MigrationInfo
    let stoppedAt: number | undefined
    try {
      const { qmp, monitor } = await this.#process.connect()
      info = await querySourceMigration(qmp)
      if (this.#process.record?.pausedByUser === false) ({ stoppedAt } = monitor)
    } catch (error) {
      if (!(await this.#process.hasEndedBy(error))) throw silent(this.#context.serverId, error)
      this.#process.noteDeath()
      return { ...base, phase: 'failed', error: this.#process.record?.reason ?? 'the QEMU process ended' }
    }
    const { record } = this
    if (record?.request.migrationId !== migrationId) return { ...base, phase: 'absent' }
    const phase = phaseOf(record, info)
    if (phase === 'failed' && record.failure === undefined) {
      this.#write({ failure: failureOf(info) + this.#advice(record) })
    }
    if (phase === 'pre-switchover') this.#arm()
    const error = this.record?.failure
    const { ram } = info
    const downtimeMs = phase === 'completed' ? info.downtime : info['expected-downtime']
    this.#answered = {
      migrationId,
      phase,
      totalBytes: ram?.total ?? 0,
      transferredBytes: ram?.transferred ?? 0,
      remainingBytes: ram?.remaining ?? 0,
      dirtyBps: (ram?.['dirty-pages-rate'] ?? 0) * (ram?.['page-size'] ?? 4096),
      sentBps: Math.round(((ram?.mbps ?? 0) * 1e6) / 8),
      throttlePercent: info['cpu-throttle-percentage'] ?? 0,
      ...(downtimeMs === undefined ? {} : { downtimeMs }),
      ...(stoppedAt === undefined ? {} : { stillMs: performance.now() - stoppedAt }),
      ...(error === undefined ? {} : { error }),
    }
    return this.#answered
  }

  /**
   * Of a guest that has just come to its standstill, by QEMU's event: asked now, when it begins to send the rest, QEMU answers
   * late. The amounts are those that it told before.
   */
  #statusAtStandstill(migrationId: string): MigrationStatus | undefined {
    const [record, before] = [this.record, this.#answered]
    if (record?.request.migrationId !== migrationId || before?.migrationId !== migrationId) return undefined
    if (before.phase !== 'copying' || this.#said !== 'pre-switchover') return undefined
    const phase = phaseOf(record, { status: this.#said })
    return phase === 'pre-switchover' ? { ...before, phase } : undefined
  }

  /** A compute host of another machine that has no address of its own in the configuration has the default one. */
  #advice({ request: { to } }: OutgoingRecord): string {
    const isNowhere = to.host === '127.0.0.1' && to.tlsHostname !== this.#context.machine
    return isNowhere ? `; its destination has no data_address that another machine can reach` : ''
  }

  async awaitOther(
    migrationId: string,
    knownPhase: MigrationPhase,
    timeoutMs: number,
  ): Promise<MigrationStatus> {
    for (const end = performance.now() + timeoutMs; ;) {
      const { count } = this.#changes
      const told = knownPhase === 'copying' ? this.#statusAtStandstill(migrationId) : undefined
      const status = told ?? (await this.status(migrationId))
      const left = end - performance.now()
      if (status.phase !== knownPhase || left <= 0 || this.#closed) return status
      await this.#changes.after(count, Math.min(left, lookAgainMs))
    }
  }

  /** QEMU told of a new status, or the process ended. */
  note(status: string | undefined): void {
    this.#said = status
    if (status === 'pre-switchover' && this.record !== undefined) {
      this.#arm()
      // Whoever waits for the phase is told first.
      setImmediate(() => void this.#sendRest())
    }
    this.#changes.announce()
  }

  /**
   * The rest of the memory is sent as soon as the guest stands still, whoever will decide: that gives access to nothing, and
   * the guest can still go on here. Not of one that its user paused, which could not be migrated again before it ran.
   */
  async #sendRest(): Promise<void> {
    const { record } = this
    if (record === undefined || this.#process.record?.pausedByUser === true) return
    const { migrationId } = record.request
    if (this.#told === migrationId) return
    this.#told = migrationId
    const isWanted = (): boolean =>
      this.record?.request.migrationId === migrationId && this.record.failure === undefined && !this.#closed
    while (isWanted() && this.#process.identity() !== undefined) {
      try {
        const { qmp } = await this.#process.connect()
        // One that is not at `pre-switchover` any more has failed, or goes on.
        if (isWanted()) await goOn(qmp)
        return
      } catch (error) {
        const { serverId, log } = this.#context
        log.warn(
          { serverId, migrationId, reason: messageOf(error) },
          'QEMU could not be told to send the rest',
        )
      }
      await sleep(giveUpPauseMs)
    }
  }

  /** The guest stands still from now on: somebody has to go on with it soon. */
  #arm(): void {
    const { record } = this
    if (record === undefined || record.switching || record.failure !== undefined) return
    const { migrationId } = record.request
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.#expire(migrationId)
    }, switchoverPatienceMs)
  }

  #disarm(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  async #expire(migrationId: string): Promise<void> {
    const { serverId, log } = this.#context
    const { record } = this
    // On disk: an agent that took over meanwhile may have been told to go on.
    const onDisk = readGuestRecord(this.#process.paths)?.outgoing
    if (record?.request.migrationId !== migrationId || onDisk?.request.migrationId !== migrationId) return
    if (record.switching || onDisk.switching || record.failure !== undefined || this.#closed) return
    const failure = `nobody went on with it within ${switchoverPatienceMs / 1000} s of the guest's standstill`
    // Written before QEMU is told: from now on `beginSwitchover` is refused.
    this.#write({ failure })
    log.warn({ serverId, migrationId, reason: failure }, 'live migration is given up')
    await this.#giveUp()
  }

  /** Until it is done: the guest stands still. */
  async #giveUp(): Promise<void> {
    while (!this.#closed && this.record !== undefined && this.#process.identity() !== undefined) {
      try {
        await this.#end()
        return
      } catch (error) {
        const { serverId, log } = this.#context
        log.warn(
          { serverId, reason: messageOf(error) },
          'live migration could not be cancelled; trying again',
        )
      }
      await sleep(giveUpPauseMs)
    }
  }

  /** The guest goes on here, also where all of it was sent. */
  async #end(): Promise<void> {
    await this.#cancel()
    const connection = await this.#process.connect()
    await this.#context.resume(connection)
    // The destination's QEMU announces itself when it has all, before it is told to go on.
    await connection.qmp.execute('announce-self', announcement)
  }

  /** QEMU gives the migration up, where it works at it; then it continues the guest, where that ran. */
  async #cancel(): Promise<void> {
    this.#disarm()
    const { qmp } = await this.#process.connect()
    for (const end = performance.now() + cancelTimeoutMs; ;) {
      const { count } = this.#changes
      const info = await queryUnhung(qmp)
      if (!isUnderWay(info)) return
      if (performance.now() > end) {
        throw new DomainError('unavailable', `QEMU does not end its migration; it is ${info.status}.`)
      }
      if (info.status !== 'cancelling') await qmp.execute('migrate_cancel')
      await this.#changes.after(count, 50)
    }
  }

  /**
   * The agent gives nothing up by itself from now on, nor does one that comes after it: QEMU's own status does not tell that, for the
   * rest is sent without a word.
   */
  async beginSwitchover(migrationId: string): Promise<void> {
    this.#required(migrationId)
    const connection = await this.#process.connect().catch(() => undefined)
    // From here to the mark nothing comes between: either the timer has struck, or it strikes no more.
    const record = this.#required(migrationId)
    const begins = connection !== undefined && record.begun && record.failure === undefined
    if (begins) {
      if (!record.switching) this.#setSwitching(true)
      this.#disarm()
      if (this.#told === migrationId) return
      if (await goOn(connection.qmp).catch(() => false)) {
        this.#told = migrationId
        this.#changes.announce()
        return
      }
    }
    const { phase, error } = await this.status(migrationId)
    if (phase === 'switching' || phase === 'completed') return
    if (begins && !record.switching) this.#setSwitching(false)
    const why = error === undefined ? '' : `: ${error}`
    throw new DomainError('conflict', `Migration ${migrationId} cannot switch over, it is ${phase}${why}.`)
  }

  async continue(migrationId: string): Promise<void> {
    const { switching, failure } = this.#required(migrationId)
    if (!switching && failure === undefined) {
      const { phase } = await this.status(migrationId)
      if (phase !== 'copying' && phase !== 'pre-switchover') return
      throw new DomainError('conflict', `Migration ${migrationId} is ${phase}; beginSwitchover comes first.`)
    }
    if (failure !== undefined || this.#told === migrationId || this.#process.identity() === undefined) return
    const { qmp } = await this.#process.connect()
    await goOn(qmp)
  }

  /** Beside other changes: whoever gives the migration up does not wait for it. While QEMU sends the rest it answers nobody. */
  async awaitSent(migrationId: string, timeoutMs: number): Promise<MigrationStatus> {
    for (const end = performance.now() + timeoutMs; ;) {
      try {
        return await this.awaitOther(migrationId, 'switching', Math.max(0, end - performance.now()))
      } catch (error) {
        const hangs = isDomainError(error) && error.cause instanceof QmpTimeout
        if (!hangs || this.#closed || performance.now() >= end) throw error
      }
    }
  }

  /** Ends the migration in whatever phase; the guest goes on here. */
  async abandon(migrationId: string): Promise<void> {
    const { record } = this
    if (record?.request.migrationId !== migrationId) return
    this.#disarm()
    if (record.failure === undefined) this.#write({ failure: 'it was abandoned' })
    if (this.#process.identity() !== undefined) await this.#end()
    this.#process.write({}, 'outgoing')
    this.#changes.announce()
  }

  /** By an agent that finds the guest: goes on where an earlier one was. */
  async adopt(): Promise<void> {
    const { record } = this
    if (record === undefined || this.#process.identity() === undefined) return
    // Not waited for: a QEMU that hangs must not keep the agent from its other guests.
    if (record.failure !== undefined) void this.#giveUp()
    else await this.status(record.request.migrationId)
  }

  close(): void {
    this.#closed = true
    this.#disarm()
    this.#changes.announce()
  }
}

/** Of `announce-self`, in milliseconds; QEMU's own defaults. */
export const announcement = { initial: 50, max: 550, rounds: 5, step: 100 }

const failureOf = (info: MigrationInfo): string =>
  info['error-desc'] ?? `QEMU reports it as ${info.status ?? 'none'}`

const silent = (serverId: string, error: unknown): DomainError =>
  new DomainError('unavailable', `The QEMU of server ${serverId} does not answer: ${messageOf(error)}`, {
    cause: error,
  })

const queryUnhung = async (qmp: QmpClient): Promise<MigrationInfo> => {
  try {
    return await queryMigration(qmp, hangsAfterMs)
  } catch (error) {
    if (!(error instanceof QmpTimeout)) throw error
    // Refused where it hangs for another reason: there is no connection to end.
    await yankMigration(qmp).catch(() => undefined)
    return queryMigration(qmp)
  }
}

/** False where the migration is not at `pre-switchover`. */
const goOn = async (qmp: QmpClient): Promise<boolean> => {
  try {
    await qmp.execute('migrate-continue', { state: 'pre-switchover' })
    return true
  } catch (error) {
    if (error instanceof QmpError) return false
    throw error
  }
}
