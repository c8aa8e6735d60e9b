import { messageOf } from '@volant/contract/errors.ts'
import type { SteadyClock } from './clock.ts'
import type { Events } from './events.ts'

/** The store does not take writes. */
export interface StoreTrouble {
  /** ISO 8601. */
  since: string
  reason: string
  /** Attempts in vain since then. */
  attempts: number
  /** Runs that cannot go on without their log. */
  waiting: number
}

const firstPauseMs = 50
const longestPauseMs = 5000

/**
 * Whether the store takes writes, for everything that writes to it. While it does not, one writer at a time tries
 * again, with back-off, and the others wait for it: a store that is slow to refuse is not asked by a hundred at once.
 */
export class StoreHealth {
  readonly #clock: SteadyClock
  readonly #events: Events
  readonly #waiting = new Set<string>()
  #since: { at: string; steady: number } | null = null
  #reason = ''
  #attempts = 0
  #pauseMs = firstPauseMs
  /** Who tries again, for all. */
  #prober: object | null = null

  constructor(clock: SteadyClock, events: Events) {
    this.#clock = clock
    this.#events = events
  }

  get trouble(): StoreTrouble | null {
    if (this.#since === null) return null
    return {
      since: this.#since.at,
      reason: this.#reason,
      attempts: this.#attempts,
      waiting: this.#waiting.size,
    }
  }

  /** A write was not taken; `runId` waits for it, null: nobody does. */
  failed(runId: string | null, error: unknown): void {
    this.#since ??= { at: this.#clock.written(), steady: this.#clock.now() }
    this.#reason = messageOf(error)
    this.#attempts++
    if (runId !== null) this.#waiting.add(runId)
    const failedForMs = this.#clock.now() - this.#since.steady
    this.#events.emit({ type: 'store-failed', runId, error, attempts: this.#attempts, failedForMs })
  }

  /** A write was taken: all who wait may write again. */
  worked(): void {
    if (this.#since === null) return
    const failedForMs = this.#clock.now() - this.#since.steady
    const attempts = this.#attempts
    this.#since = null
    this.#attempts = 0
    this.#pauseMs = firstPauseMs
    this.#waiting.clear()
    this.#prober = null
    this.#events.emit({ type: 'store-recovered', attempts, failedForMs })
  }

  /** Resolves when the writer may try again: after a pause, if it is the one that tries, else when the store works. */
  async turn(writer: object, pause: (ms: number) => Promise<void>, isOver: () => boolean): Promise<void> {
    this.#prober ??= writer
    if (this.#prober === writer) {
      const ms = this.#pauseMs
      this.#pauseMs = Math.min(ms * 2, longestPauseMs)
      await pause(ms)
      return
    }
    while (this.#prober !== null && this.#prober !== writer && !isOver()) await pause(longestPauseMs)
  }

  /** The writer tries no more, whatever came of it. */
  leave(writer: object): void {
    if (this.#prober === writer) this.#prober = null
  }
}
