/** How a run begins: its row, and the intent to begin its first step, for one write. */
import { isDomainError } from '@volant/contract/errors.ts'
import type { SteadyClock } from './clock.ts'
import type { BoundOperation } from './operation.ts'
import { settle, type Settled } from './plan.ts'
import { startPosition } from './position.ts'
import type { CreateRunParams, Writer } from './store.ts'
import type { RunRecord } from './types.ts'

/** The store has answered, and said no. */
export const isRefusal = (error: unknown): boolean =>
  isDomainError(error) && error.code !== 'unavailable' && error.code !== 'internal'

interface First extends Writer {
  runId: string
  input: unknown
  parentId: string | null
  clock: SteadyClock
}

/** The run's row and the intent to begin its first step, for one write. */
export function firstWrite(
  bound: BoundOperation,
  keys: string[],
  { owner, fence, runId, input, parentId, clock }: First,
): { params: CreateRunParams; settled: Settled } {
  const control = { paused: false, cancelRequested: false, rate: null, pace: null, priority: null }
  const now = clock.now()
  const settled = settle(bound, { position: startPosition, control, now, lookAt: null, advancedAt: null }, [])
  const at = clock.written(now)
  return {
    settled,
    params: {
      owner,
      fence,
      runId,
      kind: bound.kind,
      version: bound.version,
      steps: bound.nodes.map((node) => node.name),
      keys,
      input,
      parentId,
      at,
      entries: settled.facts.map((fact, i) => ({ ...fact, seq: i + 1, at })),
      view: settled.view,
    },
  }
}

/** The row that `createRun` makes of its params. */
export function asCreated(params: CreateRunParams): RunRecord {
  const { runId, kind, version, steps, keys, input, parentId, at, view, owner, fence } = params
  return {
    id: runId,
    kind,
    version,
    steps,
    keys,
    input,
    parentId,
    ...view,
    control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null, revision: 0 },
    progress: null,
    owner,
    fence,
    createdAt: at,
    updatedAt: at,
    endedAt: null,
  }
}
