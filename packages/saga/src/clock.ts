/** Where an engine's time comes from. Both in milliseconds. */
export interface ClockSource {
  /** Epoch; it may be set, forwards and backwards, while we run. */
  wall(): number
  /** From any origin; it runs on evenly, whatever is done to the wall's. */
  monotonic(): number
}

const systemClockSource: ClockSource = { wall: Date.now, monotonic: () => performance.now() }

/**
 * The time by which an engine decides: back-off, time limits, pauses. It shows the wall's time at the engine's start
 * and then runs on evenly, so that a clock which is set by hours neither ends a wait nor holds a run up. What is
 * written down, and read by people, is the wall's time of that moment.
 */
export class SteadyClock {
  readonly #source: ClockSource
  readonly #offset: number

  constructor(source: ClockSource = systemClockSource) {
    this.#source = source
    this.#offset = source.wall() - source.monotonic()
  }

  /** Epoch milliseconds, as if the wall's clock had never been set since the start. */
  now(): number {
    return Math.round(this.#offset + this.#source.monotonic())
  }

  /** ISO 8601: what the wall's clock shows at this steady time, by what it shows now. */
  written(steady: number = this.now()): string {
    return new Date(this.#source.wall() + (steady - this.now())).toISOString()
  }

  /** What the wall's clock shows now. */
  wall(): Date {
    return new Date(this.#source.wall())
  }
}
