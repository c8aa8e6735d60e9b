import { connect } from 'node:net'
import { existsSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, messageOf } from '@volant/contract'
import { ensureLauncher } from '@volant/qemu/launcher.ts'
import {
  bootId,
  ensureGone,
  findByCommandWord,
  isAlive,
  isStopped,
  startDetached,
  tailOf,
  waitUntilGone,
} from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import { QmpClient } from '@volant/qemu/qmp.ts'
import { daemonArguments } from '@volant/qemu/storage-daemon.ts'
import type { DaemonGraph } from '@volant/qemu/storage-daemon.ts'
import type { Log } from './log.ts'
import { createSerial } from './serial.ts'
import { untilSilent } from './silence.ts'

/** What is written down about a daemon, so that another process of ours finds it again. */
export interface DaemonState {
  process?: ProcessIdentity
  /** Keeps the listening socket while the daemon is away. */
  keeper?: ProcessIdentity
  /** TCP port, chosen at the first start and kept from then on. */
  port?: number
}

export interface DaemonPaths {
  qmpPath: string
  /** A second monitor, for a cutover's guard. */
  guardPath?: string
  controlPath: string
}

export interface DaemonSpec extends DaemonPaths {
  /** For messages: "holder 4f…". */
  label: string
  logPath: string
  listen?: { unix: string } | { host: string }
  /** Network namespace, as a path. */
  netns?: string
  storageDaemon?: string
  /** Checks the images and gives the graph for a start that is about to happen. */
  prepare(): Promise<Omit<DaemonGraph, keyof DaemonPaths>>
  /** Writes the state down durably. */
  save(state: DaemonState): Promise<void>
  /** Asked when the daemon has died: whether it may be started again without the caller's word. */
  mayRestart(): boolean
  /** Whether a newer control plane acts on this state from another process: then the daemon is its business. */
  isSuperseded(): boolean
  log: Log
}

const longestBackoffMs = 2000

/**
 * One qemu-storage-daemon that outlives this process. It is found again by what was written down, started again
 * at once when it dies, and keeps its socket over that: its clients wait, they see no error.
 */
export class SupervisedDaemon {
  readonly #spec: DaemonSpec
  #state: DaemonState
  #qmp: QmpClient | undefined
  #watched = false
  #restarting = false
  #isLeft = false
  readonly #serial = createSerial()

  constructor(spec: DaemonSpec, state: DaemonState) {
    this.#spec = spec
    this.#state = state
  }

  get pid(): number {
    return this.#state.process?.pid ?? 0
  }

  get port(): number {
    return this.#state.port ?? 0
  }

  /** Whether it was started since the machine's last start. */
  get isOfThisBoot(): boolean {
    return this.#state.process?.bootId === bootId()
  }

  get isAlive(): boolean {
    return isAlive(this.#state.process)
  }

  /** Whether this process let go of it, or was replaced: then it is somebody else's. */
  get isLeft(): boolean {
    return this.#isLeft || this.#spec.isSuperseded()
  }

  /** The monitor of the running daemon. Throws `unavailable` where there is none at the moment. */
  get qmp(): QmpClient {
    if (this.#qmp?.isOpen) return this.#qmp
    throw new DomainError(
      'unavailable',
      `The storage daemon of ${this.#spec.label} does not run at the moment.`,
    )
  }

  /** Finds the running daemon or starts it, and from then on watches it. */
  ensureRunning(): Promise<QmpClient> {
    return this.#running(() => this.#start())
  }

  /** Finds the running daemon and watches it. One that has just died is not started: throws `unavailable`. */
  reach(): Promise<QmpClient> {
    return this.#running(() => {
      throw new DomainError('unavailable', `The storage daemon of ${this.#spec.label} has just ended.`)
    })
  }

  #running(otherwise: () => Promise<QmpClient>): Promise<QmpClient> {
    this.#isLeft = false
    return this.#exclusive(async () => {
      if (this.#spec.isSuperseded()) {
        throw new DomainError('staleFence', `Another control plane has taken over ${this.#spec.label}.`)
      }
      this.#watched = true
      if (this.isAlive) return this.#qmp?.isOpen ? this.#qmp : this.#attach()
      return otherwise()
    })
  }

  /** Ends the daemon and starts it again with what `prepare` says now. Clients wait for it in the backlog. */
  replace(graceMs: number, between?: () => Promise<void>): Promise<QmpClient> {
    return this.#exclusive(async () => {
      // A call that fails because this process let go must not end what was left to the next one.
      if (this.isLeft) {
        throw new DomainError('unavailable', `The storage daemon of ${this.#spec.label} was left to itself.`)
      }
      this.#watched = false
      try {
        await this.#end(graceMs)
        await between?.()
        return await this.#start()
      } finally {
        this.#watched = true
        if (!this.isAlive) void this.#restart()
      }
    })
  }

  /** Ends the daemon and its socket for good; returns when they are gone. */
  stop(graceMs: number): Promise<void> {
    this.#watched = false
    return this.#exclusive(async () => {
      await Promise.all([this.#end(graceMs), ensureGone(this.#state.keeper)])
      const { listen } = this.#spec
      for (const path of pathsOf(this.#spec)) rmSync(path, { force: true })
      if (listen && 'unix' in listen) rmSync(listen.unix, { force: true })
    })
  }

  /** From now on a daemon that dies stays dead; its monitor stays open. */
  unwatch(): void {
    this.#watched = false
  }

  /** Leaves the daemon to itself, for the end of this process. */
  detach(): void {
    this.#isLeft = true
    this.unwatch()
    this.#qmp?.close()
  }

  #exclusive<T>(task: () => Promise<T>): Promise<T> {
    return this.#serial('daemon', task)
  }

  #save(change: Partial<DaemonState>): Promise<void> {
    this.#state = { ...this.#state, ...change }
    return this.#spec.save(this.#state)
  }

  async #end(graceMs: number): Promise<void> {
    this.#qmp?.close()
    if (this.isAlive) await ensureGone(this.#state.process, { graceMs })
    else await endStrays(monitorWord(this.#spec.qmpPath))
  }

  async #start(): Promise<QmpClient> {
    const { label, qmpPath, guardPath, logPath, netns, controlPath } = this.#spec
    const launcher = await ensureLauncher()
    await endStrays(monitorWord(qmpPath), ...(this.#keeps ? [] : [controlPath]))
    const graph = await this.#spec.prepare()
    if (this.#spec.listen) await this.#ensureKeeper(launcher)
    const monitors = { qmpPath, ...(guardPath === undefined ? {} : { guardPath }) }
    for (const path of Object.values(monitors)) rmSync(path, { force: true })
    const args = [
      'run',
      ...(netns === undefined ? [] : ['--netns', netns]),
      ...(this.#spec.listen ? ['--take', controlPath] : []),
      '--',
      this.#spec.storageDaemon ?? 'qemu-storage-daemon',
      ...daemonArguments({ ...graph, ...monitors }),
    ]
    const identity = startDetached({ command: launcher, args, logPath })
    const saved = this.#save({ process: identity })
    try {
      const [qmp] = await Promise.all([this.#attach(), saved])
      return qmp
    } catch (error) {
      await ensureGone(identity)
      throw new DomainError(
        'unavailable',
        `The storage daemon of ${label} did not start: ${lastLine(logPath)}`,
        {
          cause: error,
          detail: tailOf(logPath),
        },
      )
    }
  }

  async #attach(): Promise<QmpClient> {
    const path = this.#spec.qmpPath
    let qmp: QmpClient
    try {
      qmp = await QmpClient.connect({ path, timeoutMs: 10_000, worthTrying: () => this.isAlive })
    } catch (error) {
      // It was stopped while nobody watched it; whoever asks again starts it.
      if (isStopped(this.#state.process)) await this.#endSilent(10_000)
      throw error
    }
    this.#qmp = qmp
    void qmp.closed.then(() => this.#onClosed(qmp))
    void this.#watchSilence(qmp)
    return qmp
  }

  /** A daemon that lives but answers nobody is no better than a dead one, and nobody starts it again. */
  async #watchSilence(qmp: QmpClient): Promise<void> {
    for (;;) {
      const silentMs = await untilSilent(qmp, () => isStopped(this.#state.process))
      if (silentMs === undefined || qmp !== this.#qmp) return
      await this.#endSilent(silentMs).catch((error: unknown) => {
        this.#spec.log.warn(
          { label: this.#spec.label, reason: messageOf(error) },
          'storage daemon does not end',
        )
      })
    }
  }

  /** Only where it may be started again without the caller's word: at a cutover that is the operation's business. */
  async #endSilent(silentMs: number): Promise<void> {
    if (!this.#watched || this.isLeft || !this.#spec.mayRestart()) return
    const { label, log } = this.#spec
    log.warn({ label, silentMs: Math.round(silentMs) }, 'storage daemon does not answer; killed')
    await ensureGone(this.#state.process)
  }

  async #onClosed(qmp: QmpClient): Promise<void> {
    if (!this.#watched || qmp !== this.#qmp) return
    const { process } = this.#state
    if (process) await waitUntilGone(process, 1000)
    if (this.#watched && qmp === this.#qmp) await this.#restart()
  }

  async #restart(): Promise<void> {
    if (this.#restarting) return
    this.#restarting = true
    const { label, log } = this.#spec
    const since = performance.now()
    try {
      for (let backoffMs = 20; this.#watched; backoffMs = Math.min(backoffMs * 2, longestBackoffMs)) {
        if (!this.#spec.mayRestart() || this.#spec.isSuperseded()) return
        try {
          await this.#exclusive(async () => {
            if (!this.#watched || this.#qmp?.isOpen) return
            await (this.isAlive ? this.#attach() : this.#start())
          })
          log.warn(
            { label, awayMs: Math.round(performance.now() - since) },
            'storage daemon was started again',
          )
          return
        } catch (error) {
          log.warn({ label, reason: messageOf(error) }, 'storage daemon does not start; trying on')
        }
        await sleep(backoffMs, undefined, { ref: false })
      }
    } finally {
      this.#restarting = false
    }
  }

  get #keeps(): boolean {
    return isAlive(this.#state.keeper) && existsSync(this.#spec.controlPath)
  }

  /** Strays of it have been ended. */
  async #ensureKeeper(launcher: string): Promise<void> {
    const { listen, controlPath, logPath, netns, label } = this.#spec
    if (!listen || this.#keeps) return
    await ensureGone(this.#state.keeper)
    rmSync(controlPath, { force: true })
    const where =
      'unix' in listen ? ['--unix', listen.unix] : ['--tcp', listen.host, String(this.#state.port ?? 0)]
    const namespace = netns === undefined ? [] : ['--netns', netns]
    const args = ['keep', ...namespace, '--control', controlPath, ...where]
    const keeper = startDetached({ command: launcher, args, logPath })
    const saved = this.#save({ keeper })
    saved.catch(() => {}) // awaited below, or the start has failed for a reason of its own
    for (const end = performance.now() + 5000; !existsSync(controlPath); await sleep(2)) {
      if (isAlive(keeper) && performance.now() < end) continue
      await ensureGone(keeper)
      throw new DomainError('unavailable', `The socket of ${label} cannot be opened: ${lastLine(logPath)}`)
    }
    await ('host' in listen ? this.#save({ port: await askPort(controlPath) }) : saved)
  }
}

/** The one word of a daemon's command line that no other process has. */
const monitorWord = (qmpPath: string): string => daemonArguments({ qmpPath, blockdevs: [] })[1] ?? ''

/** A starter that died before it wrote the process down left one that nobody knows by its pid. */
async function endStrays(...words: string[]): Promise<void> {
  for (const stray of findByCommandWord(words)) await ensureGone(stray)
}

/** Ends the processes of a daemon that has no record any more, or never had one. */
export async function endUnrecorded(paths: DaemonPaths): Promise<void> {
  await endStrays(monitorWord(paths.qmpPath), paths.controlPath)
  for (const path of pathsOf(paths)) rmSync(path, { force: true })
}

const pathsOf = ({ qmpPath, guardPath, controlPath }: DaemonPaths): string[] =>
  [qmpPath, guardPath, controlPath].filter((path) => path !== undefined)

const lastLine = (logPath: string): string => tailOf(logPath).split('\n').at(-1) || 'it gave no reason.'

/** The keeper tells its port as text, beside the socket that a plain client does not receive. */
function askPort(controlPath: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect({ path: controlPath })
    socket.setTimeout(5000, () => socket.destroy(new Error('The keeper of the socket does not answer.')))
    socket.on('data', (bytes) => (text += bytes.toString('utf8')))
    socket.on('error', reject)
    socket.on('close', () => resolve(Number.parseInt(text, 10)))
  })
}
