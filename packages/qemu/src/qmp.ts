import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** QEMU refused a command; `errorClass` and `desc` are QEMU's own. */
export class QmpError extends Error {
  readonly errorClass: string
  readonly desc: string
  readonly command: string

  constructor(errorClass: string, desc: string, command: string) {
    super(`QEMU refused ${command}: ${desc}`)
    this.name = 'QmpError'
    this.errorClass = errorClass
    this.desc = desc
    this.command = command
  }
}

/** No answer within the bound; what was asked may still happen. */
export class QmpTimeout extends Error {
  override name = 'QmpTimeout'
}

/** The connection ended, in most cases because the process did. What was asked may have happened. */
export class QmpClosed extends Error {
  override name = 'QmpClosed'
}

export interface QmpEvent {
  event: string
  data: Record<string, unknown>
  /** The daemon's clock, milliseconds since the epoch. */
  timestampMs: number
  /** performance.now() when it arrived here. */
  arrivedAt: number
}

export interface Expectation {
  readonly event: Promise<QmpEvent>
  /** Ends the waiting without an error where nobody needs it any more. */
  cancel(): void
}

export interface QmpConnectOptions {
  path: string
  /** Bound for connecting and the greeting together; a socket that is not there yet is tried again. */
  timeoutMs?: number
  /** Commands may overtake others that QEMU does not come to: `executeOutOfBand`. */
  outOfBand?: boolean
  /** Asked between attempts; false ends them early, e.g. when the process has died. */
  worthTrying?: () => boolean
}

interface Waiting {
  command: string
  resolve(value: unknown): void
  reject(error: Error): void
}

interface Watch {
  matches(event: QmpEvent): boolean
  resolve(event: QmpEvent): void
  reject(error: Error): void
}

/** QEMU reads no further, not even what is to be run out of band, where 8 commands wait (QMP_REQ_QUEUE_LEN_MAX). */
const mostUnanswered = 5

/** One connection to a QMP monitor: commands with bounds, events, and the end of the process as a promise. */
export class QmpClient {
  /** Settles when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>
  version = ''
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  readonly #watches = new Set<Watch>()
  readonly #queue: { id: number; line: string }[] = []
  #unanswered = 0
  #mostUnanswered = Infinity
  #nextId = 1
  #rest = ''
  #open = true
  #greeted: () => void = () => {}

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => this.#receive(text))
    socket.on('error', () => {}) // 'close' follows
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#fail(new QmpClosed('The QMP connection has ended.'))
        resolve()
      })
    })
  }

  get isOpen(): boolean {
    return this.#open
  }

  static async connect({
    path,
    timeoutMs = 5000,
    outOfBand = false,
    worthTrying,
  }: QmpConnectOptions): Promise<QmpClient> {
    const began = performance.now()
    const end = began + timeoutMs
    let last: unknown
    while (performance.now() < end) {
      try {
        return await QmpClient.#attempt(path, end - performance.now(), outOfBand)
      } catch (error) {
        last = error
        if (worthTrying && !worthTrying()) break
      }
      // In proportion: a socket is there for no more than an eighth of the time that it took to come before it is found.
      await sleep(Math.min(Math.max(2, (performance.now() - began) / 8), 50))
    }
    throw new QmpTimeout(`No QMP monitor answers at ${path}.`, { cause: last })
  }

  static async #attempt(path: string, timeoutMs: number, outOfBand: boolean): Promise<QmpClient> {
    const socket = connect({ path })
    const client = new QmpClient(socket)
    const greeting = new Promise<void>((resolve) => (client.#greeted = resolve))
    try {
      // A monitor serves one connection at a time: while another has it, ours waits for its greeting.
      await Promise.race([
        greeting,
        client.closed.then(() =>
          Promise.reject(new QmpClosed(`The monitor at ${path} closed the connection.`)),
        ),
        timeout(timeoutMs, `The monitor at ${path} does not greet; is another client connected?`),
      ])
      await client.execute('qmp_capabilities', outOfBand ? { enable: ['oob'] } : {}, timeoutMs)
      if (outOfBand) client.#mostUnanswered = mostUnanswered
      return client
    } catch (error) {
      socket.destroy()
      throw error
    }
  }

  /** Runs a command. Throws QmpError, QmpTimeout or QmpClosed. */
  execute(command: string, args: Record<string, unknown> = {}, timeoutMs = 10_000): Promise<unknown> {
    return this.#send(command, timeoutMs, (id) => {
      this.#queue.push({ id, line: JSON.stringify({ execute: command, arguments: args, id }) })
      this.#writeQueued()
    })
  }

  /** The same, also while QEMU comes to no other; only what QEMU allows (`yank`), and where it was connected for that. */
  executeOutOfBand(command: string, args: Record<string, unknown>, timeoutMs = 2000): Promise<unknown> {
    return this.#send(command, timeoutMs, (id) => {
      this.#unanswered += 1
      this.#socket.write(`${JSON.stringify({ 'exec-oob': command, arguments: args, id })}\n`)
    })
  }

  #send(command: string, timeoutMs: number, write: (id: number) => void): Promise<unknown> {
    if (!this.#open)
      return Promise.reject(new QmpClosed(`The QMP connection has ended; ${command} was not sent.`))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(new QmpTimeout(`QEMU did not answer ${command} within ${timeoutMs} ms.`))
      }, timeoutMs)
      this.#waiting.set(id, {
        command,
        resolve: (value) => (clearTimeout(timer), resolve(value)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      })
      write(id)
    })
  }

  #writeQueued(): void {
    while (this.#unanswered < this.#mostUnanswered) {
      const next = this.#queue.shift()
      if (next === undefined) return
      // Its caller gave up.
      if (!this.#waiting.has(next.id)) continue
      this.#unanswered += 1
      this.#socket.write(`${next.line}\n`)
    }
  }

  /** Watches for an event from now on. Call it before the command that causes the event, or it may be missed. */
  expect(name: string | null, matches: (event: QmpEvent) => boolean, timeoutMs: number): Expectation {
    let cancel: (() => void) | undefined
    const event = new Promise<QmpEvent>((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer)
        this.#watches.delete(watch)
      }
      const watch: Watch = {
        matches: (candidate) => (name === null || candidate.event === name) && matches(candidate),
        resolve: (found) => (settle(), resolve(found)),
        reject: (error) => (settle(), reject(error)),
      }
      const timer = setTimeout(() => {
        watch.reject(new QmpTimeout(`No event ${name ?? ''} within ${timeoutMs} ms.`))
      }, timeoutMs)
      cancel = settle
      if (this.#open) this.#watches.add(watch)
      else watch.reject(new QmpClosed('The QMP connection has ended.'))
    })
    event.catch(() => {}) // who awaits it still sees the error; who gave up waiting need not
    return { event, cancel: () => cancel?.() }
  }

  /** The next such event. */
  waitFor(name: string, matches: (event: QmpEvent) => boolean, timeoutMs: number): Promise<QmpEvent> {
    return this.expect(name, matches, timeoutMs).event
  }

  /** Ends the connection; the daemon runs on. */
  close(): void {
    this.#fail(new QmpClosed('The QMP connection was closed here.'))
    this.#socket.destroy()
  }

  #fail(error: Error): void {
    this.#open = false
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
    for (const watch of this.#watches) watch.reject(error)
  }

  #receive(text: string): void {
    const arrivedAt = performance.now()
    this.#rest += text
    for (let end = this.#rest.indexOf('\n'); end >= 0; end = this.#rest.indexOf('\n')) {
      const line = this.#rest.slice(0, end)
      this.#rest = this.#rest.slice(end + 1)
      if (line.trim() !== '') this.#handle(JSON.parse(line) as Message, arrivedAt)
    }
  }

  #handle(message: Message, arrivedAt: number): void {
    if (message.QMP) {
      const { major = 0, minor = 0, micro = 0 } = message.QMP.version?.qemu ?? {}
      this.version = `${major}.${minor}.${micro}`
      this.#greeted()
      return
    }
    if (message.event !== undefined) {
      const { seconds = 0, microseconds = 0 } = message.timestamp ?? {}
      const timestampMs = seconds * 1000 + microseconds / 1000
      const event: QmpEvent = { event: message.event, data: message.data ?? {}, timestampMs, arrivedAt }
      for (const watch of this.#watches) if (watch.matches(event)) watch.resolve(event)
      return
    }
    this.#unanswered -= 1
    this.#writeQueued()
    const waiting = this.#waiting.get(message.id ?? -1)
    if (!waiting) return // its caller gave up
    this.#waiting.delete(message.id ?? -1)
    if (message.error) waiting.reject(new QmpError(message.error.class, message.error.desc, waiting.command))
    else waiting.resolve(message.return)
  }
}

interface Message {
  QMP?: { version?: { qemu?: { major?: number; minor?: number; micro?: number } } }
  event?: string
  data?: Record<string, unknown>
  timestamp?: { seconds?: number; microseconds?: number }
  id?: number
  return?: unknown
  error?: { class: string; desc: string }
}

function timeout(ms: number, message: string): Promise<never> {
  return new Promise((_resolve, reject) => {
    setTimeout(() => reject(new QmpTimeout(message)), ms).unref()
  })
}
