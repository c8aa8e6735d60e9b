/**
 * Carries one run out: asks the plan, writes down what has to be on record, acts, and tells the plan what came of
 * it. It decides nothing itself. There is one driver for each run that has not ended, also for one that is
 * paused or needs attention. One class, over 400 lines: everything in it happens in the one order of a run, on state that
 * nobody else may see.
 */
import { DomainError, messageOf } from '@volant/contract/errors.ts'
import { perform, plain, type Call, type Outcome } from './call.ts'
import { milliseconds } from './duration.ts'
import type { SteadyClock } from './clock.ts'
import type { Events } from './events.ts'
import { classify, isStaleFence } from './failure.ts'
import { Abandoned, Faults } from './faults.ts'
import { insist } from './insist.ts'
import {
  judgeAskFailed,
  judgeFailed,
  judgeHung,
  judgeNotHappened,
  judgeUndoFailed,
  type Case,
} from './judge.ts'
import type {
  AdvancingLook,
  BoundOperation,
  CommitNode,
  ErasedContext,
  Look,
  OperationNode,
  StepNode,
  WaitNode,
  Watch,
} from './operation.ts'
import { settle, type Action, type Fact, type Settled } from './plan.ts'
import type { Policy } from './policy.ts'
import { isElsewhere, type Position, type Shape } from './position.ts'
import { ProgressWriter } from './progress.ts'
import type { StoreHealth } from './store-health.ts'
import type { RecordResult, SagaStore, Writer } from './store.ts'
import { hasEnded, type LogEntry, type RunRecord, type StoredControl } from './types.ts'

/** What a driver needs of its engine. */
export interface Engine {
  readonly store: SagaStore
  readonly writer: Writer
  readonly policy: Policy
  readonly faults: Faults
  readonly events: Events
  readonly progressEveryMs: number
  readonly clock: SteadyClock
  readonly health: StoreHealth
  /** Aborted when the engine stops, is abandoned, or has been replaced. */
  readonly stopping: AbortSignal
  /** True after a crash was injected or the engine was replaced: nothing may be written any more. */
  isDead(): boolean
  crash(): void
  fenced(error: unknown): void
  cancel(runId: string): Promise<unknown>
  /** The run has ended: the driver is done. */
  ended(driver: Driver): void
}

const longestTimerMs = 2 ** 31 - 1
const noFaults = new Faults([])

export class Driver {
  readonly #engine: Engine
  readonly #operation: BoundOperation
  readonly #progress: ProgressWriter
  #run: RunRecord
  #position: Position
  #seq: number
  #lookAt: number | null = null
  /** Of the wait under way (or the way back through it), and when it last changed. */
  #advance: string | undefined
  #advancedAt: number | null = null
  /** Whether a look of the wait under way has succeeded since the last one that failed. */
  #lookedSince = false
  #woken = false
  #wake: () => void = () => {}
  #call: AbortController | null = null
  #abortable = false
  #commands: { fact: Fact; taken: () => void }[] = []
  #waiters: PromiseWithResolvers<RunRecord>[] = []

  constructor(engine: Engine, operation: BoundOperation, run: RunRecord, position: Position, seq: number) {
    this.#engine = engine
    this.#operation = operation
    this.#run = run
    this.#position = position
    this.#seq = seq
    this.#progress = new ProgressWriter(engine, run.id)
  }

  /** The run as it is now, with the newest progress. */
  get run(): RunRecord {
    return this.#run
  }

  get position(): Position {
    return this.#position
  }

  get shape(): Shape {
    return this.#operation
  }

  /** Resolves when the run has ended or needs attention. */
  settled(): Promise<RunRecord> {
    if (this.#isSettled()) return Promise.resolve(this.#run)
    if (this.#engine.stopping.aborted) return Promise.reject(leftBehind())
    const waiter = Promise.withResolvers<RunRecord>()
    this.#waiters.push(waiter)
    return waiter.promise
  }

  /** Looks at a wait at once, and lets the plan see changed wishes. */
  wake(): void {
    this.#lookAt = null
    this.#woken = true
    this.#wake()
  }

  /** The operator's wishes as the store has them now. */
  controlled(control: StoredControl): void {
    if (control.revision <= this.#run.control.revision) return
    const cancelled = control.cancelRequested && !this.#run.control.cancelRequested
    this.#update({ control, ...(cancelled ? { state: 'cancelling' } : {}) })
    if (control.cancelRequested && this.#abortable) {
      this.#call?.abort(new DomainError('conflict', 'The operation was cancelled.'))
    }
    this.wake()
  }

  /** Puts an operator's decision on record; only for a run that needs attention. Resolves when it is. */
  command(fact: Fact): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#commands.push({ fact, taken: resolve })
    this.wake()
    return promise
  }

  /** `first` is what the log, as already written, says is next; undefined: write first, then see. */
  async drive(first?: Action): Promise<void> {
    try {
      let action = first ?? (await this.#write([]))
      while (action.type !== 'end') {
        this.#checkAlive()
        action = await this.#write(await this.#act(action).catch((error: unknown) => this.#faulty(error)))
      }
      this.#engine.ended(this)
    } catch (error) {
      if (error instanceof Abandoned) return
      if (isStaleFence(error)) this.#engine.fenced(error)
      else this.#engine.events.emit({ type: 'broken', runId: this.#run.id, error })
      this.stop()
    }
  }

  /** A fault of ours, or of a declaration: the run must not stand still unseen. */
  #faulty(error: unknown): Fact[] {
    if (error instanceof Abandoned || isStaleFence(error) || this.#position.attention) throw error
    const step = this.#run.step ?? this.#run.steps[0] ?? ''
    this.#engine.events.emit({ type: 'broken', runId: this.#run.id, error })
    const failure = {
      class: 'final',
      code: 'internal',
      message: `Volant's own fault: ${messageOf(error)}`,
    } as const
    return [{ event: 'failed', step, failure, decision: 'attention' }]
  }

  #checkAlive(): void {
    if (this.#engine.isDead() || this.#engine.stopping.aborted) throw new Abandoned()
  }

  /** The engine stops, or has been replaced: what is under way is told so, and nothing more is begun. */
  stop(): void {
    this.#progress.stop()
    this.#call?.abort(this.#engine.stopping.reason)
    this.#waiters.splice(0).forEach(({ reject }) => reject(leftBehind()))
    this.#wake()
  }

  async #act(action: Action): Promise<Fact[]> {
    const node = 'index' in action ? this.#operation.nodes[action.index] : undefined
    if (action.type === 'sleep') await this.#sleep(action.until)
    else if (action.type === 'idle') await this.#sleep(Infinity)
    else if (action.type === 'do' && node && node.type !== 'wait') return await this.#do(node)
    else if (action.type === 'look' && node?.type === 'wait') return await this.#look(node, action.held)
    else if (action.type === 'ask' && node?.type === 'commit') return await this.#ask(node)
    else if (action.type === 'undo' && node?.type === 'step') return await this.#undo(node)
    else if (action.type === 'look-back' && node?.type === 'wait' && node.back)
      return await this.#lookBack(node, node.back)
    return this.#takeCommands()
  }

  async #do(node: StepNode | CommitNode): Promise<Fact[]> {
    const outcome = await this.#invoke(node, 'do', () => node.do(this.#context()))
    if (outcome.type === 'returned') {
      return [
        { event: 'done', step: node.name, ...(outcome.value === undefined ? {} : { output: outcome.value }) },
      ]
    }
    return this.#failed(node, outcome)
  }

  async #look(node: WaitNode, held: boolean): Promise<Fact[]> {
    const outcome = await this.#invoke(node, 'do', () => node.until(this.#context()))
    if (outcome.type !== 'returned') return this.#failed(node, outcome)
    const look = outcome.value as Look
    this.#looked(node, look)
    return look.done && !held ? [{ event: 'done', step: node.name }] : []
  }

  async #lookBack(node: WaitNode, back: Watch): Promise<Fact[]> {
    const outcome = await this.#invoke(node, 'undo', () => back.until(this.#context()))
    if (outcome.type !== 'returned') return this.#undoFailed(node, outcome)
    const look = outcome.value as Look
    this.#looked(back, look)
    return look.done ? [{ event: 'undone', step: node.name }] : []
  }

  /** Notes what a look has seen, and when the next is due. */
  #looked(watch: Watch, look: Look): void {
    this.#lookedSince = true
    if (look.progress !== undefined) this.#report(look.progress)
    this.#noteAdvance(look)
    const { longestCheckInterval } = this.#engine.policy
    const every = look.again === undefined ? watch.everyMs : milliseconds(look.again)
    // Woken while it looked: what it saw may be old already.
    this.#lookAt = this.#woken
      ? null
      : this.#engine.clock.now() + Math.min(every, milliseconds(longestCheckInterval))
  }

  #noteAdvance(look: Partial<AdvancingLook>): void {
    if (look.advance === undefined) return
    const advance = JSON.stringify(look.advance)
    if (advance === this.#advance) return
    this.#advance = advance
    this.#advancedAt = this.#engine.clock.now()
  }

  async #ask(node: CommitNode): Promise<Fact[]> {
    const outcome = await this.#invoke(node, 'ask', () => node.happened(this.#context()))
    if (outcome.type === 'hung') return [judgeHung(this.#case(node, outcome.error), 'ask-failed')]
    if (outcome.type === 'threw') return [judgeAskFailed(this.#case(node, outcome.error))]
    if (outcome.value) return [{ event: 'done', step: node.name }]
    return [judgeNotHappened(node, this.#case(node, undefined))]
  }

  async #undo(node: StepNode): Promise<Fact[]> {
    const outcome = await this.#invoke(node, 'undo', () => node.undo?.(this.#context()))
    return outcome.type === 'returned'
      ? [{ event: 'undone', step: node.name }]
      : this.#undoFailed(node, outcome)
  }

  #undoFailed(node: OperationNode, outcome: Exclude<Outcome, { type: 'returned' }>): Fact[] {
    const given = this.#case(node, outcome.error)
    this.#lookedSince = false
    this.#lookAt = null
    return [outcome.type === 'hung' ? judgeHung(given, 'undo-failed') : judgeUndoFailed(given)]
  }

  #failed(node: OperationNode, outcome: Exclude<Outcome, { type: 'returned' }>): Fact[] {
    const given = this.#case(node, outcome.error)
    this.#lookedSince = false
    this.#lookAt = null
    if (outcome.type === 'hung') return [judgeHung(given, 'failed')]
    // It stopped because it was told to; the plan sees the cancel itself.
    if (this.#run.control.cancelRequested && this.#abortable) return []
    return [judgeFailed(given)]
  }

  #case(node: OperationNode, error: unknown): Case {
    return {
      shape: this.#operation,
      position: this.#position,
      node,
      failure: classify(error),
      policy: this.#engine.policy,
      input: this.#run.input,
      now: this.#engine.clock.now(),
      failures: node.type === 'wait' && this.#lookedSince ? 0 : this.#position.failures,
    }
  }

  /** Calls into the operation's code. Errors that say "you have been replaced" or "stop" are not its failures. */
  async #invoke(node: OperationNode, what: 'do' | 'undo' | 'ask', invoke: () => unknown): Promise<Outcome> {
    const { stopping, policy } = this.#engine
    const during = what === 'undo' ? 'undo' : 'do'
    const abort = new AbortController()
    this.#call = abort
    this.#abortable = what === 'do' && node.type !== 'commit' && !this.#position.committed
    if (stopping.aborted) abort.abort(stopping.reason)
    if (this.#abortable && this.#run.control.cancelRequested) abort.abort()
    const isDo = what === 'do' && node.type !== 'wait'
    const call: Call = {
      step: node.name,
      during,
      invoke,
      abort,
      timeoutMs: isDo ? (node.timeoutMs ?? milliseconds(policy.doTimeout)) : milliseconds(policy.callTimeout),
      abortGraceMs: milliseconds(policy.abortGrace),
      faults: what === 'ask' ? noFaults : this.#engine.faults,
      isBoundary: (value) => node.type !== 'wait' || (value as Look).done,
      crash: () => this.#engine.crash(),
      cancel: () => this.#engine.cancel(this.#run.id),
    }
    const outcome = await perform(call)
    this.#call = null
    if (this.#engine.isDead()) throw new Abandoned()
    if (outcome.type === 'returned') return outcome
    if (isStaleFence(outcome.error)) throw outcome.error
    if (stopping.aborted) throw new Abandoned()
    const { id: runId, kind } = this.#run
    this.#engine.events.emit({
      type: 'call-failed',
      runId,
      kind,
      step: node.name,
      during,
      error: outcome.error,
    })
    return outcome
  }

  #context(): ErasedContext {
    const run = this.#run
    const current = (): StoredControl =>
      this.#position.direction === 'forward' ? this.#run.control : { ...this.#run.control, paused: false }
    return {
      op: {
        id: run.id,
        fence: this.#engine.writer.fence,
        createdAt: run.createdAt,
        get control() {
          return current()
        },
      },
      input: run.input,
      out: this.#position.outputs,
      ports: this.#operation.ports,
      signal: this.#call?.signal ?? AbortSignal.abort(),
      now: () => this.#engine.clock.wall(),
      progress: (value) => this.#report(value),
    }
  }

  #report(value: unknown): void {
    if (this.#engine.isDead() || hasEnded(this.#run.state)) return
    const progress = plain(value) ?? null
    this.#run = { ...this.#run, progress }
    this.#progress.set(progress)
    this.#engine.events.emit({ type: 'progress', runId: this.#run.id, kind: this.#run.kind, progress })
  }

  #takeCommands(): Fact[] {
    const commands = this.#commands
    this.#commands = []
    commands.forEach(({ taken }) => this.#taken.push(taken))
    // Twice the same wish, pressed before the first was seen, is one wish.
    const first = commands[0]
    return first && this.#position.attention ? [first.fact] : []
  }

  #taken: (() => void)[] = []

  /** Puts the facts, and what follows from them, on record in one write; returns what to do next. */
  async #write(facts: Fact[]): Promise<Action> {
    let add = facts
    for (;;) {
      this.#woken = false
      const { revision } = this.#run.control
      const settled = settle(this.#operation, this.#situation(), add)
      if (settled.facts.length > 0 || !this.#shows(settled)) {
        const { recorded, control } = await this.#record(settled)
        this.controlled(control)
        if (!recorded) continue
      }
      add = []
      this.#taken.splice(0).forEach((taken) => taken())
      if (settled.action.type === 'end' || this.#run.control.revision === revision) return settled.action
    }
  }

  #situation() {
    return {
      position: this.#position,
      control: this.#run.control,
      now: this.#engine.clock.now(),
      lookAt: this.#lookAt,
      advancedAt: this.#advancedAt,
    }
  }

  #shows({ view }: Settled): boolean {
    return view.state === this.#run.state && view.step === this.#run.step
  }

  async #record(settled: Settled): Promise<RecordResult> {
    const at = this.#engine.clock.written()
    const entries = settled.facts.map((fact, i) => this.#written(fact, this.#seq + i + 1, at))
    const ended = settled.action.type === 'end' ? settled.action.state : null
    const progress = this.#progress.take()
    const result = await insist(
      this.#engine,
      this.#run.id,
      (ms) => this.#timer(ms),
      () =>
        this.#engine.store.record({
          ...this.#engine.writer,
          runId: this.#run.id,
          at,
          entries,
          view: settled.view,
          ...progress,
          unlessCancelled: settled.unlessCancelled,
          ended,
        }),
    )
    if (this.#engine.isDead()) throw new Abandoned()
    if (!result.recorded) return result
    if (isElsewhere(this.#position, settled.position)) this.#forgetLooks()
    this.#position = settled.position
    this.#seq += entries.length
    this.#update({ ...settled.view, updatedAt: at, endedAt: ended === null ? null : at })
    this.#engine.events.emit({ type: 'log', runId: this.#run.id, kind: this.#run.kind, entries })
    if (this.#isSettled()) this.#waiters.splice(0).forEach(({ resolve }) => resolve(this.#run))
    return result
  }

  /** What is decided in steady time is written down in the wall's. */
  #written(fact: Fact, seq: number, at: string): LogEntry {
    if (fact.retryAt === undefined) return { ...fact, seq, at }
    return { ...fact, retryAt: this.#engine.clock.written(Date.parse(fact.retryAt)), seq, at }
  }

  #forgetLooks(): void {
    this.#lookAt = null
    this.#lookedSince = false
    this.#advance = undefined
    this.#advancedAt = null
  }

  #update(changed: Partial<RunRecord>): void {
    this.#run = { ...this.#run, ...changed }
    this.#engine.events.emit({ type: 'run', run: this.#run })
  }

  #isSettled(): boolean {
    return hasEnded(this.#run.state) || this.#run.state === 'needs-attention'
  }

  async #sleep(until: number): Promise<void> {
    // What arrived since the last plan was made must be planned for, not slept over.
    if (this.#woken || this.#commands.length > 0) return
    await this.#timer(until - this.#engine.clock.now())
  }

  #timer(ms: number): Promise<void> {
    if (this.#engine.stopping.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(Math.max(0, ms), longestTimerMs))
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

const leftBehind = (): DomainError =>
  new DomainError('unavailable', 'The control plane is stopping; the operation goes on after its next start.')
