import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RunRecord } from '@volant/saga'
import type { FlexVolMoveProgress } from './flexvol-move.ts'
import { operationView } from './operation-view.ts'

const progress: FlexVolMoveProgress = {
  phase: 'cutover_pending',
  doneBytes: 92,
  totalBytes: 100,
  rateBps: 0,
  etaSeconds: null,
  images: { total: 2, moved: 1, copying: 0, inSync: 1, queued: 0, failed: 0 },
  longestPauseMs: null,
  issues: [],
} as unknown as FlexVolMoveProgress

const runOf = (kind: string, input: object, more: Partial<RunRecord> = {}): RunRecord =>
  ({
    id: 'run',
    kind,
    input,
    state: 'waiting',
    step: 'moved',
    parentId: null,
    progress,
    control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null },
    failure: null,
    createdAt: '2026-11-22T10:00:00.000Z',
    updatedAt: '2026-11-22T10:00:00.000Z',
    endedAt: null,
    ...more,
  }) as unknown as RunRecord

const commandsOf = (run: RunRecord): string[] =>
  operationView(
    run,
    [],
    { resourceName: 'docs', source: null, target: null, parts: 1, undoUntil: null, pace: '2x' },
    { wishes: ['cancel'], skip: null },
  ).commands

test('what waits for its cutovers to be let through says first who lets them through', () => {
  const migration = { shareId: 's1', flexvolId: 'f1' }
  const general = ['volant operations watch run', 'volant operations cancel run']
  assert.deepEqual(commandsOf(runOf('share.migrate', migration)), [
    'manila migration-complete s1',
    ...general,
  ])
  assert.deepEqual(commandsOf(runOf('flexvol.move', { flexvolId: 'f1' })), [
    'volant move cutover f1',
    ...general,
  ])
  const copying = { progress: { ...progress, phase: 'replicating' } as FlexVolMoveProgress }
  assert.deepEqual(commandsOf(runOf('share.migrate', migration, copying)), general)
  const ended = { state: 'succeeded' as const, endedAt: '2026-11-22T10:01:00.000Z' }
  assert.deepEqual(commandsOf(runOf('share.migrate', migration, ended)), [])
})

test('a live migration tells how much memory is there, and at its end for how long the guest stood still', () => {
  const memory = {
    phase: 'copying',
    doneBytes: 620,
    totalBytes: 1000,
    leftBytes: 380,
    rateBps: 100,
    etaSeconds: 4,
    dirtyBps: 5,
    downtimeLimitMs: 50,
    throttlePercent: 0,
  }
  const names = {
    resourceName: 'web-1',
    source: 'compute-1',
    target: 'compute-2',
    parts: 0,
    undoUntil: null,
    pace: '2x',
  }
  const show = (more: object, log: object[] = []) =>
    operationView(
      runOf('server.live-migrate', { serverId: 's' }, { progress: memory, step: 'copied', ...more } as never),
      log as never,
      names,
      { wishes: ['cancel'], skip: null },
    )
  const copying = show({})
  assert.deepEqual([copying.phase, copying.resource.id], ['copying', 's'])
  assert.deepEqual([copying.progress.percent, copying.progress.dirty_bytes], [62, 380])
  assert.equal(show({ step: 'switchover', state: 'running' }).phase, 'switchover')
  const log = [{ event: 'done', step: 'switchover', output: { pauseMs: 41.238 } }]
  const ended = show({ state: 'succeeded', step: null, endedAt: '2026-11-22T10:00:10.000Z' }, log)
  assert.deepEqual(
    [ended.client_pause_ms, ended.progress.done_bytes, ended.progress.percent],
    [41.24, 1000, 100],
  )
})
