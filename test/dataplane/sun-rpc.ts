import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'

/** Remote procedure calls (ONC RPC over TCP) and what their arguments are made of (XDR). For tests only. */

export class XdrWriter {
  readonly #parts: Buffer[] = []

  bytes(bytes: Buffer): this {
    this.#parts.push(bytes)
    return this
  }
  u32(...values: number[]): this {
    for (const value of values) {
      const bytes = Buffer.alloc(4)
      bytes.writeUInt32BE(value)
      this.bytes(bytes)
    }
    return this
  }
  u64(value: bigint): this {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(value)
    return this.bytes(bytes)
  }
  opaque(value: Buffer | string): this {
    const bytes = Buffer.from(value as string)
    return this.u32(bytes.length)
      .bytes(bytes)
      .bytes(Buffer.alloc((4 - (bytes.length % 4)) % 4))
  }
  done(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

export class XdrReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }
  bytes(length: number): Buffer {
    const bytes = this.#bytes.subarray(this.#at, this.#at + length)
    if (bytes.length < length) throw new Error('The answer ends too early.')
    this.#at += length
    return bytes
  }
  u32(): number {
    return this.bytes(4).readUInt32BE()
  }
  u64(): bigint {
    return this.bytes(8).readBigUInt64BE()
  }
  opaque(): Buffer {
    const length = this.u32()
    const bytes = this.bytes(length)
    this.bytes((4 - (length % 4)) % 4)
    return bytes
  }
}

const lastFragment = 0x80000000

/** A connection to a server's port, from a source address of one's own; calls come one after the other. */
export class RpcConnection {
  readonly #socket: Socket
  #xid = Math.floor(Math.random() * 2 ** 31)
  #bytes: Buffer = Buffer.alloc(0)

  static async open(host: string, port: number, from: string): Promise<RpcConnection> {
    const socket = connect({ host, port, localAddress: from })
    await once(socket, 'connect')
    socket.on('error', () => {})
    return new RpcConnection(socket)
  }

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => (this.#bytes = Buffer.concat([this.#bytes, bytes])))
  }

  close(): void {
    this.#socket.destroy()
  }

  async call(
    program: number,
    version: number,
    procedure: number,
    args: Buffer,
    user = { uid: 0, gid: 0 },
  ): Promise<XdrReader> {
    const xid = ++this.#xid
    const credentials = new XdrWriter().u32(0).opaque('test').u32(user.uid, user.gid, 0).done()
    const message = new XdrWriter()
      .u32(xid, 0, 2, program, version, procedure)
      .u32(1)
      .opaque(credentials)
      .u32(0, 0)
      .bytes(args)
      .done()
    this.#socket.write(
      new XdrWriter()
        .u32((lastFragment | message.length) >>> 0)
        .bytes(message)
        .done(),
    )
    // What the server asks of its client on the same connection is not answered.
    for (;;) {
      const answer = new XdrReader(await this.#record())
      if (answer.u32() !== xid || answer.u32() !== 1) continue
      const denied = answer.u32()
      if (denied !== 0) throw new Error(`The call was denied: ${denied}, ${answer.u32()}.`)
      answer.u32()
      answer.opaque()
      const accepted = answer.u32()
      if (accepted !== 0) throw new Error(`The call was not accepted: ${accepted}.`)
      return answer
    }
  }

  async #record(): Promise<Buffer> {
    const parts: Buffer[] = []
    for (;;) {
      const head = (await this.#take(4)).readUInt32BE()
      parts.push(await this.#take(head & 0x7fffffff))
      if (head >= lastFragment) return Buffer.concat(parts)
    }
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      if (this.#socket.destroyed) throw new Error('The server closed the connection.')
      await new Promise<void>((resolve) => {
        const go = (): void => {
          this.#socket.off('data', go).off('close', go)
          resolve()
        }
        this.#socket.on('data', go).on('close', go)
      })
    }
    const bytes = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return bytes
  }
}
