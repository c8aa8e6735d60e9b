/**
 * # The executor
 *
 * One per control plane. It starts operations, carries them out, and carries on after a restart what an earlier
 * one had under way.
 *
 * ```
 *                       plan.ts, judge.ts            (pure: log, wishes, time -> what next)
 *                              ▲ │
 *   start / recover            │ ▼                          ┌──── the operation's do, undo, until, happened
 *  ───────────────▶ Executor ─▶ Driver (one per run) ───────┤
 *   pause, cancel ... │            │                        └──── Faults (injected by tests)
 *                     ▼            ▼
 *                    SagaStore: one durable write per step, refused to who has been replaced
 * ```
 *
 * **Who may write.** Each start of a control plane acquires a fence number above all earlier ones; the store, and
 * the agents that are handed it in `op.fence`, refuse a lower one. So at most one executor gets anything done,
 * whatever another believes. One that hears `staleFence`, from the store, an agent or its own heartbeat, stops at
 * once: it begins no step, writes nothing, and emits `fenced`.
 *
 * **What a crash leaves.** The log says which step was under way; whether that was not begun, half done or done
 * does not matter, because every `do` is an "ensure". The commit is the exception: there `happened()` decides.
 *
 * **What costs time.** A step is one durable write. A run started here goes on at once, without polling. A wait
 * occupies a timer and nothing else.
 */
import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract/errors.ts'
import { plain } from './call.ts'
import { SteadyClock, type ClockSource } from './clock.ts'
import { Controls } from './controls.ts'
import { asCreated, firstWrite, isRefusal } from './creation.ts'
import { Driver, type Engine } from './driver.ts'
import { milliseconds, type Duration } from './duration.ts'
import { Events, type Listener } from './events.ts'
import { isStaleFence } from './failure.ts'
import { Faults, type Fault } from './faults.ts'
import type { BoundOperation, Operation } from './operation.ts'
import type { Settled } from './plan.ts'
import { defaultPolicy, type Policy } from './policy.ts'
import { replay, takenOver, type Position } from './position.ts'
import { planRecovery, refusalMessage } from './recovery.ts'
import { StoreHealth, type StoreTrouble } from './store-health.ts'
import type { CreateRunParams, ListPage, ListParams, SagaStore, Writer } from './store.ts'
import type { CopyControl, LogEntry, RunRecord } from './types.ts'
import { possibleWishes, skipReason, type Wish } from './wishes.ts'

export interface ExecutorOptions {
  store: SagaStore
  /** Names this control plane in the store; unique for each process, such as host name and pid. */
  owner: string
  /** Everything that can be started or carried on, each with its ports: `bind(operation, ports)`. */
  operations: readonly BoundOperation[]
  policy?: Partial<Policy>
  /** How often to tell the store that this engine is alive, and to hear whether it still counts. '5s'. */
  heartbeatEvery?: Duration
  /** How late a wait's progress may be after a restart. '5s'. */
  progressEvery?: Duration
  /** For tests. */
  clock?: ClockSource
  /** For tests. */
  inject?: readonly Fault[]
}

export interface StartOptions {
  /** A UUID is made if not given. */
  id?: string
  /** The run that this one is a part of. Nothing follows from it: the parent steers its parts itself. */
  parent?: string
  /**
   * Creates the run's row in place of `store.createRun`: for a caller that writes rows of its own in the same
   * transaction. It must hand the params on to the store unchanged.
   */
  create?: (params: CreateRunParams) => Promise<void>
}

export class Executor {
  readonly #options: ExecutorOptions
  readonly #operations = new Map<string, BoundOperation>()
  readonly #drivers = new Map<string, Driver>()
  readonly #events = new Events()
  readonly #stopping = new AbortController()
  readonly #crashed = Promise.withResolvers<void>()
  readonly #controls: Controls
  readonly #working = new Set<Promise<void>>()
  readonly #clock: SteadyClock
  readonly #health: StoreHealth
  #writer: Writer | null = null
  #engine: Engine | null = null
  #dead = false
  #heartbeat: NodeJS.Timeout | null = null

  constructor(options: ExecutorOptions) {
    this.#options = options
    this.#clock = new SteadyClock(options.clock)
    this.#health = new StoreHealth(this.#clock, this.#events)
    for (const operation of options.operations) {
      const name = nameOf(operation)
      if (this.#operations.has(name)) throw new Error(`operation ${name} is registered twice`)
      if (operation.nodes.length === 0) throw new Error(`operation ${name} has no steps`)
      this.#operations.set(name, operation)
    }
    this.#events.on(({ type }) => {
      if (type === 'store-recovered') for (const driver of this.#drivers.values()) driver.wake()
    })
    this.#controls = new Controls(
      options.store,
      this.#drivers,
      () => this.#alive().writer,
      this.#clock,
      this.#health,
    )
  }

  /** Resolves when an injected crash has struck. */
  get crashed(): Promise<void> {
    return this.#crashed.promise
  }

  /** The fence number of this engine; agents are to be called with it. */
  get fence(): number {
    if (!this.#writer) throw new DomainError('unavailable', 'The control plane is starting.')
    return this.#writer.fence
  }

  /** Returns the function that ends the listening. */
  onEvent(listener: Listener): () => void {
    return this.#events.on(listener)
  }

  /**
   * Takes over: refuses (`conflict`, `detail` is the list of `Refusal`s) before it has changed anything where
   * this code lacks an operation that is under way; else acquires a fence and carries on what has not ended.
   * Resolves when all of it is adopted; returns how many runs. Those in or past their commit, for which a client may
   * be held, go on at once; the others when `others` has resolved, so that a start with many of them is not slowed.
   */
  async begin(others?: Promise<unknown>): Promise<{ adopted: number }> {
    const { store, owner } = this.#options
    if (this.#writer) throw new Error('this executor has begun already')
    this.#refuse(await store.listUnfinished())
    const fence = await store.acquireFence({ owner, at: this.#at() })
    this.#writer = { owner, fence }
    this.#engine = this.#makeEngine(this.#writer)
    const adopted = await this.#recover(others).catch((error: unknown) => {
      this.abandon()
      throw error
    })
    this.#heartbeat = setInterval(
      () => void this.#beat(),
      milliseconds(this.#options.heartbeatEvery ?? '5s'),
    ).unref()
    return { adopted }
  }

  /**
   * Starts an operation. When it returns, the run is durable and under way. `conflict` where another run holds
   * one of its keys (`detail`: `HeldDetail`).
   */
  async start<Input, Ports>(
    operation: Operation<Input, Ports>,
    input: NoInfer<Input>,
    options: StartOptions = {},
  ): Promise<RunRecord> {
    const engine = this.#alive()
    const bound = this.#operations.get(nameOf(operation))
    if (!bound || (bound.operation as unknown) !== operation) {
      throw new Error(`operation ${nameOf(operation)} is not registered with this executor`)
    }
    const { params, settled } = firstWrite(bound, operation.keysOf(input), {
      ...engine.writer,
      runId: options.id ?? randomUUID(),
      input: plain(input),
      parentId: options.parent ?? null,
      clock: this.#clock,
    })
    const begun = (): RunRecord => this.#begun(engine, bound, params, settled)
    try {
      await (options.create ? options.create(params) : this.#options.store.createRun(params))
    } catch (error) {
      if (isRefusal(error)) throw error
      // A write can fail after it took effect: then the run holds its keys, and must go on.
      if (!(await this.#isThere(params.runId, begun))) throw error
    }
    return begun()
  }

  #begun(engine: Engine, bound: BoundOperation, params: CreateRunParams, settled: Settled): RunRecord {
    const run = asCreated(params)
    if (this.#dead || this.#stopping.signal.aborted) return run
    const driver = new Driver(engine, bound, run, settled.position, params.entries.length)
    this.#events.emit({ type: 'run', run })
    this.#events.emit({ type: 'log', runId: run.id, kind: run.kind, entries: params.entries })
    this.#launch(driver, settled)
    return driver.run
  }

  /** Whether a run was created after all. Where the store does not answer that either, `found` is called later. */
  async #isThere(runId: string, found: () => void): Promise<boolean> {
    try {
      return (await this.#options.store.get(runId)) !== undefined
    } catch (error) {
      this.#health.failed(null, error)
      const stop = this.#events.on(({ type }) => {
        if (type !== 'store-recovered') return
        stop()
        void this.#isThere(runId, found).then((isThere) => isThere && found())
      })
      return false
    }
  }

  /** Since when, and why, the store takes no writes; null: it does. */
  get storeTrouble(): StoreTrouble | null {
    return this.#health.trouble
  }

  /** Resolves when the run has ended or needs attention; `unavailable` where this engine stops before. */
  async ended(runId: string): Promise<RunRecord> {
    return (await this.#drivers.get(runId)?.settled()) ?? (await this.get(runId))
  }

  /** The run, with progress as new as it gets; `notFound` where there is none. */
  async get(runId: string): Promise<RunRecord> {
    const run = this.#drivers.get(runId)?.run ?? (await this.#options.store.get(runId))
    if (!run) throw new DomainError('notFound', `There is no operation ${runId}.`)
    return run
  }

  async list(params: ListParams): Promise<ListPage> {
    const page = await this.#options.store.list(params)
    // What this engine drives, it knows better than the store: progress is stored late.
    return { ...page, runs: page.runs.map((run) => this.#drivers.get(run.id)?.run ?? run) }
  }

  history(runId: string): Promise<LogEntry[]> {
    return this.#options.store.history({ runId })
  }

  /** Looks at the run's wait at once; for a caller that knows that something has changed. */
  wake(runId: string): void {
    this.#drivers.get(runId)?.wake()
  }

  /** Takes effect between two steps, and in waits. */
  pause(runId: string): Promise<RunRecord> {
    return this.#controls.pause(runId)
  }

  /** Ends a pause; a run that needs attention tries the step under way again. `conflict` where it is neither. */
  resume(runId: string): Promise<RunRecord> {
    return this.#controls.resume(runId)
  }

  /** Unwinds the run. `conflict` from the start of the commit on, while it unwinds, and when it has ended. */
  cancel(runId: string): Promise<RunRecord> {
    return this.#controls.cancel(runId)
  }

  /**
   * Rate (an upper bound in bytes per second; null: none), pace and priority in one write, from the next look of a wait
   * on; what is left out stays as it is.
   */
  steer(runId: string, wishes: Partial<CopyControl>): Promise<RunRecord> {
    return this.#controls.steer(runId, wishes)
  }

  /** What may be asked of the run now, and why the step that needs attention may be skipped; empty: it has ended. */
  possible(runId: string): { wishes: Wish[]; skip: string | null } {
    const driver = this.#drivers.get(runId)
    return driver ? { wishes: possibleWishes(driver), skip: skipReason(driver) } : { wishes: [], skip: null }
  }

  /** For a run that needs attention: leaves the step (or undo) out, where its author declared that safe. */
  skip(runId: string): Promise<RunRecord> {
    return this.#controls.skip(runId)
  }

  /** For a run that needs attention because `happened()` does not answer: a person has found out. */
  decideCommit(runId: string, happened: boolean): Promise<RunRecord> {
    return this.#controls.decideCommit(runId, happened)
  }

  /**
   * Stops politely: begins nothing more, aborts `signal`s, waits for what is under way, at most for the policy's
   * `abortGrace`. The runs stay as they are and are carried on after the next `begin`.
   */
  async stop(): Promise<void> {
    this.#halt(new DomainError('unavailable', 'The control plane is stopping.'))
    await Promise.allSettled(this.#working)
    this.#dead = true
  }

  /** Stops as if the process had been killed: nothing is awaited and nothing more is written. */
  abandon(): void {
    this.#dead = true
    this.#halt(new Error('abandoned'))
    this.#crashed.resolve()
  }

  #refuse(unfinished: RunRecord[]): string[] {
    const plan = planRecovery(unfinished, [...this.#operations.values()], new Set(this.#drivers.keys()))
    if (plan.refuse.length === 0) return plan.adopt
    throw new DomainError('conflict', refusalMessage(plan.refuse), { detail: plan.refuse })
  }

  async #recover(others: Promise<unknown> | undefined): Promise<number> {
    const engine = this.#alive()
    const adopt = this.#refuse(await this.#options.store.listUnfinished())
    for (const runId of adopt) {
      const { run, log } = await this.#options.store.claim({ ...engine.writer, runId, at: this.#at() })
      const bound = this.#operations.get(nameOf(run))
      if (!bound) throw new Error(`operation ${nameOf(run)} is not registered`)
      const longest = milliseconds(engine.policy.longestBackoff)
      const position = takenOver(replay(bound, log), this.#clock.now(), longest)
      const driver = new Driver(engine, bound, run, position, log.at(-1)?.seq ?? 0)
      if (others === undefined || isUrgent(bound, position)) this.#launch(driver)
      else {
        this.#drivers.set(runId, driver)
        void others.then(() => this.#launch(driver))
      }
    }
    return adopt.length
  }

  #launch(driver: Driver, settled?: Settled): void {
    this.#drivers.set(driver.run.id, driver)
    const work = driver.drive(settled?.action).finally(() => this.#working.delete(work))
    this.#working.add(work)
  }

  #makeEngine(writer: Writer): Engine {
    const { store, inject = [], progressEvery = '5s' } = this.#options
    return {
      store,
      writer,
      policy: { ...defaultPolicy, ...this.#options.policy },
      faults: new Faults(inject),
      events: this.#events,
      progressEveryMs: milliseconds(progressEvery),
      stopping: this.#stopping.signal,
      clock: this.#clock,
      health: this.#health,
      isDead: () => this.#dead,
      crash: () => this.abandon(),
      fenced: (error) => this.#fenced(error),
      cancel: (runId) => this.cancel(runId),
      ended: (driver) => void this.#drivers.delete(driver.run.id),
    }
  }

  async #beat(): Promise<void> {
    if (this.#dead || !this.#writer) return
    try {
      await this.#options.store.heartbeat({ ...this.#writer, at: this.#at() })
      this.#health.worked()
    } catch (error) {
      if (isStaleFence(error)) this.#fenced(error)
      else this.#health.failed(null, error)
    }
  }

  #fenced(error: unknown): void {
    if (this.#dead) return
    this.#dead = true
    this.#halt(error)
    this.#events.emit({ type: 'fenced', error })
  }

  #halt(reason: unknown): void {
    if (this.#heartbeat) clearInterval(this.#heartbeat)
    this.#heartbeat = null
    this.#stopping.abort(reason)
    for (const driver of this.#drivers.values()) driver.stop()
  }

  #alive(): Engine {
    if (!this.#engine) throw new DomainError('unavailable', 'The control plane is starting.')
    if (this.#dead || this.#stopping.signal.aborted) {
      throw new DomainError('unavailable', 'The control plane is stopping.')
    }
    return this.#engine
  }

  #at(): string {
    return this.#clock.written()
  }
}

const isUrgent = (bound: BoundOperation, position: Position): boolean =>
  position.committed || bound.nodes[position.index]?.type === 'commit'

const nameOf = ({ kind, version }: { kind: string; version: number }): string =>
  `'${kind}' version ${version}`
