/** A small operation over a scripted world, for the engine's own tests. */
import type { TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { Executor, type ExecutorOptions } from '../executor.ts'
import { MemoryStore } from '../memory-store.ts'
import { bind, operation, type Context, type Look } from '../operation.ts'
import type { SagaStore } from '../store.ts'
import { hurriedPolicy } from './every-step.ts'

export interface FlowInput {
  id: string
}

type FlowContext = Context<FlowInput, Flow, unknown>

/** What each place does; the default is to succeed. Everything that is called is noted in `calls`. */
export class Flow {
  readonly calls: string[] = []
  happened = false
  readonly script: Record<string, (context: FlowContext) => unknown> = {}

  async call(name: string, context: FlowContext): Promise<unknown> {
    this.calls.push(name)
    return await this.script[name]?.(context)
  }
}

/** prepare, copy, [equal], SWITCH, clear, note. */
export const flow = operation<FlowInput, Flow>('thing.move', { version: 1 })
  .holds(({ id }) => [`thing/${id}`])
  .step('prepare', {
    do: (context) => context.ports.call('prepare', context),
    undo: async (context) => void (await context.ports.call('-prepare', context)),
  })
  .step('copy', {
    do: (context) => context.ports.call('copy', context),
    undo: async (context) => void (await context.ports.call('-copy', context)),
    skipUndo: 'the copy stays behind as a stray',
  })
  .wait('equal', {
    every: '1h',
    timeout: '10h',
    stallTimeout: '2h',
    until: async (context) => ({
      advance: 0,
      ...(((await context.ports.call('equal', context)) as Look | undefined) ?? { done: true }),
    }),
  })
  .commit('switch', {
    do: async (context) => {
      await context.ports.call('switch', context)
      context.ports.happened = true
      return { pauseMs: 1 }
    },
    happened: async (context) => {
      await context.ports.call('happened', context)
      return context.ports.happened
    },
    retryFrom: 'equal',
  })
  .step('clear', {
    do: (context) => context.ports.call('clear', context),
    skip: 'what is not cleared away harms nobody',
  })
  .step('note', { do: (context) => context.ports.call('note', context) })

export interface Bench {
  store: SagaStore
  ports: Flow
  /** A further engine on the same store and world, as after a restart. */
  engine(options?: Partial<ExecutorOptions>): Promise<Executor>
  /** Waits until the world has heard that call. */
  called(name: string): Promise<void>
  stop(): Promise<void>
}

export function bench(store: SagaStore = new MemoryStore()): Bench {
  const ports = new Flow()
  const executors: Executor[] = []
  return {
    store,
    ports,
    async engine(options = {}) {
      const owner = `engine-${executors.length + 1}`
      const operations = [bind(flow, ports)]
      const executor = new Executor({ store, owner, operations, policy: hurriedPolicy, ...options })
      executors.push(executor)
      await executor.begin()
      return executor
    },
    called: (name) => until(`${name} is called`, () => ports.calls.includes(name)),
    stop: async () => void (await Promise.all(executors.map((executor) => executor.stop()))),
  }
}

/** One that ends with the test. */
export function openBench(t: TestContext): Bench {
  const made = bench()
  t.after(() => made.stop())
  return made
}

/** The run's log: `done copy`. */
export const eventsOf = async ({ store }: Pick<Bench, 'store'>, runId: string): Promise<string[]> =>
  (await store.history({ runId })).map(({ event, step }) => (step === null ? event : `${event} ${step}`))
