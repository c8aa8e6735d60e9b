/**
 * The contract of `SagaStore` as tests, for every store to run against:
 *
 * ```ts
 * storeSuite('SQLite', async () => ({ store: operationStore(db), close: () => db.destroy() }))
 * ```
 *
 * One file, over 400 lines: it is one contract.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isDomainError, type ErrorCode } from '@volant/contract/errors.ts'
import type { CreateRunParams, ListParams, RecordParams, RunView, SagaStore, Writer } from '../store.ts'
import type { LogEntry } from '../types.ts'

export interface StoreWorld {
  store: SagaStore
  close(): Promise<void>
}

/** `open` makes an empty store; it is called once for each test. */
export function storeSuite(name: string, open: () => Promise<StoreWorld>): void {
  describe(`the contract of a saga store: ${name}`, () => {
    const given = givenWith(open)
    fences(given)
    creating(given)
    recording(given)
    controlling(given)
    listing(given)
  })
}

type Given = (behaviour: string, body: (store: SagaStore) => Promise<void>) => void

const givenWith =
  (open: () => Promise<StoreWorld>): Given =>
  (behaviour, body) =>
    void test(behaviour, async () => {
      const world = await open()
      try {
        await body(world.store)
      } finally {
        await world.close()
      }
    })

export const refusedWith =
  (code: ErrorCode, text = /./) =>
  (error: unknown) => {
    assert.ok(isDomainError(error), `a DomainError, not ${String(error)}`)
    assert.equal(error.code, code, error.message)
    assert.match(error.message, text)
    return true
  }

let clock = Date.parse('2026-01-01T00:00:00.000Z')
const tick = (): string => new Date((clock += 1000)).toISOString()

const running: RunView = { state: 'running', step: 'a', cancellable: true, failure: null }

async function writerOf(store: SagaStore, owner = 'one'): Promise<Writer> {
  return { owner, fence: await store.acquireFence({ owner, at: tick() }) }
}

function runOf(writer: Writer, runId: string, more: Partial<CreateRunParams> = {}): CreateRunParams {
  const at = tick()
  return {
    ...writer,
    runId,
    kind: 'volume.migrate',
    version: 1,
    steps: ['a', 'b'],
    keys: [`volume/${runId}`],
    input: { volumeId: runId, list: [1, null, 'ü'] },
    parentId: null,
    at,
    entries: [{ seq: 1, at, event: 'started', step: 'a' }],
    view: running,
    ...more,
  }
}

function step(writer: Writer, runId: string, more: Partial<RecordParams> = {}): RecordParams {
  return {
    ...writer,
    runId,
    at: tick(),
    entries: [],
    view: running,
    unlessCancelled: false,
    ended: null,
    ...more,
  }
}

const entry = (seq: number, event: LogEntry['event'], more: Partial<LogEntry> = {}): LogEntry => ({
  seq,
  at: tick(),
  event,
  step: 'a',
  ...more,
})

function fences(given: Given): void {
  given('a fence number is above all earlier ones, and its owner is alive', async (store) => {
    assert.equal(await store.currentFence(), undefined)
    const one = await writerOf(store, 'one')
    const two = await writerOf(store, 'two')
    assert.ok(two.fence > one.fence)
    const at = tick()
    await store.heartbeat({ ...two, at })
    const current = await store.currentFence()
    assert.deepEqual([current?.owner, current?.fence, current?.aliveAt], ['two', two.fence, at])
  })

  given('who has been replaced changes nothing', async (store) => {
    const old = await writerOf(store, 'old')
    await store.createRun(runOf(old, 'r'))
    const before = await store.get('r')
    await writerOf(store, 'new')

    const stale = refusedWith('staleFence', /'old' with fence \d+ has been replaced/)
    await assert.rejects(store.heartbeat({ ...old, at: tick() }), stale)
    await assert.rejects(store.createRun(runOf(old, 's')), stale)
    await assert.rejects(store.claim({ ...old, runId: 'r', at: tick() }), stale)
    await assert.rejects(store.record(step(old, 'r', { entries: [entry(2, 'done')] })), stale)
    await assert.rejects(store.setProgress({ ...old, runId: 'r', at: tick(), value: 1 }), stale)
    await assert.rejects(store.setControls({ ...old, runId: 'r', at: tick(), cancelRequested: true }), stale)
    await assert.rejects(store.deleteEnded({ ...old, endedBefore: tick(), limit: 1 }), stale)
    assert.deepEqual(await store.get('r'), before)
    assert.equal(await store.get('s'), undefined)
    assert.equal((await store.history({ runId: 'r' })).length, 1)
  })

  given('the newest writer changes no run that it has not claimed', async (store) => {
    await store.createRun(runOf(await writerOf(store, 'old'), 'r'))
    const newest = await writerOf(store, 'new')
    await assert.rejects(store.record(step(newest, 'r')), refusedWith('staleFence'))
    await store.claim({ ...newest, runId: 'r', at: tick() })
    assert.equal((await store.record(step(newest, 'r'))).recorded, true)
  })

  given('a claim returns the run with its whole log, and is in the log itself', async (store) => {
    const old = await writerOf(store, 'old')
    await store.createRun(runOf(old, 'r'))
    await store.record(step(old, 'r', { entries: [entry(2, 'done', { output: { n: 1 } })] }))
    const newest = await writerOf(store, 'new')
    const { run, log } = await store.claim({ ...newest, runId: 'r', at: tick() })
    assert.deepEqual([run.owner, run.fence], ['new', newest.fence])
    assert.deepEqual(
      log.map(({ seq, event, step: at }) => [seq, event, at]),
      [
        [1, 'started', 'a'],
        [2, 'done', 'a'],
        [3, 'adopted', 'a'],
      ],
    )
    assert.deepEqual(log[1]?.output, { n: 1 })
    assert.deepEqual(await store.history({ runId: 'r' }), log)
    await assert.rejects(store.claim({ ...newest, runId: 'none', at: tick() }), refusedWith('notFound'))
  })
}

function creating(given: Given): void {
  given('a run comes back as it was created', async (store) => {
    const writer = await writerOf(store)
    const params = runOf(writer, 'r')
    await store.createRun(params)
    assert.deepEqual(await store.get('r'), {
      id: 'r',
      kind: 'volume.migrate',
      version: 1,
      steps: ['a', 'b'],
      keys: ['volume/r'],
      input: params.input,
      parentId: null,
      ...running,
      control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null, revision: 0 },
      progress: null,
      ...writer,
      createdAt: params.at,
      updatedAt: params.at,
      endedAt: null,
    })
    assert.deepEqual(await store.history({ runId: 'r' }), params.entries)
    await assert.rejects(store.createRun(runOf(writer, 'r', { keys: [] })), refusedWith('conflict'))
  })

  given(
    'the parts of a run are listed by it, and runs that are no part of another without it',
    async (store) => {
      const writer = await writerOf(store)
      await store.createRun(runOf(writer, 'whole'))
      await store.createRun(runOf(writer, 'part', { parentId: 'whole' }))
      await store.createRun(runOf(writer, 'other'))
      const idsOf = async (parentId: string | null): Promise<string[]> =>
        (await store.list({ parentId, limit: 10 })).runs.map(({ id }) => id)
      assert.deepEqual(await idsOf('whole'), ['part'])
      assert.deepEqual((await idsOf(null)).toSorted(), ['other', 'whole'])
      assert.equal((await store.get('part'))?.parentId, 'whole')
    },
  )

  given('two runs never hold the same key', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r', { keys: ['pool/1', 'volume/1'] }))
    assert.deepEqual(await store.holderOf('volume/1'), {
      key: 'volume/1',
      runId: 'r',
      kind: 'volume.migrate',
    })

    await assert.rejects(
      store.createRun(runOf(writer, 's', { keys: ['free/1', 'volume/1'] })),
      (error: unknown) => {
        assert.ok(refusedWith('conflict', /volume\/1 is in use by operation r \(volume\.migrate\)/)(error))
        assert.ok(isDomainError(error))
        assert.deepEqual(error.detail, { key: 'volume/1', runId: 'r', kind: 'volume.migrate' })
        return true
      },
    )
    assert.equal(await store.get('s'), undefined, 'a refused run leaves nothing')
    assert.equal(await store.holderOf('free/1'), undefined, 'nor a key')
  })

  given('of two that start at once, one is refused', async (store) => {
    const writer = await writerOf(store)
    const results = await Promise.allSettled(
      ['r', 's', 't'].map((id) => store.createRun(runOf(writer, id, { keys: ['volume/1'] }))),
    )
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
  })

  given('the keys are free when the run has ended, and not before', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r', { keys: ['volume/1'] }))
    await store.record(step(writer, 'r', { view: { ...running, state: 'needs-attention' } }))
    assert.ok(await store.holderOf('volume/1'))
    const view: RunView = { state: 'failed', step: null, cancellable: false, failure: null }
    await store.record(step(writer, 'r', { view, ended: 'failed' }))
    assert.equal(await store.holderOf('volume/1'), undefined)
    await store.createRun(runOf(writer, 's', { keys: ['volume/1'] }))
    assert.deepEqual((await store.get('r'))?.keys, ['volume/1'], 'the history keeps them')
  })
}

function recording(given: Given): void {
  given('one write appends to the log and replaces what the row shows', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r'))
    const failure = { step: 'a', class: 'final', code: 'noCapacity', message: 'full' } as const
    const entries = [
      entry(2, 'failed', { failure, decision: 'unwind', attempt: 1 }),
      entry(3, 'undone', { step: null }),
    ]
    const view: RunView = { state: 'unwinding', step: 'a', cancellable: false, failure }
    const params = step(writer, 'r', { entries, view, progress: { value: { percent: 5 } } })
    await store.record(params)
    const run = await store.get('r')
    assert.deepEqual(
      [run?.state, run?.step, run?.cancellable, run?.failure, run?.progress, run?.updatedAt, run?.endedAt],
      ['unwinding', 'a', false, failure, { percent: 5 }, params.at, null],
    )
    assert.deepEqual((await store.history({ runId: 'r' })).slice(1), entries)
    assert.deepEqual(await store.history({ runId: 'r', after: 1, limit: 1 }), entries.slice(0, 1))

    await store.record(step(writer, 'r'))
    assert.deepEqual((await store.get('r'))?.progress, { percent: 5 }, 'progress stays where none is given')
    await store.setProgress({ ...writer, runId: 'r', at: tick(), value: null })
    assert.equal((await store.get('r'))?.progress, null)
  })

  given('a write that is repeated because its answer was lost changes nothing', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r'))
    const view: RunView = { state: 'succeeded', step: null, cancellable: false, failure: null }
    const params = step(writer, 'r', {
      entries: [entry(2, 'done'), entry(3, 'ended')],
      view,
      ended: 'succeeded',
    })
    await store.record(params)
    const [run, log] = [await store.get('r'), await store.history({ runId: 'r' })]
    await store.record(params)
    assert.deepEqual([await store.get('r'), await store.history({ runId: 'r' })], [run, log])
  })

  given('the point of no return is not passed after a cancel was promised', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r'))
    await store.setControls({ ...writer, runId: 'r', at: tick(), cancelRequested: true })
    const commit = step(writer, 'r', {
      entries: [entry(2, 'started', { step: 'commit' })],
      view: { ...running, cancellable: false },
      unlessCancelled: true,
    })
    const { recorded, control } = await store.record(commit)
    assert.deepEqual([recorded, control.cancelRequested], [false, true])
    assert.equal((await store.history({ runId: 'r' })).length, 1)
    assert.equal((await store.get('r'))?.cancellable, true)
    assert.equal((await store.record({ ...commit, unlessCancelled: false })).recorded, true)
  })
}

function controlling(given: Given): void {
  given('wishes are kept, each change with a higher revision', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r'))
    const wish = { ...writer, runId: 'r' }
    const rate = 3_000_000_000_000
    assert.deepEqual((await store.setControls({ ...wish, at: tick(), paused: true })).control, {
      paused: true,
      cancelRequested: false,
      rate: null,
      pace: null,
      priority: null,
      revision: 1,
    })
    await store.setControls({ ...wish, at: tick(), rate, pace: '2x', priority: 'low' })
    const run = await store.setControls({ ...wish, at: tick(), paused: false })
    assert.deepEqual(run.control, {
      paused: false,
      cancelRequested: false,
      rate,
      pace: '2x',
      priority: 'low',
      revision: 3,
    })
    assert.deepEqual(await store.get('r'), run)
    assert.deepEqual(
      (await store.record(step(writer, 'r'))).control,
      run.control,
      'a write answers with them',
    )
    const bare = await store.setControls({ ...wish, at: tick(), rate: null, pace: null })
    assert.deepEqual([bare.control.rate, bare.control.pace, bare.control.priority], [null, null, 'low'])
    await assert.rejects(store.setControls({ ...wish, runId: 'none', at: tick() }), refusedWith('notFound'))
  })

  given('a cancel is taken only while the run can be undone, and again without harm', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r'))
    const cancel = () => store.setControls({ ...writer, runId: 'r', at: tick(), cancelRequested: true })
    await store.record(step(writer, 'r', { view: { ...running, step: 'commit', cancellable: false } }))
    await assert.rejects(cancel(), refusedWith('conflict', /running at 'commit'/))
    assert.equal((await store.get('r'))?.control.cancelRequested, false)
    await store.record(step(writer, 'r'))
    assert.equal((await cancel()).state, 'cancelling')
    await store.record(step(writer, 'r', { view: { ...running, state: 'cancelling', cancellable: false } }))
    assert.equal((await cancel()).state, 'cancelling')
  })

  given('an ended run takes no wish', async (store) => {
    const writer = await writerOf(store)
    await store.createRun(runOf(writer, 'r'))
    const view: RunView = { state: 'succeeded', step: null, cancellable: false, failure: null }
    await store.record(step(writer, 'r', { view, ended: 'succeeded' }))
    for (const wish of [{ paused: true }, { cancelRequested: true as const }, { rate: 1 }]) {
      await assert.rejects(
        store.setControls({ ...writer, runId: 'r', at: tick(), ...wish }),
        refusedWith('conflict', /has ended: it is succeeded/),
      )
    }
  })
}

async function found(store: SagaStore, params: Partial<ListParams>): Promise<string[]> {
  const page = await store.list({ limit: 10, ...params })
  return page.runs.map(({ id }) => id)
}

function listing(given: Given): void {
  let ids: string[] = []
  const many = async (store: SagaStore): Promise<Writer> => {
    const writer = await writerOf(store)
    ids = ['r1', 'r2', 'r3', 'r4', 'r5']
    // The last two of the same millisecond: the id decides.
    const at = [1, 2, 3, 4, 4].map((n) => `2026-02-01T00:00:00.00${n}Z`)
    for (const [i, id] of ids.entries()) {
      const kind = i % 2 === 0 ? 'volume.migrate' : 'volume.create'
      const keys = [`volume/${id}`, `even/${i % 2}-${id}`]
      await store.createRun(runOf(writer, id, { kind, keys, at: at[i] ?? '' }))
    }
    const view: RunView = { state: 'failed', step: null, cancellable: false, failure: null }
    await store.record(step(writer, 'r2', { view, ended: 'failed', at: '2026-02-01T00:00:01.000Z' }))
    return writer
  }
  given('runs are listed newest first, by pages', async (store) => {
    await many(store)
    const pages: string[][] = []
    for (let last: string | undefined; ;) {
      const page = await store.list({ limit: 2, ...(last === undefined ? {} : { after: last }) })
      pages.push(page.runs.map(({ id }) => id))
      if (!page.more) break
      last = page.runs.at(-1)?.id
    }
    assert.deepEqual(pages, [['r5', 'r4'], ['r3', 'r2'], ['r1']])
    await assert.rejects(store.list({ limit: 1, after: 'none' }), refusedWith('notFound'))
  })

  given('runs are found by kind, state and key, also when they have ended', async (store) => {
    await many(store)
    assert.deepEqual(await found(store, { kinds: ['volume.create'] }), ['r4', 'r2'])
    assert.deepEqual(await found(store, { states: ['failed'] }), ['r2'])
    assert.deepEqual(await found(store, { states: [] }), [])
    assert.deepEqual(await found(store, { key: 'volume/r2' }), ['r2'])
    assert.deepEqual(await found(store, { key: 'volume/r2', kinds: ['volume.migrate'] }), [])
    // r2 has ended after all the others were created.
    assert.deepEqual(await found(store, { updatedSince: '2026-02-01T00:00:01.000Z' }), ['r2'])
    assert.deepEqual(await found(store, { updatedSince: '2026-02-01T00:00:01.001Z' }), [])
    assert.deepEqual(await found(store, { updatedSince: '2026-02-01T00:00:00.004Z' }), ['r5', 'r4', 'r2'])
  })

  given('what has not ended is found, oldest first', async (store) => {
    await many(store)
    assert.deepEqual(
      (await store.listUnfinished()).map(({ id }) => id),
      ['r1', 'r3', 'r4', 'r5'],
    )
  })

  given('what ended long ago can be forgotten, and nothing else', async (store) => {
    const writer = await many(store)
    const forget = (endedBefore: string) => store.deleteEnded({ ...writer, endedBefore, limit: 10 })
    assert.equal(await forget('2026-02-01T00:00:01.000Z'), 0)
    assert.equal(await forget('2026-02-01T00:00:01.001Z'), 1)
    assert.equal(await store.get('r2'), undefined)
    assert.deepEqual(await store.history({ runId: 'r2' }), [])
    assert.equal((await found(store, {})).length, 4)
  })
}
