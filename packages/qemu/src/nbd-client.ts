import { connect as connectSocket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { ByteReader } from './byte-reader.ts'
import { dialInNetns } from './netns-dial.ts'

/**
 * A small NBD client (fixed newstyle, simple replies; https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md).
 * It moves no volume data: it checks an export's identity before QEMU opens it, and proves over a connection of
 * its own that a mirror's target still answers at the moment of decision.
 */
export interface NbdAddress {
  /** Unix socket, or else host and port. */
  path?: string
  host?: string
  port?: number
  /** Network namespace (a path) to connect from. */
  netns?: string
  tls?: NbdTls
}

export interface NbdTls {
  ca: Buffer
  cert: Buffer
  key: Buffer
  /** The name that the server's certificate must carry. */
  hostname: string
}

/** The server answered an option or a request with an error. */
export class NbdRefused extends Error {
  override name = 'NbdRefused'
  readonly code: number

  constructor(message: string, code: number) {
    super(message)
    this.code = code
  }
}

const NBD_MAGIC = 0x4e42444d41474943n
const IHAVEOPT = 0x49484156454f5054n
const REPLY_MAGIC = 0x3e889045565a9n
const OPT_STARTTLS = 5
const OPT_GO = 7
const REP_ACK = 1
const REP_INFO = 3
const REP_ERROR_BIT = 0x80000000
const INFO_EXPORT = 0
const INFO_NAME = 1
const INFO_DESCRIPTION = 2
const CMD = { read: 0, write: 1, disconnect: 2, flush: 3 } as const

interface Pending {
  bytes: number
  resolve(data: Buffer): void
  reject(error: Error): void
}

export class NbdClient {
  readonly sizeBytes: number
  readonly description: string
  /** Settles when the connection has ended. */
  readonly closed: Promise<Error>
  readonly #stream: Duplex
  readonly #reader: ByteReader
  readonly #pending = new Map<bigint, Pending>()
  #next = 1n
  #error: Error | undefined

  private constructor(stream: Duplex, reader: ByteReader, sizeBytes: number, description: string) {
    this.#stream = stream
    this.#reader = reader
    this.sizeBytes = sizeBytes
    this.description = description
    this.closed = this.#readReplies()
  }

  /** Connects and opens the export, within `timeoutMs` in all. */
  static async connect(address: NbdAddress, exportName: string, timeoutMs: number): Promise<NbdClient> {
    const streams: Duplex[] = []
    let timer: NodeJS.Timeout | undefined
    const bound = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new Error(`The NBD server did not answer within ${timeoutMs} ms.`)),
        timeoutMs,
      )
    })
    try {
      return await Promise.race([NbdClient.#open(address, exportName, streams), bound])
    } catch (error) {
      for (const stream of streams) stream.destroy()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  static async #open(address: NbdAddress, exportName: string, streams: Duplex[]): Promise<NbdClient> {
    let stream = await openStream(address)
    streams.push(stream)
    let reader = new ByteReader(stream)
    const greeting = await reader.take(18)
    if (greeting.readBigUInt64BE(0) !== NBD_MAGIC || greeting.readBigUInt64BE(8) !== IHAVEOPT) {
      throw new Error('What answers is no NBD server.')
    }
    const flags = Buffer.alloc(4)
    flags.writeUInt32BE(greeting.readUInt16BE(16) & 3) // FIXED_NEWSTYLE, NO_ZEROES
    stream.write(flags)
    if (address.tls) {
      stream.write(option(OPT_STARTTLS, Buffer.alloc(0)))
      await readOptionReply(reader)
      reader.detach()
      stream = await upgrade(stream, address.tls)
      streams.push(stream)
      reader = new ByteReader(stream)
    }
    const { sizeBytes, description } = await go(stream, reader, exportName)
    return new NbdClient(stream, reader, sizeBytes, description)
  }

  read(offset: number, bytes: number): Promise<Buffer> {
    return this.#request(CMD.read, offset, bytes)
  }

  async write(offset: number, data: Buffer): Promise<void> {
    await this.#request(CMD.write, offset, data.length, data)
  }

  async flush(): Promise<void> {
    await this.#request(CMD.flush, 0, 0)
  }

  close(): void {
    this.#fail(new Error('The NBD connection was closed here.'))
    this.#stream.end(header(CMD.disconnect, 0n, 0, 0))
    this.#stream.on('close', () => {})
    setTimeout(() => this.#stream.destroy(), 100).unref()
  }

  #request(command: number, offset: number, bytes: number, data?: Buffer): Promise<Buffer> {
    if (this.#error) return Promise.reject(this.#error)
    const cookie = this.#next++
    return new Promise((resolve, reject) => {
      this.#pending.set(cookie, { bytes: command === CMD.read ? bytes : 0, resolve, reject })
      const head = header(command, cookie, offset, bytes)
      this.#stream.write(data ? Buffer.concat([head, data]) : head)
    })
  }

  async #readReplies(): Promise<Error> {
    try {
      for (;;) {
        const reply = await this.#reader.take(16)
        if (reply.readUInt32BE(0) !== 0x67446698) throw new Error('The NBD server sent no valid reply.')
        const [code, cookie] = [reply.readUInt32BE(4), reply.readBigUInt64BE(8)]
        const pending = this.#pending.get(cookie)
        if (!pending) throw new Error('The NBD server answered what was not asked.')
        const data =
          code === 0 && pending.bytes > 0 ? await this.#reader.take(pending.bytes) : Buffer.alloc(0)
        this.#pending.delete(cookie)
        if (code === 0) pending.resolve(data)
        else pending.reject(new NbdRefused(`The NBD server reports error ${code}.`, code))
      }
    } catch (error) {
      this.#fail(error as Error)
      return error as Error
    }
  }

  #fail(error: Error): void {
    this.#error ??= error
    for (const pending of this.#pending.values()) pending.reject(this.#error)
    this.#pending.clear()
  }
}

async function openStream({ path, host, port, netns }: NbdAddress): Promise<Duplex> {
  if (path !== undefined) return connected(connectSocket({ path }))
  if (host === undefined || port === undefined)
    throw new Error('An NBD address needs a path, or a host and a port.')
  if (netns !== undefined) return dialInNetns(netns, host, port)
  return connected(connectSocket({ host, port, noDelay: true }))
}

function connected(socket: ReturnType<typeof connectSocket>): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    socket.once('connect', () => {
      socket.off('error', reject)
      socket.on('error', () => {})
      resolve(socket)
    })
    socket.once('error', reject)
  })
}

function upgrade(stream: Duplex, { ca, cert, key, hostname }: NbdTls): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const secure = connectTls({ socket: stream, ca, cert, key, servername: hostname }, () => {
      secure.off('error', reject)
      secure.on('error', () => {})
      resolve(secure)
    })
    secure.once('error', reject)
  })
}

function option(code: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16)
  head.writeBigUInt64BE(IHAVEOPT, 0)
  head.writeUInt32BE(code, 8)
  head.writeUInt32BE(data.length, 12)
  return Buffer.concat([head, data])
}

async function readOptionReply(reader: ByteReader): Promise<{ type: number; data: Buffer }> {
  const head = await reader.take(20)
  if (head.readBigUInt64BE(0) !== REPLY_MAGIC) throw new Error('The NBD server sent no valid option reply.')
  const type = head.readUInt32BE(12)
  const length = head.readUInt32BE(16)
  const data = length > 0 ? await reader.take(length) : Buffer.alloc(0)
  if (type >= REP_ERROR_BIT) {
    throw new NbdRefused(
      `The NBD server refuses: ${data.toString('utf8') || `error ${type - REP_ERROR_BIT}`}`,
      type,
    )
  }
  return { type, data }
}

async function go(
  stream: Duplex,
  reader: ByteReader,
  exportName: string,
): Promise<{ sizeBytes: number; description: string }> {
  const name = Buffer.from(exportName)
  const request = Buffer.alloc(4 + name.length + 2 + 4)
  request.writeUInt32BE(name.length, 0)
  name.copy(request, 4)
  request.writeUInt16BE(2, 4 + name.length)
  request.writeUInt16BE(INFO_NAME, 6 + name.length)
  request.writeUInt16BE(INFO_DESCRIPTION, 8 + name.length)
  stream.write(option(OPT_GO, request))
  let [sizeBytes, description] = [-1, '']
  for (;;) {
    const { type, data } = await readOptionReply(reader)
    if (type === REP_ACK) break
    if (type !== REP_INFO) continue
    const info = data.readUInt16BE(0)
    if (info === INFO_EXPORT) sizeBytes = Number(data.readBigUInt64BE(2))
    if (info === INFO_DESCRIPTION) description = data.toString('utf8', 2)
  }
  if (sizeBytes < 0) throw new Error('The NBD server did not tell the size of its export.')
  return { sizeBytes, description }
}

function header(command: number, cookie: bigint, offset: number, bytes: number): Buffer {
  const head = Buffer.alloc(28)
  head.writeUInt32BE(0x25609513, 0)
  head.writeUInt16BE(command, 6)
  head.writeBigUInt64BE(cookie, 8)
  head.writeBigUInt64BE(BigInt(offset), 16)
  head.writeUInt32BE(bytes, 24)
  return head
}
