import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeNodeCredentials, type NodeDocument } from '@volant/agent/node/credentials.ts'
import { DomainError, messageOf } from '@volant/contract'
import {
  ensureGone,
  ensurePrivateFolder,
  findByCommandWord,
  isAlive,
  readJson,
  startDetached,
  tailOf,
  type ProcessIdentity,
  type TlsAuthority,
} from '@volant/qemu'
import type { Logger } from 'pino'

/** `process.json`, which a process of agents writes when it serves calls. */
export interface AgentProcessRecord extends ProcessIdentity {
  name: string
  url: string
  /** Of what it was started with. */
  digest: string
  startedAt: string
}

/** A process of agents has a folder of its own below the state folder. */
export const agentFolder = (stateDir: string, name: string): string => join(stateDir, 'agents', name)
export const agentRecordPath = (folder: string): string => join(folder, 'process.json')
const agentLogPath = (stateDir: string, name: string): string => join(stateDir, 'log', `agent-${name}.log`)
const credentialsFolder = (folder: string): string => join(folder, 'credentials')

const readAgentRecord = (folder: string): AgentProcessRecord | undefined =>
  readJson(agentRecordPath(folder)) as AgentProcessRecord | undefined

/** Tells a process that was started with other agents, or other places for them, from one that fits. */
export const digestOf = (document: NodeDocument): string =>
  createHash('sha256').update(JSON.stringify(document)).digest('hex').slice(0, 16)

const lookEveryMs = 200
/** How long a process may take until it serves calls, and to end when it is asked. Milliseconds. */
const startTimeoutMs = 60_000
const endGraceMs = 8000
const defaultHungAfterMs = 60_000
const firstPauseMs = 100
const longestPauseMs = 10_000
/** A process that has run for so long starts again without a pause. Milliseconds. */
const steadyAfterMs = 30_000

export interface AgentProcessOptions {
  document: NodeDocument
  stateDir: string
  authority: TlsAuthority
  /** The words that start `volant` here, without its arguments. */
  command: readonly [string, ...string[]]
  /** Whether it answers now. */
  isUp(): boolean
  /** A process that lives and has not answered for so long hangs: it is killed and started again. Default 60,000. */
  hungAfterMs?: number
  log: Logger
}

/**
 * A process of agents that this control plane looks after. It is nobody's child: it outlives the control plane, is found
 * again by its record, and is started again when it dies, with a growing pause where it dies again and again.
 */
export class AgentProcess {
  readonly name: string
  readonly #options: AgentProcessOptions
  readonly #folder: string
  #record: AgentProcessRecord | undefined
  #trouble = 'it is being started.'
  readonly #ended = new AbortController()
  #loop: Promise<void> = Promise.resolve()

  constructor(options: AgentProcessOptions) {
    this.#options = options
    this.name = options.document.name
    this.#folder = agentFolder(options.stateDir, this.name)
  }

  get pid(): number | undefined {
    return isAlive(this.#record) ? this.#record.pid : undefined
  }

  /** Throws `unavailable` while it does not run. */
  url(): string {
    if (isAlive(this.#record)) return this.#record.url
    throw new DomainError('unavailable', this.#trouble)
  }

  /** Finds the process, or starts it; from then on it is started again whenever it dies, until `release`. */
  async start(): Promise<void> {
    const { document, authority } = this.#options
    ensurePrivateFolder(this.#folder)
    await writeNodeCredentials(credentialsFolder(this.#folder), document, authority)
    const found = readAgentRecord(this.#folder)
    if (isAlive(found) && found.digest === digestOf(document)) this.#record = found
    else await this.#tryStart()
    this.#loop = this.#watch()
  }

  /** Leaves it to itself, for the end of this control plane. */
  async release(): Promise<void> {
    this.#ended.abort()
    await this.#loop
  }

  async #watch(): Promise<void> {
    const { log } = this.#options
    let pauseMs = firstPauseMs
    let startedAt = performance.now()
    let upAt = startedAt
    while (await this.#pause(lookEveryMs)) {
      if (this.#options.isUp()) upAt = performance.now()
      await this.#endHung(performance.now() - Math.max(upAt, startedAt))
      if (this.pid !== undefined) continue
      pauseMs = performance.now() - startedAt > steadyAfterMs ? firstPauseMs : pauseMs
      this.#trouble = 'its process has died and is started again.'
      log.warn({ agent: this.name, pauseMs }, 'the process of an agent has died')
      if (!(await this.#pause(pauseMs))) return
      pauseMs = Math.min(pauseMs * 2, longestPauseMs)
      startedAt = performance.now()
      await this.#tryStart()
    }
  }

  /** Its daemons and guests are not its children, and the next process finds them. */
  async #endHung(silentMs: number): Promise<void> {
    const { hungAfterMs = defaultHungAfterMs, log } = this.#options
    if (this.pid === undefined || silentMs < hungAfterMs) return
    log.warn({ agent: this.name, pid: this.pid, silentMs }, 'an agent hangs and is killed')
    await ensureGone(this.#record)
  }

  /** Where it does not start, all else does, and this is tried again. */
  async #tryStart(): Promise<void> {
    try {
      await this.#startAgain()
    } catch (error) {
      this.#trouble = messageOf(error)
      this.#options.log.error(
        { agent: this.name, reason: this.#trouble },
        'a process of agents does not start',
      )
    }
  }

  /** False where it is to end. */
  #pause(ms: number): Promise<boolean> {
    return sleep(ms, true, { signal: this.#ended.signal, ref: false }).catch(() => false)
  }

  async #startAgain(): Promise<void> {
    const { document, stateDir, command, log } = this.#options
    const credentials = credentialsFolder(this.#folder)
    // One with other agents, or one that an earlier control plane had just started.
    await endAgentProcess(stateDir, this.name)
    mkdirSync(join(stateDir, 'log'), { recursive: true, mode: 0o700 })
    const logPath = agentLogPath(stateDir, this.name)
    const began = performance.now()
    const [program, ...words] = command
    const args = [...words, 'node', credentials, '--state', stateDir, '--listen', '127.0.0.1:0']
    const identity = startDetached({ command: program, args, logPath })
    const digest = digestOf(document)
    for (const end = began + startTimeoutMs; ; await sleep(20)) {
      const record = readAgentRecord(this.#folder)
      if (
        record?.pid === identity.pid &&
        record.startTime === identity.startTime &&
        record.digest === digest
      ) {
        this.#record = record
        break
      }
      // Let go of meanwhile: it is found by who comes next, or ended by `volant down`.
      if (this.#ended.signal.aborted) return
      if (isAlive(identity) && performance.now() < end) continue
      await ensureGone(identity)
      const lastLine = tailOf(logPath).split('\n').at(-1) || 'it gave no reason'
      throw new DomainError('unavailable', `its process does not start: ${lastLine}`)
    }
    const startMs = Math.round(performance.now() - began)
    log.info(
      { agent: this.name, pid: identity.pid, url: this.#record?.url, startMs },
      'a process of agents runs',
    )
  }
}

/**
 * Ends a process of agents that a control plane started, the one that it had no time to write down, too; returns when it
 * is gone. Its daemons and guests run on. One that somebody else started has credentials elsewhere and stays.
 */
export async function endAgentProcess(stateDir: string, name: string): Promise<boolean> {
  const found = findByCommandWord(credentialsFolder(agentFolder(stateDir, name)))
  await Promise.all(found.map((identity) => ensureGone(identity, { graceMs: endGraceMs })))
  return found.length > 0
}

/** Names of the processes of agents that were ever started with this state folder. */
export function agentNames(stateDir: string): string[] {
  try {
    return readdirSync(join(stateDir, 'agents'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Ends every process of agents of this state folder; their daemons and guests run on. How many there were. */
export async function endAgentProcesses(stateDir: string): Promise<number> {
  const ended = await Promise.all(agentNames(stateDir).map((name) => endAgentProcess(stateDir, name)))
  return ended.filter(Boolean).length
}
