/**
 * The generic tests of an operation: every step, wait and commit, with every fault, each as a test of its own.
 *
 * ```ts
 * everyStep(migrateVolume, { fresh: async () => ({ input, ports, invariants, close }) })
 * ```
 *
 * Of a wait with a way back, `back` is what the undo is of a step.
 *
 * - repeated: the step is done twice; undone twice.
 * - failed: it fails before, and after, it is done; so does its undo, once and for good.
 * - crashed: the engine dies before, and after, it is done and nothing is recorded; likewise its undo. A new
 *   engine on the same store carries on.
 * - cancelled: before, and after, it is done; from the commit on the cancel is refused. In a wait: with an undo that
 *   keeps failing, too.
 *
 * Every test asserts that its fault struck at that step, that the run ended as it must, that it holds no key any
 * more and that no undo failed by itself; then the world's own invariants are asked.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isDomainError } from '@volant/contract/errors.ts'
import { Executor } from '../executor.ts'
import type { Fault } from '../faults.ts'
import { MemoryStore } from '../memory-store.ts'
import { bind, type Operation } from '../operation.ts'
import type { Policy } from '../policy.ts'
import type { SagaStore } from '../store.ts'
import type { LogEntry, RunRecord } from '../types.ts'
import { scenarios, type FaultKind, type Scenario } from './scenarios.ts'

export interface World<Input, Ports> {
  /** A new world for one test, with nothing in it that another test did. */
  fresh(): Promise<FreshWorld<Input, Ports>>
}

export interface FreshWorld<Input, Ports> {
  input: Input
  ports: Ports
  /** The ports as a new process would make them, after a crash; the same ones if not given. */
  restarted?(): Ports | Promise<Ports>
  /** Throws where the world is not as the operation's end promises. Called after the run has ended. */
  invariants(result: Result): Promise<void> | void
  close(): Promise<void> | void
  /** In memory if not given. It must be empty. */
  store?: SagaStore
}

export interface Result {
  run: RunRecord
  log: LogEntry[]
  fault: { kind: FaultKind; step: string | null; name: string }
}

/** All back-offs and intervals of a few milliseconds, so that hundreds of tests take seconds. */
export const hurriedPolicy: Policy = {
  step: { attempts: 3, backoff: 1 },
  commit: { attempts: 3, backoff: 1 },
  ask: { attempts: 3, backoff: 1 },
  afterCommit: { attempts: 3, backoff: 1 },
  undo: { attempts: 3, backoff: 1 },
  longestBackoff: 2,
  longestCheckInterval: 2,
  doTimeout: '20s',
  callTimeout: '20s',
  abortGrace: '5s',
}

let collected: Set<Operation<never, never>> | null = null

/**
 * The operations that have their generic tests in what `load` imports; the tests themselves are not declared. For a
 * test that none is without them.
 */
export async function coveredBy(load: () => Promise<void>): Promise<ReadonlySet<Operation<never, never>>> {
  const found = new Set<Operation<never, never>>()
  collected = found
  try {
    await load()
  } finally {
    collected = null
  }
  return found
}

export function everyStep<Input, Ports>(
  operation: Operation<Input, Ports>,
  world: World<Input, Ports>,
  options: { timeoutMs?: number } = {},
): void {
  if (collected !== null) {
    collected.add(operation as unknown as Operation<never, never>)
    return
  }
  describe(`every step of ${operation.kind} version ${operation.version}`, () => {
    for (const scenario of scenarios(operation.nodes)) {
      test(scenario.name, { timeout: options.timeoutMs ?? 30_000 }, async () => {
        const fresh = await world.fresh()
        try {
          await fresh.invariants(await play(operation, fresh, scenario))
        } finally {
          await fresh.close()
        }
      })
    }
  })
}

/** Counts how often each fault struck, and which cancels were refused. */
class Watched {
  readonly faults: Fault[]
  readonly #struck = new Map<Fault, number>()
  readonly refusals: unknown[] = []

  constructor(faults: readonly Fault[]) {
    this.faults = faults.map((fault) => {
      const watched: Fault = {
        ...fault,
        reached: () => this.#struck.set(watched, (this.#struck.get(watched) ?? 0) + 1),
        refused: (error) => this.refusals.push(error),
      }
      return watched
    })
  }

  assertReached(): void {
    for (const fault of this.faults) {
      const place = `${fault.what} ${fault.when} the ${fault.during ?? 'do'} of ${fault.at}`
      assert.ok(this.#struck.has(fault), `the injected fault was not reached: ${place}`)
    }
  }
}

async function play<Input, Ports>(
  operation: Operation<Input, Ports>,
  world: FreshWorld<Input, Ports>,
  scenario: Scenario,
): Promise<Result> {
  const store = world.store ?? new MemoryStore()
  const broken: unknown[] = []
  const executors: Executor[] = []
  const engine = async (ports: Ports, inject: readonly Fault[]): Promise<Executor> => {
    const executor = new Executor({
      store,
      owner: `engine-${executors.length + 1}`,
      operations: [bind(operation, ports)],
      policy: hurriedPolicy,
      inject,
    })
    executors.push(executor)
    executor.onEvent((event) => {
      if (event.type === 'broken' || event.type === 'store-failed') broken.push(event.error)
    })
    await executor.begin()
    return executor
  }
  const watched = new Watched(scenario.faults)
  try {
    const first = await engine(world.ports, watched.faults)
    const { id } = await first.start(operation, world.input)
    const next = async (): Promise<Executor> => engine((await world.restarted?.()) ?? world.ports, [])
    const run = await settle(first, next, id, scenario)
    assert.deepEqual(broken, [], 'the engine itself failed')
    watched.assertReached()
    const log = await store.history({ runId: id })
    await assertEnded(store, run, log, scenario, watched)
    return { run, log, fault: { kind: scenario.kind, step: scenario.step, name: scenario.name } }
  } finally {
    await Promise.all(executors.map((executor) => executor.stop()))
  }
}

/** Follows the run over crashes and operators' help to its end. */
async function settle(
  first: Executor,
  restart: () => Promise<Executor>,
  id: string,
  scenario: Scenario,
): Promise<RunRecord> {
  let executor = first
  if (scenario.faults.some(({ what }) => what === 'crash')) {
    const ended = first.ended(id).then(
      (run) => assert.fail(`the run is ${run.state}; it was to crash`),
      (error: unknown) => assert.ok(isDomainError(error) && error.code === 'unavailable', String(error)),
    )
    await Promise.all([first.crashed, ended])
    executor = await restart()
  }
  let run = await executor.ended(id)
  for (const [i, expected] of scenario.settles.entries()) {
    assert.equal(run.state, expected, `${run.step ?? ''}: ${run.failure?.message ?? 'no failure'}`)
    if (i + 1 === scenario.settles.length) break
    // The cause was removed: a new process has no faults. Then the operator resumes.
    executor.abandon()
    executor = await restart()
    await executor.resume(id)
    run = await executor.ended(id)
  }
  return run
}

async function assertEnded(
  store: SagaStore,
  run: RunRecord,
  log: LogEntry[],
  scenario: Scenario,
  { refusals }: Watched,
): Promise<void> {
  for (const key of run.keys) assert.equal(await store.holderOf(key), undefined, `${key} is still held`)
  assert.equal(log.at(-1)?.event, 'ended')
  if (!scenario.undoFails) {
    const failures = log.filter(({ event }) => event === 'undo-failed').map(({ failure }) => failure?.message)
    assert.deepEqual(failures, [], 'an undo failed by itself')
  }
  const conflicts = refusals.filter((error) => isDomainError(error) && error.code === 'conflict')
  assert.equal(refusals.length, conflicts.length, `a cancel failed: ${String(refusals[0])}`)
  assert.equal(conflicts.length > 0, scenario.cancelRefused, 'whether the cancel was refused')
}
