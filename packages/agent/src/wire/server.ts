import { createSecureServer } from 'node:http2'
import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { agentMethods, isDomainError, messageOf } from '@volant/contract'
import type { AgentKind } from '@volant/contract'
import { isControlPlane } from '@volant/qemu/tls/authority.ts'
import type { Log } from '../daemon/log.ts'
import { callerHeader, connectionHeader, encodeError, longestRequest, targetOf } from './protocol.ts'
import type { Answer } from './protocol.ts'

export interface PeerTls {
  ca: Buffer
  cert: Buffer
  key: Buffer
}

/** The agent of that kind and name in this process, or undefined. */
export type FindAgent = (kind: AgentKind, name: string) => object | undefined

export interface AgentServer {
  /** `https://HOST:PORT` */
  url: string
  /** Takes no more calls, lets those under way come to their end for `graceMs` at most, and closes. */
  close(graceMs: number): Promise<void>
}

/** A request whose body has not arrived within this is refused. Milliseconds. */
const bodyTimeoutMs = 15_000
const handshakeTimeoutMs = 10_000
/** Calls of one connection at once. */
const mostCalls = 1000

/** Callers remembered: control planes come and go, and few are there at once. */
const mostCallers = 100

/** Tells calls of a connection that its caller has replaced by another; see `callerHeader`. */
class Connections {
  readonly #newest = new Map<string, number>()

  /** Throws where the caller has called on a newer connection. Without the headers it is not told apart. */
  admit(headers: IncomingHttpHeaders): void {
    const caller = headers[callerHeader]
    const connection = Number(headers[connectionHeader])
    if (typeof caller !== 'string' || !Number.isSafeInteger(connection)) return
    const newest = this.#newest.get(caller) ?? 0
    if (connection < newest) throw new Refused(409, 'this connection was given up for a newer one')
    this.#newest.delete(caller)
    this.#newest.set(caller, connection)
    const [oldest] = this.#newest.keys()
    if (this.#newest.size > mostCallers && oldest !== undefined) this.#newest.delete(oldest)
  }
}

/** A request that is no call: nothing was done. */
class Refused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Serves the calls of this process's agents to the control plane, and to nobody else of the installation. */
export async function serveAgents(options: {
  find: FindAgent
  tls: PeerTls
  host: string
  /** 0: any free one. */
  port: number
  log: Log
  /** Calls wait for it. */
  ready?: Promise<unknown>
}): Promise<AgentServer> {
  const { find, log, ready = Promise.resolve() } = options
  const sessions = new Set<Http2Session>()
  const connections = new Connections()
  const server = createSecureServer({
    ...options.tls,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    handshakeTimeout: handshakeTimeoutMs,
    settings: { maxConcurrentStreams: mostCalls },
  })
  // A peer whose machine is gone says nothing more, not even that.
  server.on('connection', (socket) => socket.setKeepAlive(true, 30_000))
  server.on('session', (session) => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
    session.on('error', (error) => log.info({ reason: messageOf(error) }, 'a connection ended in an error'))
  })
  server.on('tlsClientError', (error) => {
    log.warn({ reason: messageOf(error) }, 'a connection without a right certificate was refused')
  })
  server.on('stream', (stream, headers) => {
    stream.on('error', (error) => log.info({ reason: messageOf(error) }, 'a call was cut off'))
    void answer(stream as ServerHttp2Stream, headers, { find, log, ready, connections })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  server.on('error', (error) => log.warn({ reason: messageOf(error) }, 'a connection could not be taken'))
  const { address, port, family } = server.address() as AddressInfo
  return {
    url: `https://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const session of sessions) session.close()
      const timer = setTimeout(() => {
        for (const session of sessions) session.destroy()
      }, graceMs)
      await closed
      clearTimeout(timer)
    },
  }
}

async function answer(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  {
    find,
    log,
    ready,
    connections,
  }: { find: FindAgent; log: Log; ready: Promise<unknown>; connections: Connections },
): Promise<void> {
  const path = String(headers[':path'])
  try {
    const call = await readCall(stream, String(headers[':method']), path, find)
    await ready
    connections.admit(headers)
    send(stream, 200, await perform(call, path, log))
  } catch (error) {
    const status = error instanceof Refused ? error.status : 500
    log.warn({ path, status, reason: messageOf(error) }, 'a request was refused')
    send(stream, status, { error: { code: 'invalid', message: messageOf(error) } })
  }
}

function send(stream: ServerHttp2Stream, status: number, body: Answer): void {
  // The caller may have gone; what was done stays done, and it asks again.
  if (stream.destroyed || stream.closed) return
  stream.respond({ ':status': status, 'content-type': 'application/json' })
  stream.end(JSON.stringify(body))
}

interface Call {
  invoke(): Promise<unknown>
}

async function perform(call: Call, path: string, log: Log): Promise<Answer> {
  try {
    return { result: await call.invoke() }
  } catch (error) {
    if (!isDomainError(error)) log.warn({ path, err: error }, 'a call failed by a fault of the agent')
    return { error: encodeError(error) }
  }
}

async function readCall(
  stream: ServerHttp2Stream,
  httpMethod: string,
  path: string,
  find: FindAgent,
): Promise<Call> {
  const peer = (stream.session?.socket as TLSSocket | undefined)?.getPeerCertificate()
  if (peer === undefined || !isControlPlane(peer)) {
    throw new Refused(403, 'only the control plane may call an agent; this certificate is not its own')
  }
  if (httpMethod !== 'POST') throw new Refused(405, 'a call is a POST')
  const target = targetOf(path)
  if (target === undefined) throw new Refused(404, `${path} is no call; it is /v1/KIND/NAME/METHOD`)
  const { kind, name, method } = target
  const methods = Object.hasOwn(agentMethods, kind) ? agentMethods[kind as AgentKind] : undefined
  if (methods === undefined || !Object.hasOwn(methods, method)) {
    throw new Refused(404, `there is no call ${method} of ${kind}`)
  }
  const agent = find(kind as AgentKind, name)
  if (agent === undefined) throw new Refused(404, `this process has no agent ${name} of ${kind}`)
  const args = argumentsOf(await readBody(stream), methods[method] === 'change')
  const call = Reflect.get(agent, method) as (...given: unknown[]) => Promise<unknown>
  return { invoke: async () => Reflect.apply(call, agent, args) as Promise<unknown> }
}

/** The body as text. The rest of one that is too long is read and forgotten, so that the refusal arrives. */
function readBody(stream: ServerHttp2Stream): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    const timer = setTimeout(() => {
      reject(new Refused(408, `the body did not arrive within ${bodyTimeoutMs} ms`))
    }, bodyTimeoutMs)
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length <= longestRequest) chunks.push(chunk)
      else reject(new Refused(413, `the body is longer than ${longestRequest} bytes`))
    })
    stream.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')))
    stream.on('close', () => {
      clearTimeout(timer)
      reject(new Refused(400, 'the request was cut off'))
    })
  })
}

function argumentsOf(text: string, needsCaller: boolean): unknown[] {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch (error) {
    throw new Refused(400, `the body is no JSON: ${messageOf(error)}`)
  }
  const args = (body as { args?: unknown } | null)?.args
  if (!Array.isArray(args)) throw new Refused(400, 'the body must be {"args": [...]}')
  if (needsCaller) requireCaller(args[0])
  return args as unknown[]
}

function requireCaller(value: unknown): void {
  const { fence, operationId } = (value ?? {}) as Record<string, unknown>
  const isCaller =
    Number.isSafeInteger(fence) && (operationId === undefined || typeof operationId === 'string')
  if (!isCaller) throw new Refused(400, 'the first argument must be the caller, {"fence": N}')
}
