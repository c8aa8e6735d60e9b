/**
 * Parts of moves on one machine cut over one after the other: each cutover makes some writes durable while its client is
 * held, and those of several at once wait for one another. A turn is a courtesy and no lock: whoever holds one for too
 * long loses it, and nothing is wrong then.
 */
export class CutoverTurns {
  readonly #turns = new Map<string, { holder: string; until: number }>()

  /** Whether `holder` may take the machine's turn. `now` in milliseconds, from a clock that does not jump. */
  isFree(machine: string, holder: string, now: number): boolean {
    const turn = this.#turns.get(machine)
    return turn === undefined || turn.holder === holder || turn.until <= now
  }

  /** Takes it where it is free; tells whether it did. */
  take(machine: string, holder: string, now: number): boolean {
    if (!this.isFree(machine, holder, now)) return false
    this.#turns.set(machine, { holder, until: now + turnMs })
    return true
  }

  release(machine: string, holder: string): void {
    if (this.#turns.get(machine)?.holder === holder) this.#turns.delete(machine)
  }
}

/** Longer than a cutover takes that goes well; one that does not must not hold the others up. */
const turnMs = 2000
