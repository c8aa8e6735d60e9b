/**
 * # Operations
 *
 * An operation is a declared list of steps that reads like its own documentation:
 *
 * ```ts
 * export const migrateVolume = operation<Input, Ports>('volume.migrate', { version: 1 })
 *   .holds((input) => [`volume/${input.volumeId}`])
 *   .step('createTarget', { do: ..., undo: ... })
 *   .step('startMirror', { do: ..., undo: ... })
 *   .wait('inSync', { every: '1s', stallTimeout: '10m', until: ... })
 *   .commit('cutover', { do: ..., happened: ..., retryFrom: 'inSync' })
 *   .step('retireSource', { do: ... })
 * ```
 *
 * Because it is data and not free-form code, the engine can show how far it is, test each step with each fault,
 * and check after an upgrade that it still has the code of what is under way.
 *
 * ```
 *              do ok              do ok            until true           do ok, or happened()
 *  (start) ──▶ step ────────────▶ step ──────────▶ wait ─────────────▶ COMMIT ─────────────▶ step ──▶ succeeded
 *               │ final, or        │ ...            ▲ │ its bound        │ happened() is no:   │ tried again
 *               │ attempts used    │                │ │                  │ final, or attempts  │ with back-off
 *               │ up, or cancel    │                │ │                  │ used up             ▼
 *               ▼                  ▼                │ ▼                  ▼               needs-attention
 *              undo ◀──────────── undo ◀────────────┼───────────────────┘
 *               │                                   └── worth another attempt: `retryFrom`
 *               ▼
 *        failed | cancelled          (an undo that keeps failing: needs-attention)
 * ```
 *
 * What an author promises:
 *
 * - **Every `do` is an "ensure".** After a crash the step under way is done again, and may have been done, half
 *   done or not begun. Doing it twice must change nothing.
 * - **Every `undo` works from ids alone** (of the operation, of the input, of earlier steps' outputs) and is right
 *   even where its `do` never ran or died half-way: it means "ensure not". The step under way is undone too.
 * - **A `wait` only looks**, and brings the operator's wishes (`op.control`) to the data plane: pause, rate.
 *   While the run is paused `until` is still called, but its `done` is not acted upon.
 * - **What a wait has brought about, its `back` takes back**, where an undo cannot, because that lasts: the engine
 *   looks until it is so before it undoes earlier steps. It is right from ids alone, as an undo is, and observes
 *   the world; a crash in it looks again.
 * - **The commit is the point of no return.** `happened()` asks the world, not the process's memory. An error of
 *   the commit's `do` of class `retry` means that it backed out and the source is the truth.
 * - **Outputs are plain JSON**, because a later step may be in another process.
 *
 * What the types guarantee: a step reads only what earlier steps returned; an `undo` cannot see its own step's
 * output; before the commit there is no step without an `undo`, after it none with one.
 *
 * A change of the list of steps needs a new `version`; the old version's code stays registered until no run of it
 * is left.
 *
 * One file, over 400 lines: what may be declared, and half of it is what that means.
 */
import { milliseconds, type Duration } from './duration.ts'
import type { Backoff, RetryPolicy } from './policy.ts'
import type { Control } from './types.ts'

/** What every `do`, `undo`, `until` and `happened` is given. */
export interface Context<Input, Ports, Out> {
  readonly op: {
    /** The run's id. Names derived from it are found again after a crash. */
    readonly id: string
    /** Of the control plane that carries the run out; agents refuse a lower one. It differs after a restart. */
    readonly fence: number
    /** ISO 8601; the same however often a step is repeated. */
    readonly createdAt: string
    /** Always the newest wishes, also while a long `do` runs. What is being undone is never paused. */
    readonly control: Readonly<Control>
  }
  readonly input: Input
  /** What the earlier steps returned, by the step's name. */
  readonly out: Readonly<Out>
  readonly ports: Ports
  /** Aborted when the run is cancelled, the step's time is up, or the engine stops. */
  readonly signal: AbortSignal
  now(): Date
  /** Reports progress: any JSON value. Kept with the run, so that it survives a restart (some seconds late). */
  progress(value: unknown): void
}

/** `T` as it comes back from JSON. What JSON would change or drop becomes `never`, which no step can use. */
export type Plain<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends bigint | symbol | Date | Map<unknown, unknown> | Set<unknown> | ((...args: never[]) => unknown)
    ? never
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : unknown extends T
        ? T
        : undefined

export interface StepOptions<C, O> {
  /** Ensures. Its result, plain JSON, is `out.<name>` of later steps. */
  do(context: C): O | Promise<O>
  /** Ensures not; right also where `do` never ran or died half-way. `nothingToUndo` where there is nothing. */
  undo(context: C): void | Promise<void>
  /** Attempts and back-off of the `do`; the executor's policy if not given. */
  retry?: RetryPolicy
  /** After this `signal` is aborted and the attempt has failed; the policy's `doTimeout` if not given. */
  timeout?: Duration
  /**
   * Where the undo may be left out: why that is safe, and what is left behind. Then an operator may `skip` it when it
   * keeps failing, such as on a machine that never comes back.
   */
  skipUndo?: string
}

/** A step after the commit: there is no way back, so there is no `undo`. */
export interface FinalStepOptions<C, O, Skip = string | undefined> extends Omit<
  StepOptions<C, O>,
  'undo' | 'skipUndo'
> {
  undo?: never
  /**
   * Where the step may be left out: why that is safe, and what is left to do by hand. Then an operator may `skip` it
   * when it keeps failing, and later steps see its result as perhaps undefined.
   */
  skip?: Skip
}

export interface Look {
  done: boolean
  /** Any JSON value; the progress that the run shows. */
  progress?: unknown
  /** Look again after this time, instead of the wait's `every`. */
  again?: Duration
}

/** A look of a wait that is bounded by standstill. */
export interface AdvancingLook extends Look {
  /** How far it has come: any JSON value. A standstill is the time for which this has not changed. */
  advance: unknown
}

interface AnyWatch {
  /** The time between two looks. The first is at once, as is one after `wake` and after each change of control. */
  every: Duration
  /** For `until` failing (in a wait: with an error of class `retry`); counted from the last look that succeeded. */
  retry?: RetryPolicy
}

/**
 * No wait is without a bound. When it strikes, the wait has failed for good: before the commit the run unwinds, after
 * it it needs attention, and `resume` gives the wait its whole time again.
 *
 * - `timeout`       for what takes about so long: the time in all
 * - `stallTimeout`  for what takes as long as it takes, such as a copy: the longest standstill, by `advance`
 *
 * Pauses count for neither. After a restart of the control plane both are counted anew, for what happened to the
 * clock meanwhile is not known.
 */
export type WaitOptions<C> = AnyWatch &
  (
    | { timeout: Duration; stallTimeout?: never; until(context: C): Look | Promise<Look> }
    | {
        timeout?: Duration
        stallTimeout: Duration
        until(context: C): AdvancingLook | Promise<AdvancingLook>
      }
  )

/** A wait before the commit, which there may be a way back through. */
export type UndoableWaitOptions<C> = WaitOptions<C> & {
  /**
   * The wait's counter-part: when the run unwinds past this wait, or stood in it, the engine waits for this before it
   * undoes earlier steps. It begins by making sure that what `until` brought about goes no further. It cannot be
   * paused, cancelled or skipped. When its bound strikes, or `until` keeps failing with whatever error, the run needs
   * attention, as with an undo that does; `resume` gives it its whole time again.
   */
  back?: WaitOptions<C>
}

export interface CommitOptions<Input, C, O, Waits extends string> {
  /**
   * Makes the change that cannot be taken back. An error of class `retry` (`retryable(...)`) says: it backed out,
   * the source is the truth, and another attempt is worth while.
   */
  do(context: C): O | Promise<O>
  /** Asked after an error or a crash: is the change made? It must be answered from the world. */
  happened(context: C): boolean | Promise<boolean>
  /** After this `signal` is aborted; what follows is `happened`'s to say. */
  timeout?: Duration
  /** The earlier wait to go back to before the next attempt; without it, the commit itself is tried again. */
  retryFrom?: Waits
  /** Attempts in all. When they are used up the run unwinds. A crash of the control plane is not counted. */
  attempts?: number | ((input: Input) => number)
  backoff?: Backoff | ((input: Input) => Backoff)
}

/** An operation that is complete: it can be registered and started. */
export interface Operation<Input, Ports> {
  readonly kind: string
  readonly version: number
  readonly nodes: readonly OperationNode[]
  keysOf(input: Input): string[]
  /** Carries the types; never set. */
  readonly types?: { input: Input; ports: (ports: Ports) => void }
}

/** Before the commit. Also an operation without one, which can be undone until its last step is done. */
export interface Undoable<Input, Ports, Out, Waits extends string> extends Operation<Input, Ports> {
  step<const Name extends string, O>(
    name: Name,
    options: StepOptions<Context<Input, Ports, Out>, O>,
  ): Undoable<Input, Ports, Out & { [K in Name]: Plain<O> }, Waits>
  wait<const Name extends string>(
    name: Name,
    options: UndoableWaitOptions<Context<Input, Ports, Out>>,
  ): Undoable<Input, Ports, Out, Waits | Name>
  /** Later steps see the commit's result as perhaps undefined: a crash may have eaten it. */
  commit<const Name extends string, O>(
    name: Name,
    options: CommitOptions<Input, Context<Input, Ports, Out>, O, Waits>,
  ): Committed<Input, Ports, Out & { [K in Name]: Plain<O> | undefined }>
}

export interface Committed<Input, Ports, Out> extends Operation<Input, Ports> {
  step<const Name extends string, O, const Skip extends string | undefined = undefined>(
    name: Name,
    options: FinalStepOptions<Context<Input, Ports, Out>, O, Skip>,
  ): Committed<Input, Ports, Out & { [K in Name]: Skip extends string ? Plain<O> | undefined : Plain<O> }>
  wait<const Name extends string>(
    name: Name,
    options: WaitOptions<Context<Input, Ports, Out>> & { back?: never },
  ): Committed<Input, Ports, Out>
}

export interface Declared<Input, Ports> {
  /**
   * The keys the run locks from its start to its end, such as `volume/<id>`. Two runs that hold the same key are
   * never under way together: starting the second is refused. An empty list locks nothing.
   */
  holds(keys: (input: Input) => string[]): Undoable<Input, Ports, Record<never, never>, never>
}

/** For a step that leaves nothing behind, such as a check. */
export const nothingToUndo = (): void => {}

/** Begins the declaration of an operation: `kind` is noun.verb, such as `volume.migrate`. */
export function operation<Input, Ports>(kind: string, options: { version: number }): Declared<Input, Ports> {
  if (!Number.isInteger(options.version) || options.version < 1) {
    throw new RangeError(`operation '${kind}': version ${options.version} is no whole number from 1 on`)
  }
  return {
    holds: (keys) =>
      new Builder(kind, options.version, keys as (input: unknown) => string[], []) as unknown as Undoable<
        Input,
        Ports,
        Record<never, never>,
        never
      >,
  }
}

/** The context with its types erased, as the engine hands it over. */
export type ErasedContext = Context<unknown, unknown, Record<string, unknown>>

export interface StepNode {
  readonly type: 'step'
  readonly name: string
  readonly do: (context: ErasedContext) => unknown
  /** Null after the commit. */
  readonly undo: ((context: ErasedContext) => unknown) | null
  /** Why it may be left out, after the commit; why its undo may, before it. Null: it may not. */
  readonly skip: string | null
  readonly skipUndo: string | null
  readonly retry: RetryPolicy | null
  readonly timeoutMs: number | null
}

/** What is looked at until it is so. */
export interface Watch {
  readonly until: (context: ErasedContext) => Look | Promise<Look>
  readonly everyMs: number
  /** One of the two is set. */
  readonly timeoutMs: number | null
  readonly stallMs: number | null
  readonly retry: RetryPolicy | null
}

export interface WaitNode extends Watch {
  readonly type: 'wait'
  readonly name: string
  /** What is waited for on the way back; null: nothing, and always after the commit. */
  readonly back: Watch | null
}

export interface CommitNode {
  readonly type: 'commit'
  readonly name: string
  readonly do: (context: ErasedContext) => unknown
  readonly happened: (context: ErasedContext) => boolean | Promise<boolean>
  readonly timeoutMs: number | null
  readonly retryFrom: string | null
  readonly attempts: (input: unknown) => number | null
  readonly backoff: (input: unknown) => Backoff | null
}

export type OperationNode = StepNode | WaitNode | CommitNode

/** Whether unwinding has to do something here. */
export const hasWayBack = (node: OperationNode): boolean =>
  (node.type === 'step' && node.undo !== null) || (node.type === 'wait' && node.back !== null)

type ErasedStep = StepOptions<ErasedContext, unknown> | FinalStepOptions<ErasedContext, unknown>

/** One class behind all stages of a declaration; the interfaces above say what each stage allows. */
class Builder implements Operation<unknown, unknown> {
  readonly kind: string
  readonly version: number
  readonly nodes: readonly OperationNode[]
  readonly #keys: (input: unknown) => string[]

  constructor(
    kind: string,
    version: number,
    keys: (input: unknown) => string[],
    nodes: readonly OperationNode[],
  ) {
    this.kind = kind
    this.version = version
    this.nodes = Object.freeze([...nodes])
    this.#keys = keys
  }

  /** Without duplicates and in one order, so that two starts never wait for each other. */
  keysOf(input: unknown): string[] {
    return [...new Set(this.#keys(input))].sort()
  }

  step(name: string, options: ErasedStep): Builder {
    const committed = this.nodes.some((node) => node.type === 'commit')
    if (!committed && 'skip' in options) {
      throw this.#error(`step '${name}' is before the commit, where only its undo can be skipped (skipUndo)`)
    }
    if (!committed && !options.undo) throw this.#error(`step '${name}' is before the commit and has no undo`)
    return this.#with({
      type: 'step',
      name,
      do: options.do.bind(options),
      undo: committed ? null : (options.undo?.bind(options) ?? null),
      skip: ('skip' in options && options.skip) || null,
      skipUndo: ('skipUndo' in options && options.skipUndo) || null,
      retry: options.retry ?? null,
      timeoutMs: options.timeout === undefined ? null : milliseconds(options.timeout),
    })
  }

  wait(name: string, options: UndoableWaitOptions<ErasedContext>): Builder {
    const { back } = options
    if (back && this.nodes.some((node) => node.type === 'commit')) {
      throw this.#error(`wait '${name}' is after the commit, from where there is no way back`)
    }
    return this.#with({
      type: 'wait',
      name,
      ...this.#watch(`wait '${name}'`, options),
      back: back ? this.#watch(`the way back through wait '${name}'`, back) : null,
    })
  }

  #watch(what: string, options: WaitOptions<ErasedContext>): Watch {
    if (options.timeout === undefined && options.stallTimeout === undefined) {
      throw this.#error(`${what} has no bound: it needs a timeout or a stallTimeout`)
    }
    return {
      until: options.until.bind(options),
      everyMs: milliseconds(options.every),
      timeoutMs: options.timeout === undefined ? null : milliseconds(options.timeout),
      stallMs: options.stallTimeout === undefined ? null : milliseconds(options.stallTimeout),
      retry: options.retry ?? null,
    }
  }

  commit(name: string, options: CommitOptions<unknown, ErasedContext, unknown, string>): Builder {
    const { retryFrom = null, attempts = null, backoff = null } = options
    if (retryFrom !== null && !this.nodes.some((node) => node.type === 'wait' && node.name === retryFrom)) {
      throw this.#error(`commit '${name}' goes back to '${retryFrom}', which is no earlier wait`)
    }
    return this.#with({
      type: 'commit',
      name,
      do: options.do.bind(options),
      happened: options.happened.bind(options),
      timeoutMs: options.timeout === undefined ? null : milliseconds(options.timeout),
      retryFrom,
      attempts: typeof attempts === 'function' ? attempts : () => attempts,
      backoff: typeof backoff === 'function' ? backoff : () => backoff,
    })
  }

  #with(node: OperationNode): Builder {
    if (this.nodes.some((other) => other.name === node.name)) {
      throw this.#error(`two steps are called '${node.name}'; each needs a name of its own`)
    }
    return new Builder(this.kind, this.version, this.#keys, [...this.nodes, node])
  }

  #error(problem: string): Error {
    return new Error(`operation '${this.kind}' version ${this.version}: ${problem}`)
  }
}

/** An operation together with its ports: what an executor is given. The types of both are checked here. */
export interface BoundOperation {
  readonly operation: Operation<never, never>
  readonly kind: string
  readonly version: number
  readonly nodes: readonly OperationNode[]
  readonly ports: unknown
}

export function bind<Input, Ports>(declared: Operation<Input, Ports>, ports: Ports): BoundOperation {
  const { kind, version, nodes } = declared
  return { operation: declared as unknown as Operation<never, never>, kind, version, nodes, ports }
}
