import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { DomainError } from '@volant/contract'
import { decodeMessage, encodeCall, messageType } from './bus-message.ts'
import type { BusArgument, BusMessage } from './bus-message.ts'

export interface BusCall {
  destination: string
  path: string
  interface: string
  member: string
}

const theBus = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
}

/** The bus refused a call, or whom it was for did. */
export class BusError extends Error {
  readonly errorName: string
  constructor(errorName: string, text: string) {
    super(text)
    this.errorName = errorName
  }
}

interface Waiting {
  resolve(body: unknown[]): void
  reject(error: Error): void
}

/** A connection to a private message bus (D-Bus) on a unix socket. Calls are answered in any order. */
export class BusConnection {
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  readonly #listeners = new Map<string, (owner: string) => void>()
  #bytes: Buffer = Buffer.alloc(0)
  #serial = 0
  #greeted = false
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>

  /** Throws `unavailable` where nobody listens there, or nobody answers within `timeoutMs`. */
  static async open(path: string, timeoutMs = 5000): Promise<BusConnection> {
    const socket = connect({ path })
    const bus = new BusConnection(socket)
    const late = setTimeout(() => socket.destroy(), timeoutMs)
    try {
      const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString('hex')
      socket.write(`\0AUTH EXTERNAL ${uid}\r\n`)
      await bus.#greeting()
      socket.write('BEGIN\r\n')
      await bus.call({ ...theBus, member: 'Hello' }, [], timeoutMs)
      return bus
    } catch (error) {
      socket.destroy()
      throw new DomainError('unavailable', `The message bus at ${path} does not answer.`, { cause: error })
    } finally {
      clearTimeout(late)
    }
  }

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => {}) // 'close' follows
    socket.on('data', (bytes: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes])
      if (this.#greeted) this.#read()
    })
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        for (const one of this.#waiting.values()) one.reject(gone())
        this.#waiting.clear()
        resolve()
      })
    })
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed
  }

  close(): void {
    this.#socket.destroy()
  }

  /** Does not keep the process alive. */
  unref(): void {
    this.#socket.unref()
  }

  /** The values of the answer. Throws `BusError` for a refusal, `unavailable` where no answer comes. */
  async call(to: BusCall, args: readonly BusArgument[] = [], timeoutMs = 30_000): Promise<unknown[]> {
    if (!this.isOpen) throw gone()
    const serial = ++this.#serial
    return new Promise<unknown[]>((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting.delete(serial)
        reject(
          new DomainError(
            'unavailable',
            `${to.destination} does not answer ${to.member} within ${timeoutMs} ms.`,
          ),
        )
      }, timeoutMs)
      this.#waiting.set(serial, {
        resolve: (body) => (clearTimeout(late), resolve(body)),
        reject: (error) => (clearTimeout(late), reject(error)),
      })
      this.#socket.write(encodeCall(serial, to, args))
    })
  }

  /** Whether somebody serves under this name now. */
  async hasOwner(name: string): Promise<boolean> {
    const [found] = await this.call({ ...theBus, member: 'NameHasOwner' }, [name])
    return found === true
  }

  /** Calls `changed` whenever another process, or none (''), comes to serve under the name. */
  async watchOwner(name: string, changed: (owner: string) => void): Promise<void> {
    this.#listeners.set(name, changed)
    const rule = `type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='${name}'`
    await this.call({ ...theBus, member: 'AddMatch' }, [rule])
  }

  #greeting(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const end = this.#bytes.indexOf('\r\n')
        if (end < 0) return
        const line = this.#bytes.toString('latin1', 0, end)
        this.#bytes = this.#bytes.subarray(end + 2)
        this.#socket.off('data', look)
        if (!line.startsWith('OK ')) return reject(new Error(`The bus does not let this process in: ${line}`))
        this.#greeted = true
        resolve()
      }
      this.#socket.on('data', look)
      this.#socket.once('close', () => reject(gone()))
    })
  }

  #read(): void {
    try {
      for (let found = decodeMessage(this.#bytes); found; found = decodeMessage(this.#bytes)) {
        this.#bytes = this.#bytes.subarray(found.length)
        this.#take(found.message)
      }
    } catch {
      this.#socket.destroy() // what follows can't be read either
    }
  }

  #take({ type, replyTo = -1, member, errorName = '', body }: BusMessage): void {
    if (type === messageType.signal && member === 'NameOwnerChanged') {
      const [name, , owner] = body as [string, string, string]
      this.#listeners.get(name)?.(owner)
      return
    }
    const waiting = this.#waiting.get(replyTo)
    if (!waiting) return
    this.#waiting.delete(replyTo)
    if (type === messageType.reply) waiting.resolve(body)
    else waiting.reject(new BusError(errorName, String(body[0] ?? errorName)))
  }
}

const gone = (): DomainError => new DomainError('unavailable', 'The message bus is gone.')
