import { randomBytes } from 'node:crypto'
import { RpcConnection, XdrReader, XdrWriter } from './sun-rpc.ts'

/** As much of an NFSv4.1 client as the tests of access rules, handles and locks need (RFC 8881). */

const program = 100_003
const operations = {
  close: 4,
  getfh: 10,
  lock: 12,
  lookup: 15,
  open: 18,
  putfh: 22,
  putrootfh: 24,
  read: 25,
  readdir: 26,
  write: 38,
  exchangeId: 42,
  createSession: 43,
  destroySession: 44,
  sequence: 53,
  reclaimComplete: 58,
} as const

const nfsErrors = {
  0: 'ok',
  2: 'NOENT',
  5: 'IO',
  13: 'ACCESS',
  30: 'ROFS',
  70: 'STALE',
  10_001: 'BADHANDLE',
  10_008: 'DELAY',
  10_010: 'DENIED',
  10_013: 'GRACE',
  10_023: 'STALE_STATEID',
  10_025: 'BAD_STATEID',
  10_033: 'NO_GRACE',
  10_052: 'BADSESSION',
} as Record<number, string>

/** A refusal, by the name that the protocol gives it, such as `ACCESS`. */
export class NfsError extends Error {
  readonly nfs: string
  constructor(status: number) {
    super(`The server answered ${nfsErrors[status] ?? status}.`)
    this.nfs = nfsErrors[status] ?? String(status)
  }
}

interface Step {
  op: number
  args?: Buffer
}

const step = (name: keyof typeof operations, write: (xdr: XdrWriter) => void = () => {}): Step => {
  const xdr = new XdrWriter()
  write(xdr)
  return { op: operations[name], args: xdr.done() }
}

export interface OpenFile {
  handle: Buffer
  stateid: Buffer
}

const anyStateid = Buffer.alloc(16)

export class Nfs4Client {
  readonly #from: string
  readonly #server: string
  readonly #owner = randomBytes(16).toString('hex')
  readonly #verifier = randomBytes(8)
  readonly user: { uid: number; gid: number }
  #connection: RpcConnection | undefined
  #clientId = 0n
  #session = Buffer.alloc(16)
  #sequence = 0
  /** Major owner and scope of the server, as it told them at the last session. */
  identity = { owner: '', scope: '' }

  /** `from`: the address that the server sees. */
  constructor(server: string, from: string, user = { uid: 0, gid: 0 }) {
    this.#server = server
    this.#from = from
    this.user = user
  }

  static async open(server: string, from: string, user?: { uid: number; gid: number }): Promise<Nfs4Client> {
    const client = new Nfs4Client(server, from, user)
    await client.connect()
    await client.reclaimComplete()
    return client
  }

  close(): void {
    this.#connection?.close()
  }

  /** A connection and a session; after a restart of the server those of the same client. */
  async connect(): Promise<void> {
    this.#connection?.close()
    this.#connection = await RpcConnection.open(this.#server, 2049, this.#from)
    const exchange = step('exchangeId', (xdr) => xdr.bytes(this.#verifier).opaque(this.#owner).u32(0, 0, 0))
    const named = await this.#compound([exchange])
    this.#result(named, exchange)
    this.#clientId = named.u64()
    const sequence = named.u32()
    named.u32()
    named.u32()
    named.u64()
    const text = (): string => named.opaque().toString().replace(/\0$/, '')
    this.identity = { owner: text(), scope: text() }
    const channel = (xdr: XdrWriter): XdrWriter => xdr.u32(0, 65_536, 65_536, 4096, 16, 4, 0)
    const create = step('createSession', (xdr) => {
      channel(channel(xdr.u64(this.#clientId).u32(sequence, 0))).u32(0x40000000, 1, 0)
    })
    const created = await this.#compound([create])
    this.#result(created, create)
    this.#session = Buffer.from(created.bytes(16))
    this.#sequence = 0
  }

  async reclaimComplete(): Promise<void> {
    await this.#run([step('reclaimComplete', (xdr) => xdr.u32(0))])
  }

  /** The names in a folder, from the root of the namespace on. */
  async list(path: string): Promise<string[]> {
    const names: string[] = []
    const read = step('readdir', (xdr) => xdr.u64(0n).bytes(Buffer.alloc(8)).u32(8192, 32_768, 0))
    const answer = await this.#run([...walk(path), read])
    answer.bytes(8)
    while (answer.u32() === 1) {
      answer.u64()
      names.push(answer.opaque().toString())
      for (let words = answer.u32(); words > 0; words -= 1) answer.u32()
      answer.opaque()
    }
    return names
  }

  async handleOf(path: string): Promise<Buffer> {
    const answer = await this.#run([...walk(path), step('getfh')])
    return Buffer.from(answer.opaque())
  }

  /** The names in the folder with that handle. */
  async listHandle(handle: Buffer): Promise<string[]> {
    const read = step('readdir', (xdr) => xdr.u64(0n).bytes(Buffer.alloc(8)).u32(8192, 32_768, 0))
    const answer = await this.#run([step('putfh', (xdr) => xdr.opaque(handle)), read])
    answer.bytes(8)
    const names: string[] = []
    while (answer.u32() === 1) {
      answer.u64()
      names.push(answer.opaque().toString())
      for (let words = answer.u32(); words > 0; words -= 1) answer.u32()
      answer.opaque()
    }
    return names
  }

  /** Opens for reading and writing; makes it where `create`. */
  async openFile(folder: string, name: string, create = false): Promise<OpenFile> {
    const open = step('open', (xdr) => {
      xdr.u32(0, 3, 0).u64(this.#clientId).opaque('opener')
      if (create) xdr.u32(1, 0, 0, 0)
      else xdr.u32(0)
      xdr.u32(0).opaque(name)
    })
    const answer = await this.#run([...walk(folder), open, step('getfh')], (reader) => this.#opened(reader))
    return answer
  }

  /** Claims an open file of before the server's restart. */
  async reclaimOpen({ handle }: OpenFile): Promise<OpenFile> {
    const open = step('open', (xdr) => {
      xdr.u32(0, 3, 0).u64(this.#clientId).opaque('opener').u32(0).u32(1, 0)
    })
    const put = step('putfh', (xdr) => xdr.opaque(handle))
    return this.#run([put, open, step('getfh')], (reader) => this.#opened(reader))
  }

  #opened(reader: XdrReader): OpenFile {
    const stateid = Buffer.from(reader.bytes(16))
    reader.bytes(4 + 8 + 8 + 4)
    for (let words = reader.u32(); words > 0; words -= 1) reader.u32()
    if (reader.u32() === 3) reader.u32() // no delegation, and why
    this.#result(reader, { op: operations.getfh })
    return { handle: Buffer.from(reader.opaque()), stateid }
  }

  async write({ handle, stateid }: OpenFile, text: string): Promise<void> {
    const write = step('write', (xdr) => xdr.bytes(stateid).u64(0n).u32(2).opaque(text))
    await this.#run([step('putfh', (xdr) => xdr.opaque(handle)), write])
  }

  async read({ handle, stateid }: { handle: Buffer; stateid?: Buffer }): Promise<string> {
    const read = step('read', (xdr) =>
      xdr
        .bytes(stateid ?? anyStateid)
        .u64(0n)
        .u32(4096),
    )
    const answer = await this.#run([step('putfh', (xdr) => xdr.opaque(handle)), read])
    answer.u32()
    return answer.opaque().toString()
  }

  /** Locks the whole file for writing. */
  async lock({ handle, stateid }: OpenFile, reclaim = false): Promise<void> {
    const lock = step('lock', (xdr) => {
      xdr
        .u32(2, reclaim ? 1 : 0)
        .u64(0n)
        .u64(0xffffffffffffffffn)
      xdr.u32(1, 0).bytes(stateid).u32(0).u64(this.#clientId).opaque('locker')
    })
    await this.#run([step('putfh', (xdr) => xdr.opaque(handle)), lock])
  }

  #run(steps: Step[]): Promise<XdrReader>
  #run<T>(steps: Step[], last: (reader: XdrReader) => T): Promise<T>
  /** Up to the result of the last step, or of the last but one where `last` reads on from there. */
  async #run<T>(steps: Step[], last?: (reader: XdrReader) => T): Promise<XdrReader | T> {
    this.#sequence += 1
    const sequence = step('sequence', (xdr) => xdr.bytes(this.#session).u32(this.#sequence, 0, 0, 0))
    const answer = await this.#compound([sequence, ...steps])
    this.#result(answer, sequence)
    answer.bytes(16 + 5 * 4)
    const own = last === undefined ? steps : steps.slice(0, -1)
    for (const one of own) this.#result(answer, one)
    return last === undefined ? answer : last(answer)
  }

  async #compound(steps: Step[]): Promise<XdrReader> {
    const xdr = new XdrWriter().opaque('').u32(1, steps.length)
    for (const { op, args } of steps) xdr.u32(op).bytes(args ?? Buffer.alloc(0))
    if (!this.#connection) throw new Error('This client is not connected.')
    const answer = await this.#connection.call(program, 4, 1, xdr.done(), this.user)
    answer.u32()
    answer.opaque()
    answer.u32()
    return answer
  }

  #result(answer: XdrReader, { op }: Step): void {
    const [found, status] = [answer.u32(), answer.u32()]
    if (found !== op) throw new Error(`The server answered operation ${found}, not ${op}.`)
    if (status !== 0) throw new NfsError(status)
  }
}

const walk = (path: string): Step[] => [
  step('putrootfh'),
  ...path
    .split('/')
    .filter((name) => name !== '')
    .map((name) => step('lookup', (xdr) => xdr.opaque(name))),
]
