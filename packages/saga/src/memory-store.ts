import { DomainError } from '@volant/contract/errors.ts'
import { refused } from './controls.ts'
import { asCreated } from './creation.ts'
import { staleWriter, held, missing } from './store-errors.ts'
import type * as store from './store.ts'
import { hasEnded, type LogEntry, type RunRecord } from './types.ts'

interface Stored {
  run: RunRecord
  log: LogEntry[]
}

/** A store that lives as long as the object: for tests, where it outlives the executors that are "killed". */
export class MemoryStore implements store.SagaStore {
  readonly #runs = new Map<string, Stored>()
  readonly #held = new Map<string, store.Holder>()
  #fence: store.FenceRecord | undefined

  async acquireFence({ owner, at }: store.AcquireFenceParams): Promise<number> {
    const fence = (this.#fence?.fence ?? 0) + 1
    this.#fence = { owner, fence, acquiredAt: at, aliveAt: at }
    return fence
  }

  async heartbeat({ at, ...writer }: store.HeartbeatParams): Promise<void> {
    this.#check(writer)
    if (this.#fence) this.#fence = { ...this.#fence, aliveAt: at }
  }

  async currentFence(): Promise<store.FenceRecord | undefined> {
    return this.#fence && { ...this.#fence }
  }

  async createRun(given: store.CreateRunParams): Promise<void> {
    const params = structuredClone(given)
    this.#check(params)
    if (this.#runs.has(params.runId)) {
      throw new DomainError('conflict', `There is an operation ${params.runId} already.`)
    }
    for (const key of params.keys) {
      const holder = this.#held.get(key)
      if (holder) throw held(holder)
    }
    for (const key of params.keys) this.#held.set(key, { key, runId: params.runId, kind: params.kind })
    this.#runs.set(params.runId, { run: asCreated(params), log: params.entries })
  }

  async claim({ runId, owner, fence, at }: store.ClaimParams): Promise<store.ClaimedRun> {
    this.#check({ owner, fence })
    const stored = this.#stored(runId)
    const seq = (stored.log.at(-1)?.seq ?? 0) + 1
    stored.log.push({ seq, at, event: 'adopted', step: stored.run.step, owner, fence })
    stored.run = { ...stored.run, owner, fence, updatedAt: at }
    return structuredClone(stored)
  }

  async record(given: store.RecordParams): Promise<store.RecordResult> {
    const params = structuredClone(given)
    const stored = this.#owned(params)
    const { run, log } = stored
    if (params.unlessCancelled && run.control.cancelRequested)
      return { recorded: false, control: { ...run.control } }
    log.push(...params.entries.filter((entry) => entry.seq > (log.at(-1)?.seq ?? 0)))
    stored.run = {
      ...run,
      ...params.view,
      progress: params.progress ? params.progress.value : run.progress,
      updatedAt: params.at,
      endedAt: params.ended ? params.at : null,
    }
    if (params.ended) for (const key of run.keys) this.#held.delete(key)
    return { recorded: true, control: { ...run.control } }
  }

  async setProgress(params: store.SetProgressParams): Promise<void> {
    const stored = this.#owned(params)
    stored.run = { ...stored.run, progress: structuredClone(params.value), updatedAt: params.at }
  }

  async setControls(params: store.SetControlsParams): Promise<RunRecord> {
    const stored = this.#owned(params)
    const { run } = stored
    const cancels = params.cancelRequested === true && !run.control.cancelRequested
    if (hasEnded(run.state) || (cancels && !run.cancellable)) throw refused(run, params)
    stored.run = {
      ...run,
      state: cancels ? 'cancelling' : run.state,
      control: {
        paused: params.paused ?? run.control.paused,
        cancelRequested: params.cancelRequested ?? run.control.cancelRequested,
        rate: params.rate === undefined ? run.control.rate : params.rate,
        pace: params.pace === undefined ? run.control.pace : params.pace,
        priority: params.priority === undefined ? run.control.priority : params.priority,
        revision: run.control.revision + 1,
      },
      updatedAt: params.at,
    }
    return structuredClone(stored.run)
  }

  async get(runId: string): Promise<RunRecord | undefined> {
    return structuredClone(this.#runs.get(runId)?.run)
  }

  async history({ runId, after = 0, limit = Infinity }: store.HistoryParams): Promise<LogEntry[]> {
    const log = this.#runs.get(runId)?.log ?? []
    return structuredClone(log.filter((entry) => entry.seq > after).slice(0, limit))
  }

  async list(params: store.ListParams): Promise<store.ListPage> {
    const { kinds, states, key, parentId, updatedSince, limit, after } = params
    const newestFirst = [...this.#runs.values()].map(({ run }) => run).sort((a, b) => compare(b, a))
    const start = after === undefined ? 0 : newestFirst.findIndex(({ id }) => id === after) + 1
    if (after !== undefined && start === 0) throw missing(after)
    const found = newestFirst
      .slice(start)
      .filter((run) => !kinds || kinds.includes(run.kind))
      .filter((run) => !states || states.includes(run.state))
      .filter((run) => key === undefined || run.keys.includes(key))
      .filter((run) => parentId === undefined || run.parentId === parentId)
      .filter((run) => updatedSince === undefined || run.updatedAt >= updatedSince)
    return { runs: structuredClone(found.slice(0, limit)), more: found.length > limit }
  }

  async listUnfinished(): Promise<RunRecord[]> {
    const unfinished = [...this.#runs.values()].map(({ run }) => run).filter(({ state }) => !hasEnded(state))
    return structuredClone(unfinished.sort(compare))
  }

  async holderOf(key: string): Promise<store.Holder | undefined> {
    return structuredClone(this.#held.get(key))
  }

  async deleteEnded({ endedBefore, limit, ...writer }: store.DeleteEndedParams): Promise<number> {
    this.#check(writer)
    const old = [...this.#runs.values()].filter(
      ({ run }) => run.endedAt !== null && run.endedAt < endedBefore,
    )
    const gone = old.slice(0, limit)
    for (const { run } of gone) this.#runs.delete(run.id)
    return gone.length
  }

  #check(writer: store.Writer): void {
    if (writer.fence !== this.#fence?.fence || writer.owner !== this.#fence.owner) {
      throw staleWriter(writer, this.#fence)
    }
  }

  #stored(runId: string): Stored {
    const stored = this.#runs.get(runId)
    if (!stored) throw missing(runId)
    return stored
  }

  #owned(params: store.Writer & { runId: string }): Stored {
    this.#check(params)
    const stored = this.#stored(params.runId)
    if (stored.run.owner === params.owner && stored.run.fence === params.fence) return stored
    throw staleWriter(params, stored.run)
  }
}

/** Oldest first; the id decides between two of the same millisecond. */
const compare = (a: RunRecord, b: RunRecord): number =>
  a.createdAt === b.createdAt ? (a.id < b.id ? -1 : 1) : a.createdAt < b.createdAt ? -1 : 1
