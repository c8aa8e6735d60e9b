import { chmodSync, rmSync } from 'node:fs'
import type { GuestSpec } from '@volant/contract'
import { DomainError, messageOf } from '@volant/contract'
import {
  QmpClient,
  QmpClosed,
  ensureGone,
  ensurePrivateFolder,
  findByCommandWord,
  isAlive,
  startDetached,
  tailOf,
  waitUntilGone,
  writeJsonBeside,
} from '@volant/qemu'
import type { ProcessIdentity } from '@volant/qemu'
import type { Log } from '../daemon/log.ts'
import { createSerial } from '../daemon/serial.ts'
import type { AcceleratorVerdict } from './accelerator.ts'
import { qemuArguments, qmpChardev } from './command-line.ts'
import { markSwitching, readGuestRecord, unmarkSwitching, writeGuestRecord } from './guest-record.ts'
import type { GuestRecord, IncomingRecord } from './guest-record.ts'
import { watchGuest } from './monitor.ts'
import type { GuestMonitor } from './monitor.ts'
import { guestPaths } from './names.ts'
import type { GuestPaths } from './names.ts'
import { ensureNoTaps, ensureTaps, inNetns } from './network.ts'
import { ensureRootDisk } from './root-disk.ts'

export interface GuestContext {
  stateDir: string
  runDir: string
  /** Path of the network namespace with the bridges. */
  netns?: string
  log: Log
  accelerator(): Promise<AcceleratorVerdict>
  migration: MigrationEnds
  /** Seconds that a guest's requests wait for a lost head. */
  reconnectDelaySeconds: number
}

/** How guests of this host are sent to others and received from them. */
export interface MigrationEnds {
  /** Address at which guests are received. */
  dataAddress: string
  /** Whose certificates are shown; also the name in them. */
  machine: string
  serverTlsFolder(): Promise<string>
  clientTlsFolder(): Promise<string>
}

const startTimeoutMs = 30_000
const quitTimeoutMs = 3000
/** After the monitor's connection ended, so long for the process to be gone too. */
const deathTimeoutMs = 1000

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? ''

/** What a guest's process tells the guest of. */
export interface ProcessEvents {
  /** The guest powered off, or QEMU was told to end; `cause` is QEMU's. */
  onShutdown(cause: string): void
  /** The status of a live migration, at either end; undefined where the process ended. */
  onMigration(status: string | undefined): void
}

/** A connection to a running guest's monitor, and who watches it. */
export interface Connection {
  qmp: QmpClient
  monitor: GuestMonitor
}

const changed = (
  before: GuestRecord,
  change: Partial<GuestRecord>,
  without: readonly ('incoming' | 'outgoing')[],
): GuestRecord => {
  const record = { ...before, ...change }
  for (const part of without) delete record[part]
  return record
}

/** The QEMU of one server: its record, its process, and the connection to its monitor. */
export class GuestProcess {
  readonly paths: GuestPaths
  readonly #serverId: string
  readonly #context: GuestContext
  readonly #events: ProcessEvents
  readonly #runStateSerial = createSerial()
  #record: GuestRecord | undefined
  /** Counts what was written; what is written beside is given up for what came later. */
  #writes = 0
  #beside: Promise<void> = Promise.resolve()
  #connection: Connection | undefined
  #connecting: Promise<Connection> | undefined
  #starting = false
  /** Above 0 while this agent itself ends the process, or waits for the guest to do so. */
  #endings = 0
  #ending: Promise<void> | undefined
  #closed = false

  constructor(context: GuestContext, serverId: string, events: ProcessEvents) {
    this.#context = context
    this.#serverId = serverId
    this.#events = events
    this.paths = guestPaths(context.stateDir, context.runDir, serverId)
    this.#record = readGuestRecord(this.paths)
  }

  get record(): GuestRecord | undefined {
    return this.#record
  }

  /** The server's QEMU where it runs. One that was started but not yet recorded is found by its command line. */
  identity(): ProcessIdentity | undefined {
    const record = this.#record
    if (record === undefined) return undefined
    if (isAlive(record.process)) return record.process
    if (record.phase !== 'starting' && record.phase !== 'incoming') return undefined
    const [found] = findByCommandWord(qmpChardev(this.paths))
    if (found !== undefined) this.write({ process: found })
    return found
  }

  /** Whether it was its end that a call to it failed by: its monitor's connection ends before the process is gone. */
  async hasEndedBy(error: unknown): Promise<boolean> {
    const identity = this.identity()
    if (identity === undefined) return true
    return error instanceof QmpClosed && waitUntilGone(identity, deathTimeoutMs)
  }

  /** Durably; `without` are parts that end. */
  write(change: Partial<GuestRecord>, ...without: ('incoming' | 'outgoing')[]): void {
    if (this.#record === undefined) return
    this.#save(changed(this.#record, change, without))
    if (without.includes('outgoing')) unmarkSwitching(this.paths)
  }

  /**
   * The same where the guest stands still meanwhile: this process knows it at once, and it is on its way to disk. Only for
   * what an agent that does not find it there comes to know from QEMU itself.
   */
  writeBeside(change: Partial<GuestRecord>, ...without: ('incoming' | 'outgoing')[]): void {
    if (this.#record === undefined) return
    const record = changed(this.#record, change, without)
    this.#record = record
    const mine = ++this.#writes
    this.#beside = this.#beside
      .then(() => writeJsonBeside(this.paths.record, record, () => mine === this.#writes && !this.#closed))
      .catch((error: unknown) => {
        if (mine !== this.#writes) return
        this.#context.log.warn(
          { serverId: this.#serverId, reason: messageOf(error) },
          'record of a guest is not written yet',
        )
      })
  }

  /** Its outgoing migration switches over, which every agent knows at once, or does not after all. */
  setSwitching(switching: boolean): void {
    const outgoing = this.#record?.outgoing
    if (this.#record === undefined || outgoing === undefined) return
    const record = { ...this.#record, outgoing: { ...outgoing, switching } }
    if (switching) {
      markSwitching(this.paths, outgoing.request.migrationId)
      this.#record = record
    } else {
      this.#save(record)
      unmarkSwitching(this.paths)
    }
  }

  #save(record: GuestRecord): void {
    this.#writes += 1
    this.#record = record
    writeGuestRecord(this.paths, record)
  }

  /** Runs with no other change of the run state (pause, continue) beside it. */
  exclusively<T>(task: () => Promise<T>): Promise<T> {
    return this.#runStateSerial('', task)
  }

  /** Connects to the monitor of a running QEMU, whoever started it. */
  async connect(): Promise<Connection> {
    if (this.#connection?.qmp.isOpen) return this.#connection
    this.#connecting ??= this.#openMonitor().finally(() => (this.#connecting = undefined))
    return this.#connecting
  }

  async #openMonitor(): Promise<Connection> {
    const identity = this.identity()
    if (identity === undefined) throw new QmpClosed(`Server ${this.#serverId} does not run.`)
    const qmp = await QmpClient.connect({
      path: this.paths.qmp,
      timeoutMs: startTimeoutMs,
      outOfBand: true,
      worthTrying: () => isAlive(identity) && !this.#closed,
    })
    chmodSync(this.paths.qmp, 0o600)
    const monitor = watchGuest(qmp, {
      serverId: this.#serverId,
      log: this.#context.log,
      disks: () => this.#record?.spec.disks ?? [],
      pausedByUser: () => this.#record?.pausedByUser ?? false,
      exclusively: (task) => this.exclusively(task),
      onShutdown: (cause) => {
        const isGuest = this.#record?.phase !== 'incoming'
        if (isGuest && this.#endings === 0 && !this.#closed) this.#events.onShutdown(cause)
      },
      onMigration: (status) => {
        if (!this.#closed) this.#events.onMigration(status)
      },
    })
    this.#connection = { qmp, monitor }
    void qmp.closed.then(() => this.#afterClose(identity))
    if (this.#record?.phase === 'starting') this.write({ phase: 'started' })
    return this.#connection
  }

  async #afterClose(identity: ProcessIdentity): Promise<void> {
    if (this.#closed || this.#endings > 0) return
    await waitUntilGone(identity, deathTimeoutMs)
    this.noteDeath()
    this.#events.onMigration(undefined)
  }

  /** Writes down that the process ended without being told to, where it did. */
  noteDeath(): void {
    const record = this.#record
    if (this.#endings > 0 || this.#starting || this.#closed) return
    if (record === undefined || record.phase === 'stopped' || this.identity() !== undefined) return
    // Its end is the migration's failure, which whoever waits for it is told of.
    if (record.phase === 'incoming') return
    const said = lastLine(tailOf(this.paths.qemuLog))
    const reason = `the QEMU process ended unexpectedly${said === '' ? '' : `: ${said}`}`
    this.#context.log.warn({ serverId: this.#serverId, reason }, 'guest ended')
    this.#noteStopped(reason)
    void ensureNoTaps(this.#context.netns, record.spec, record.tapSalt).catch(() => undefined)
  }

  #noteStopped(reason: string | undefined): void {
    if (this.#record === undefined) return
    const { process: _gone, reason: _old, ...rest } = this.#record
    const why = reason === undefined ? {} : { reason }
    this.#save({ ...rest, phase: 'stopped', pausedByUser: false, ...why })
  }

  /**
   * Starts the server's QEMU, which must not run, and where `incoming` is given one that waits for its guest; undoes
   * what it did where that fails.
   */
  async start(spec: GuestSpec, incoming?: IncomingRecord): Promise<void> {
    ensurePrivateFolder(this.paths.folder)
    ensurePrivateFolder(this.#context.runDir)
    const { accelerator } = await this.#context.accelerator()
    // Of one that died while it waited for its guest: those of the next one have other names.
    const { spec: earlier, tapSalt } = this.#record ?? {}
    if (earlier !== undefined) await ensureNoTaps(this.#context.netns, earlier, tapSalt)
    this.#starting = true
    try {
      const waiting = incoming && ({ phase: 'incoming', incoming, tapSalt: incoming.migrationId } as const)
      const record: GuestRecord = { spec, accelerator, phase: 'starting', pausedByUser: false, ...waiting }
      this.#save(record)
      if (spec.rootDisk !== undefined) await ensureRootDisk(this.paths.rootDisk, spec.rootDisk)
      await ensureTaps(this.#context.netns, spec, record.tapSalt)
      await this.#launch(record)
    } catch (error) {
      await this.end('it could not be started')
      throw error
    } finally {
      this.#starting = false
    }
  }

  async #launch({ spec, accelerator, incoming, tapSalt }: GuestRecord): Promise<void> {
    const { log, netns, reconnectDelaySeconds } = this.#context
    rmSync(this.paths.qmp, { force: true })
    const words = qemuArguments(spec, this.paths, {
      accelerator,
      reconnectDelaySeconds,
      ...(tapSalt === undefined ? {} : { tapSalt }),
      ...(incoming === undefined ? {} : { incoming: incoming.hardware }),
    })
    const [command, args] = inNetns(netns, ['qemu-system-x86_64', ...words])
    const began = performance.now()
    this.write({ process: startDetached({ command, args, logPath: this.paths.qemuLog }) })
    try {
      await this.connect()
    } catch (error) {
      const said = tailOf(this.paths.qemuLog)
      throw new DomainError(
        'unavailable',
        `Server ${this.#serverId} did not start: ${lastLine(said) || messageOf(error)}`,
        { cause: error, detail: said },
      )
    }
    const startMs = Math.round(performance.now() - began)
    log.info({ serverId: this.#serverId, accelerator, startMs }, 'guest started')
  }

  /** While `task` runs, the process may end without being missed, and its end is left to the caller. */
  async whileEnding<T>(task: () => Promise<T>): Promise<T> {
    this.#endings += 1
    try {
      return await task()
    } finally {
      this.#endings -= 1
    }
  }

  /** Ends the process, which may be ending already: by `quit`, which flushes, or by SIGKILL where that hangs. */
  end(reason: string | undefined): Promise<void> {
    this.#ending ??= this.whileEnding(() => this.#end(reason)).finally(() => (this.#ending = undefined))
    return this.#ending
  }

  async #end(reason: string | undefined): Promise<void> {
    const identity = this.identity()
    const qmp = this.#connection?.qmp
    if (identity !== undefined) {
      const asks = qmp !== undefined && !this.#mustNotFlush()
      if (asks) await qmp.execute('quit', {}, quitTimeoutMs).catch(() => undefined)
      const quits = asks && (await waitUntilGone(identity, quitTimeoutMs))
      if (!quits) await ensureGone(identity)
    }
    qmp?.close()
    rmSync(this.paths.qmp, { force: true })
    if (this.#record !== undefined)
      await ensureNoTaps(this.#context.netns, this.#record.spec, this.#record.tapSalt)
    this.#noteStopped(reason)
  }

  /** Its disks were flushed, and its access to them is closed or was never open: `quit` would wait for them. */
  #mustNotFlush(): boolean {
    const { phase, outgoing } = this.#record ?? {}
    return phase === 'incoming' || outgoing?.switching === true
  }

  /** Removes the server's files; its process must have ended. */
  remove(): void {
    this.#writes += 1
    rmSync(this.paths.folder, { recursive: true, force: true })
    this.#record = undefined
  }

  /** Lets go of the process; it runs on. */
  close(): void {
    this.#closed = true
    this.#connection?.qmp.close()
  }
}
