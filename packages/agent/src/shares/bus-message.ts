import { DomainError } from '@volant/contract'

/** Messages of a D-Bus, as its specification says: those few types that are sent, and all basic ones that are read. */

export const messageType = { call: 1, reply: 2, error: 3, signal: 4 } as const

export interface BusMessage {
  type: number
  serial: number
  replyTo?: number
  path?: string
  interface?: string
  member?: string
  errorName?: string
  destination?: string
  body: unknown[]
}

/** What is sent: text, or a number of 16 bits. */
export type BusArgument = string | number

const fieldCode = { path: 1, interface: 2, member: 3, errorName: 4, replyTo: 5, destination: 6, signature: 8 }

class Writer {
  readonly #parts: Buffer[] = []
  length = 0

  bytes(bytes: Buffer): void {
    this.#parts.push(bytes)
    this.length += bytes.length
  }
  align(to: number): void {
    this.bytes(Buffer.alloc((to - (this.length % to)) % to))
  }
  byte(value: number): void {
    this.bytes(Buffer.from([value]))
  }
  uint16(value: number): void {
    this.align(2)
    const bytes = Buffer.alloc(2)
    bytes.writeUInt16LE(value)
    this.bytes(bytes)
  }
  uint32(value: number): void {
    this.align(4)
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value)
    this.bytes(bytes)
  }
  text(value: string): void {
    const bytes = Buffer.from(value)
    this.uint32(bytes.length)
    this.bytes(bytes)
    this.byte(0)
  }
  signature(value: string): void {
    this.byte(value.length)
    this.bytes(Buffer.from(`${value}\0`, 'latin1'))
  }
  done(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

/** A call that wants an answer. */
export function encodeCall(
  serial: number,
  to: { destination: string; path: string; interface: string; member: string },
  args: readonly BusArgument[],
): Buffer {
  const body = new Writer()
  for (const one of args) {
    if (typeof one === 'number') body.uint16(one)
    else body.text(one)
  }
  const signature = args.map((one) => (typeof one === 'number' ? 'q' : 's')).join('')

  const fields = new Writer()
  const field = (code: number, type: string, write: () => void): void => {
    fields.align(8)
    fields.byte(code)
    fields.signature(type)
    write()
  }
  field(fieldCode.path, 'o', () => fields.text(to.path))
  field(fieldCode.interface, 's', () => fields.text(to.interface))
  field(fieldCode.member, 's', () => fields.text(to.member))
  field(fieldCode.destination, 's', () => fields.text(to.destination))
  if (signature !== '') field(fieldCode.signature, 'g', () => fields.signature(signature))

  const whole = new Writer()
  whole.bytes(Buffer.from(['l'.charCodeAt(0), messageType.call, 0, 1]))
  whole.uint32(body.length)
  whole.uint32(serial)
  whole.uint32(fields.length)
  whole.bytes(fields.done())
  whole.align(8)
  whole.bytes(body.done())
  return whole.done()
}

const malformed = (): DomainError =>
  new DomainError('unavailable', 'The message bus sent what is no message.')

class Reader {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.at = at
  }

  align(to: number): void {
    this.at += (to - (this.at % to)) % to
  }
  #take(size: number): number {
    this.align(size)
    const at = this.at
    this.at += size
    if (this.at > this.#bytes.length) throw malformed()
    return at
  }
  uint32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }
  #text(length: number): string {
    const text = this.#bytes.toString('utf8', this.at, this.at + length)
    this.at += length + 1
    if (this.at > this.#bytes.length) throw malformed()
    return text
  }
  #array(signature: string): unknown[] {
    const length = this.uint32()
    if (alignmentOf(signature) === 8) this.align(8)
    const items: unknown[] = []
    for (const end = this.at + length; this.at < end;) items.push(this.value(signature))
    return items
  }
  /** One value of the complete type `type`. 64-bit numbers come as numbers, structures as arrays. */
  value(type: string): unknown {
    const bytes = this.#bytes
    switch (type[0]) {
      case 'y':
        return bytes.readUInt8(this.#take(1))
      case 'b':
        return this.uint32() === 1
      case 'n':
        return bytes.readInt16LE(this.#take(2))
      case 'q':
        return bytes.readUInt16LE(this.#take(2))
      case 'i':
        return bytes.readInt32LE(this.#take(4))
      case 'u':
        return this.uint32()
      case 'x':
        return Number(bytes.readBigInt64LE(this.#take(8)))
      case 't':
        return Number(bytes.readBigUInt64LE(this.#take(8)))
      case 'd':
        return bytes.readDoubleLE(this.#take(8))
      case 's':
      case 'o':
        return this.#text(this.uint32())
      case 'g':
        return this.#text(bytes.readUInt8(this.#take(1)))
      case 'v':
        return this.value(this.#text(bytes.readUInt8(this.#take(1))))
      case 'a':
        return this.#array(type.slice(1))
      case '(':
      case '{':
        this.align(8)
        return this.all(type.slice(1, -1))
      default:
        throw malformed()
    }
  }
  all(signature: string): unknown[] {
    return typesOf(signature).map((type) => this.value(type))
  }
}

const alignmentOf = (type: string): number => ('xtd({'.includes(type[0] ?? ' ') ? 8 : 4)

/** The complete types that a signature is a row of: `sa(qs)` is `s` and `a(qs)`. */
function typesOf(signature: string): string[] {
  const types: string[] = []
  let depth = 0
  let type = ''
  for (const letter of signature) {
    type += letter
    if (letter === '(' || letter === '{') depth += 1
    if (letter === ')' || letter === '}') depth -= 1
    if (depth > 0 || letter === 'a') continue
    types.push(type)
    type = ''
  }
  if (type !== '') throw malformed()
  return types
}

/** The first message in `bytes` and how long it is; undefined where it is not all there yet. */
export function decodeMessage(bytes: Buffer): { message: BusMessage; length: number } | undefined {
  if (bytes.length < 16) return undefined
  if (bytes[0] !== 'l'.charCodeAt(0)) throw malformed()
  const bodyLength = bytes.readUInt32LE(4)
  const bodyAt = 16 + Math.ceil(bytes.readUInt32LE(12) / 8) * 8
  const length = bodyAt + bodyLength
  if (bytes.length < length) return undefined
  const whole = bytes.subarray(0, length)
  const fields = new Map(new Reader(whole, 12).value('a(yv)') as [number, unknown][])
  const text = (code: number): string | undefined => fields.get(code) as string | undefined
  const body = whole.subarray(bodyAt)
  const named = {
    replyTo: fields.get(fieldCode.replyTo) as number | undefined,
    path: text(fieldCode.path),
    interface: text(fieldCode.interface),
    member: text(fieldCode.member),
    errorName: text(fieldCode.errorName),
    destination: text(fieldCode.destination),
  }
  const message = {
    type: whole.readUInt8(1),
    serial: whole.readUInt32LE(8),
    ...(Object.fromEntries(
      Object.entries(named).filter(([, value]) => value !== undefined),
    ) as Partial<BusMessage>),
    body: new Reader(body).all(text(fieldCode.signature) ?? ''),
  }
  return { message, length }
}
