import { randomUUID } from 'node:crypto'
import { connect, constants } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { agentMethods, DomainError, messageOf } from '@volant/contract'
import { isAgent } from '@volant/qemu/tls/authority.ts'
import type { Log } from '../daemon/log.ts'
import {
  callerHeader,
  connectionHeader,
  decodeError,
  encodeArguments,
  longestAnswer,
  longestRequest,
  pathOf,
  unanswered,
} from './protocol.ts'
import type { CallTarget } from './protocol.ts'
import type { PeerTls } from './server.ts'

export interface ConnectionState {
  up: boolean
  /** When it became so. */
  since: Date
  /** Why it is away. */
  reason?: string
}

/** The connection to one process of agents. It opens itself again whenever it was lost. */
export interface AgentConnection {
  readonly state: ConnectionState
  /**
   * Carries a call out there. Throws what the agent throws; `unavailable` where the process can't be reached, and
   * nothing was done; an error of class `unknown` where the answer was lost. A call may last as long as the process
   * answers pings.
   */
  call(target: CallTarget, args: readonly unknown[]): Promise<unknown>
  close(): void
}

export interface AgentConnectionOptions {
  /** The process's name, as its certificate says. */
  name: string
  /** Where it is now; throws `unavailable` where that is not known. */
  url(): string
  tls(): Promise<PeerTls>
  log: Log
  /** A process that leaves so many pings unanswered is away. */
  mostPingsMissed?: number
  pingEveryMs?: number
  connectTimeoutMs?: number
}

const defaults = { mostPingsMissed: 4, pingEveryMs: 2000, connectTimeoutMs: 3000 }

export function connectAgents(options: AgentConnectionOptions): AgentConnection {
  return new Connection({ ...defaults, ...options })
}

class Connection implements AgentConnection {
  readonly #options: Required<AgentConnectionOptions>
  #state: ConnectionState = { up: false, since: new Date(), reason: 'it was not asked yet' }
  #session: ClientHttp2Session | undefined
  #opening: Promise<ClientHttp2Session> | undefined
  readonly #callerId = randomUUID()
  #connections = 0
  #missed = 0
  /** The last attempt to connect ended by its time limit. */
  #isSilent = false
  #closed = false
  readonly #timer: NodeJS.Timeout

  constructor(options: Required<AgentConnectionOptions>) {
    this.#options = options
    this.#timer = setInterval(() => this.#tick(), options.pingEveryMs)
    this.#timer.unref()
    this.#open().catch(() => {}) // `state` tells
  }

  get state(): ConnectionState {
    return this.#state
  }

  async call(target: CallTarget, args: readonly unknown[]): Promise<unknown> {
    const body = encodeArguments(args)
    if (Buffer.byteLength(body) > longestRequest) {
      throw new DomainError(
        'tooLarge',
        `The arguments of ${target.method} are longer than ${longestRequest} bytes.`,
      )
    }
    // What did not answer is not waited for again by each call; it is tried in the background.
    if (this.#isSilent && this.#session === undefined)
      throw this.#away(this.#state.reason ?? 'it does not answer.')
    const session = await this.#open()
    return this.#request(session, target, body)
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#timer)
    this.#session?.destroy()
    this.#session = undefined
  }

  #away(reason: string): DomainError {
    return new DomainError('unavailable', `The agent ${this.#options.name} is away: ${reason}`)
  }

  #note(up: boolean, reason?: string): void {
    if (this.#closed) return
    const changed = this.#state.up !== up
    const why = reason === undefined ? {} : { reason }
    this.#state = { up, since: changed ? new Date() : this.#state.since, ...why }
    if (!changed) return
    const fields = { agent: this.#options.name, ...why }
    if (up) this.#options.log.info(fields, 'an agent answers')
    else this.#options.log.warn(fields, 'an agent is away')
  }

  async #open(): Promise<ClientHttp2Session> {
    if (this.#closed) throw this.#away('the control plane is stopping.')
    const session = this.#session
    if (session !== undefined && !session.closed && !session.destroyed) return session
    this.#opening ??= this.#connect()
      .catch((error: unknown) => {
        const reason = messageOf(error)
        this.#note(false, reason)
        throw this.#away(reason)
      })
      .finally(() => (this.#opening = undefined))
    return this.#opening
  }

  async #connect(): Promise<ClientHttp2Session> {
    const { name, connectTimeoutMs } = this.#options
    const url = this.#options.url()
    const tls = await this.#options.tls()
    const { hostname, port } = new URL(url)
    const socket = connectSocket(Number(port || 443), hostname.replace(/^\[|\]$/g, ''))
    const createConnection = () =>
      connectTls({
        ...tls,
        socket,
        servername: name,
        minVersion: 'TLSv1.3',
        ALPNProtocols: ['h2'],
        checkServerIdentity: (_host, certificate) =>
          isAgent(certificate, name)
            ? undefined
            : new Error(`at ${url} answers another one than the agent ${name}, by its certificate`),
      })
    const session = connect(url, { createConnection })
    for (const one of [session, socket]) {
      one.on('error', () => {}) // told below; one that comes later must not end this process
    }
    let late = false
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        late = true
        const error = new Error(`${url} did not answer within ${connectTimeoutMs} ms`)
        session.destroy(error)
        // A session waits for the end of a connection that is being made: minutes, where nothing answers at all.
        socket.destroy(error)
      }, connectTimeoutMs)
      const failed = (error?: Error): void => {
        this.#isSilent = late
        clearTimeout(timer)
        reject(error ?? new Error(`${url} closed the connection`))
      }
      session.once('error', failed)
      session.once('close', failed)
      // The server's settings, not `connect`: a server that refuses our certificate says so only after its part.
      session.once('remoteSettings', () => {
        this.#isSilent = false
        clearTimeout(timer)
        resolve()
      })
    })
    if (this.#closed) session.destroy()
    this.#watch(session)
    return session
  }

  #watch(session: ClientHttp2Session): void {
    this.#session = session
    this.#connections += 1
    this.#missed = 0
    this.#note(true)
    let reason = 'it closed the connection.'
    session.on('error', (error) => (reason = messageOf(error)))
    session.on('goaway', () => (reason = 'it is ending.'))
    session.on('close', () => {
      if (this.#session !== session) return
      this.#session = undefined
      this.#note(false, reason)
    })
  }

  /**
   * Pings are counted, not timed: where this process itself stood still, the answers that have come meanwhile are
   * read before the next tick.
   */
  #tick(): void {
    const session = this.#session
    if (session === undefined || session.closed || session.destroyed) {
      this.#open().catch(() => {})
      return
    }
    const { mostPingsMissed } = this.#options
    if (this.#missed >= mostPingsMissed) {
      session.destroy(new Error(`it left ${mostPingsMissed} pings unanswered.`))
      return
    }
    this.#missed += 1
    session.ping((error) => {
      if (error === null) this.#missed = 0
    })
  }

  #request(session: ClientHttp2Session, target: CallTarget, body: string): Promise<unknown> {
    const { name } = this.#options
    const kind = agentMethods[target.kind][target.method] ?? 'change'
    return new Promise((resolve, reject) => {
      const cut = (cause?: unknown): void => {
        const why = cause === undefined ? 'the connection was closed' : messageOf(cause)
        const message = `The agent ${name} did not answer the call ${target.method} (${why}).`
        reject(unanswered(kind, message, cause))
      }
      let stream: ClientHttp2Stream
      try {
        stream = session.request({
          ':method': 'POST',
          ':path': pathOf(target),
          'content-type': 'application/json',
          [callerHeader]: this.#callerId,
          [connectionHeader]: String(this.#connections),
        })
      } catch (error) {
        // Closed since it was looked at: nothing was sent.
        reject(this.#away(messageOf(error)))
        return
      }
      let status = 0
      let length = 0
      const chunks: Buffer[] = []
      stream.on('response', (headers) => (status = headers[':status'] ?? 0))
      stream.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length <= longestAnswer) return void chunks.push(chunk)
        stream.close(constants.NGHTTP2_CANCEL)
        cut(new Error(`its answer is longer than ${longestAnswer} bytes`))
      })
      stream.on('error', cut)
      stream.on('close', () => cut())
      stream.on('end', () => {
        // An answer that was cut off ends, too.
        if (status === 0 || stream.rstCode !== constants.NGHTTP2_NO_ERROR) return
        try {
          resolve(resultOf(status, Buffer.concat(chunks).toString('utf8'), name))
        } catch (error) {
          if (error instanceof SyntaxError) cut(error)
          else reject(error)
        }
      })
      stream.end(body)
    })
  }
}

/** What the agent returned, or throws what it threw. A cut-off answer is no JSON and throws a SyntaxError. */
function resultOf(status: number, text: string, name: string): unknown {
  const answer = JSON.parse(text) as { result?: unknown; error?: unknown } | null
  if (status === 200 && answer?.error === undefined) return answer?.result
  const thrown = decodeError(answer?.error)
  if (status === 200) {
    throw (
      thrown ?? new DomainError('internal', `The agent ${name} answered with an error that is none of ours.`)
    )
  }
  // Refused before anything was done. What the operator can mend (credentials, configuration) is worth another try.
  const reason = thrown?.message ?? `HTTP ${status}`
  throw new DomainError(
    status === 403 || status === 404 ? 'unavailable' : 'internal',
    `The agent ${name} refused the call: ${reason}.`,
  )
}

/** A typed agent whose calls go over `connection`; `identity` are its properties that are no calls. */
export function remoteAgent<A extends object>(
  connection: Pick<AgentConnection, 'call'>,
  { kind, name }: Omit<CallTarget, 'method'>,
  identity: Partial<A>,
): A {
  const calls = Object.keys(agentMethods[kind]).map((method) => [
    method,
    (...args: unknown[]) => connection.call({ kind, name, method }, args),
  ])
  return { ...identity, ...Object.fromEntries(calls) } as A
}
