import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { once } from 'node:events'

const magic = { server: 0x4e42444d41474943n, option: 0x49484156454f5054n, optionReply: 0x3e889045565a9n }
const request = { magic: 0x25609513, read: 0, write: 1, disconnect: 2, flush: 3, zeroes: 6 } as const
const go = 7
const answer = { ack: 1, info: 3, unsupported: 0x80000001 }
/** HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES */
const exportFlags = 0x1 | 0x4 | 0x8 | 0x20 | 0x40

export interface SlowNbdServer {
  server: Server
  content: Buffer
  /** Writes that are held back now, and how they are let go on. */
  held: { offset: number; release(): void }[]
  /** From now on writes of the connections that are there are held back. */
  hold(): void
  /** Connections whose client is gone, and which are kept for what came over them. */
  kept(): number
}

/**
 * An NBD server in memory that holds writes back when it is told to. As QEMU's does it keeps a connection that its client
 * closed until the last request that came over it has ended.
 */
export async function startSlowNbdServer(
  path: string,
  sizeBytes: number,
  description: string,
): Promise<SlowNbdServer> {
  const content = Buffer.alloc(sizeBytes)
  const held: SlowNbdServer['held'] = []
  const slow = new Set<Socket>()
  const sockets = new Set<Socket>()
  let kept = 0
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    let underWay = 0
    let isClosed = false
    socket.on('error', () => {})
    const settle = (): void => {
      if (!isClosed || underWay > 0) return
      kept--
      socket.destroy()
      sockets.delete(socket)
    }
    const close = (): void => {
      if (isClosed) return
      isClosed = true
      kept++
      settle()
    }
    serve(socket, description, sizeBytes, close, async ({ type, offset, data, length, reply }) => {
      if (type === request.disconnect) return close()
      underWay++
      if (type === request.write && slow.has(socket)) {
        await new Promise<void>((release) => held.push({ offset, release }))
      }
      if (type === request.write) data.copy(content, offset)
      if (type === request.zeroes) content.fill(0, offset, offset + length)
      if (!isClosed)
        reply(type === request.read ? content.subarray(offset, offset + length) : Buffer.alloc(0))
      underWay--
      settle()
    })
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    server,
    content,
    held,
    hold: () => sockets.forEach((socket) => slow.add(socket)),
    kept: () => kept,
  }
}

interface Request {
  type: number
  offset: number
  length: number
  data: Buffer
  reply(bytes: Buffer): void
}

function serve(
  socket: Socket,
  description: string,
  sizeBytes: number,
  close: () => void,
  on: (one: Request) => Promise<void> | void,
): void {
  let bytes: Buffer = Buffer.alloc(0)
  let wake = (): void => {}
  let isOver = false
  socket.on('data', (more: Buffer) => {
    bytes = Buffer.concat([bytes, more])
    wake()
  })
  socket.on('end', () => {
    isOver = true
    wake()
    close()
  })
  const take = async (length: number): Promise<Buffer> => {
    const isShort = (): boolean => bytes.length < length && !isOver
    while (isShort()) await new Promise<void>((resolve) => (wake = resolve))
    if (bytes.length < length) throw new Error('over')
    const taken = bytes.subarray(0, length)
    bytes = bytes.subarray(length)
    return taken
  }
  const answerOption = (option: number, type: number, data: Buffer): void => {
    const head = Buffer.alloc(20)
    head.writeBigUInt64BE(magic.optionReply, 0)
    head.writeUInt32BE(option, 8)
    head.writeUInt32BE(type, 12)
    head.writeUInt32BE(data.length, 16)
    socket.write(Buffer.concat([head, data]))
  }
  const converse = async (): Promise<void> => {
    const hello = Buffer.alloc(18)
    hello.writeBigUInt64BE(magic.server, 0)
    hello.writeBigUInt64BE(magic.option, 8)
    hello.writeUInt16BE(3, 16)
    socket.write(hello)
    await take(4)
    for (let option = 0; option !== go;) {
      const head = await take(16)
      option = head.readUInt32BE(8)
      await take(head.readUInt32BE(12))
      if (option !== go) answerOption(option, answer.unsupported, Buffer.alloc(0))
    }
    const size = Buffer.alloc(12)
    size.writeBigUInt64BE(BigInt(sizeBytes), 2)
    size.writeUInt16BE(exportFlags, 10)
    answerOption(go, answer.info, size)
    answerOption(go, answer.info, Buffer.concat([Buffer.from([0, 2]), Buffer.from(description)]))
    answerOption(go, answer.ack, Buffer.alloc(0))
    for (;;) {
      const head = Buffer.from(await take(28))
      const [type, length] = [head.readUInt16BE(6), head.readUInt32BE(24)]
      const data = type === request.write ? Buffer.from(await take(length)) : Buffer.alloc(0)
      const reply = (content: Buffer): void => {
        const line = Buffer.alloc(16)
        line.writeUInt32BE(0x67446698, 0)
        head.copy(line, 8, 8, 16)
        socket.write(Buffer.concat([line, content]))
      }
      void on({ type, length, data, offset: Number(head.readBigUInt64BE(16)), reply })
    }
  }
  converse().catch(() => {})
}
