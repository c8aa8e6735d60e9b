/**
 * A load generator that costs little: keep-alive connections over plain sockets, each with one request under way, in a
 * process of its own. It reads of an answer what it must (the status, the length) and only counts the body's bytes, so
 * that on two cores nearly all the time is the server's. Started by `http-clients.ts`; takes a `HttpLoad` as JSON from
 * its standard input and prints a `HttpLoadResult`.
 */
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'

export interface HttpLoad {
  host: string
  port: number
  /** Connections, each with one request under way. */
  clients: number
  /** How many requests in all; each client takes the next one that nobody has taken. */
  count: number
  /** Whole requests, in turns: head and body as they go over the wire. */
  requests: string[]
}

export interface HttpLoadResult {
  /** Milliseconds, from the sending to the last byte. */
  latencies: number[]
  /** Milliseconds from the first request to the last answer. */
  tookMs: number
  bytes: number
  /** Processor time of the load generator itself, in milliseconds. */
  cpuMs: number
}

async function runLoad(load: HttpLoad): Promise<HttpLoadResult> {
  if (load.requests.length === 0) throw new Error('There is nothing to ask.')
  const requests = load.requests.map((request) => Buffer.from(request))
  const clients = Math.min(load.clients, load.count)
  const sockets = await Promise.all(Array.from({ length: clients }, () => open(load)))
  const result: HttpLoadResult = { latencies: [], tookMs: 0, bytes: 0, cpuMs: 0 }
  const cpuBefore = process.cpuUsage()
  const begun = performance.now()
  let next = 0
  const take = (): Buffer | undefined => {
    if (next >= load.count) return undefined
    next += 1
    return requests[(next - 1) % requests.length]
  }
  await Promise.all(sockets.map((socket) => converse(socket, take, result)))
  result.tookMs = performance.now() - begun
  const { user, system } = process.cpuUsage(cpuBefore)
  result.cpuMs = (user + system) / 1000
  for (const socket of sockets) socket.removeAllListeners('close').destroy()
  if (result.latencies.length !== load.count) {
    throw new Error(`Of ${load.count} requests ${result.latencies.length} were answered.`)
  }
  return result
}

const open = ({ host, port }: HttpLoad): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true })
    socket.once('connect', () => resolve(socket)).once('error', reject)
  })

const headEnd = Buffer.from('\r\n\r\n')
const nothing: Buffer = Buffer.alloc(0)

/** One request after the other on one connection, until none is left. */
function converse(socket: Socket, take: () => Buffer | undefined, result: HttpLoadResult): Promise<void> {
  return new Promise((resolve, reject) => {
    let head: Buffer | undefined
    let left = 0
    let sentAt = 0
    const ask = (): void => {
      const request = take()
      if (request === undefined) return resolve()
      head = nothing
      sentAt = performance.now()
      socket.write(request)
    }
    const read = (part: Buffer): void => {
      if (head === undefined) {
        left -= part.length
        return
      }
      const whole = head.length === 0 ? part : Buffer.concat([head, part])
      const end = whole.indexOf(headEnd)
      head = whole
      if (end < 0) return
      left = lengthOf(whole.toString('latin1', 0, end)) - (whole.length - end - headEnd.length)
      head = undefined
    }
    socket.on('data', (part: Buffer) => {
      result.bytes += part.length
      try {
        read(part)
      } catch (error) {
        reject(error as Error)
        return
      }
      if (head !== undefined || left > 0) return
      result.latencies.push(performance.now() - sentAt)
      ask()
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('The server closed a connection that was to be kept.')))
    ask()
  })
}

/** Of the body. Throws for anything but 2xx with a length. */
function lengthOf(head: string): number {
  if (!/^HTTP\/1\.1 2\d\d /.test(head)) throw new Error(`The answer was ${head.split('\r\n')[0] ?? ''}.`)
  const length = /\r\ncontent-length: (\d+)/i.exec(head)
  if (length === null) throw new Error('The answer has no content-length.')
  return Number(length[1])
}

if (import.meta.main) {
  const load = JSON.parse(await text(process.stdin)) as HttpLoad
  process.stdout.write(JSON.stringify(await runLoad(load)))
}
