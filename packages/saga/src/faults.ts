/**
 * Fault injection is an API of the engine, so that the generic tests of `testing/every-step.ts` use no tricks.
 * A fault strikes at a named step, before or after the call into the operation's code.
 */
export interface Fault {
  /** The step, wait or commit. */
  at: string
  /** Of the forward call (`do`, `until`, default) or of the `undo`. */
  during?: 'do' | 'undo'
  /** `after`: the call has come back, and nothing of it is recorded. */
  when: 'before' | 'after'
  /**
   * - `throw`   the error is thrown in place of the call's result
   * - `crash`   the engine is abandoned as if the process had been killed
   * - `cancel`  the operator cancels the run
   * - `repeat`  the call is made twice
   */
  what: 'throw' | 'crash' | 'cancel' | 'repeat'
  /** For `throw`; an error of class `final` if not given. */
  error?: Error
  /** How often it strikes; 1 if not given. */
  times?: number
  /** Called each time it strikes. A test must see to it that it was. */
  reached?: () => void
  /** For `cancel`: called where the cancel was refused. */
  refused?: (error: unknown) => void
}

/** Thrown through an engine's own frames when it is abandoned; nothing may catch it and write. */
export class Abandoned extends Error {}

/** The faults of one executor, and how often each may still strike. */
export class Faults {
  readonly #left: Map<Fault, number>

  constructor(faults: readonly Fault[]) {
    this.#left = new Map(faults.map((fault) => [fault, fault.times ?? 1]))
  }

  /** The faults that strike now. */
  take(at: string, during: 'do' | 'undo', when: 'before' | 'after'): Fault[] {
    const struck: Fault[] = []
    for (const [fault, left] of this.#left) {
      const here = fault.at === at && (fault.during ?? 'do') === during && fault.when === when
      if (!here || left === 0) continue
      this.#left.set(fault, left - 1)
      fault.reached?.()
      struck.push(fault)
    }
    return struck
  }
}
