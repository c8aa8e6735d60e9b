import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LogEntry, RunRecord, RunState } from '@volant/saga'
import {
  judgeRun,
  proveUnwritten,
  reasonFor,
  undoableUntil,
  whyNotBack,
  type Move,
  type PlaceFacts,
  type ProofFacts,
} from './undo.ts'
import type { Copy, Volume } from './volume.ts'

const move: Move = {
  volumeId: 'v',
  sourceImageId: 'a',
  sourceFlexvolId: 'lma',
  targetImageId: 'b',
  targetFlexvolId: 'lmb',
  lockedFrom: null,
}

const run = (state: RunState, more: Partial<RunRecord> = {}): RunRecord => ({
  id: 'op',
  kind: 'volume.migrate',
  version: 1,
  steps: [],
  keys: [],
  input: move,
  parentId: null,
  state,
  step: null,
  cancellable: false,
  control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null, revision: 0 },
  progress: null,
  failure: null,
  owner: 'o',
  fence: 1,
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z',
  endedAt: null,
  ...more,
})

const entry = (more: Partial<LogEntry>): LogEntry => ({
  seq: 1,
  at: '2026-01-01T00:00:00.000Z',
  event: 'done',
  step: 's',
  ...more,
})

test('what undoing means, by the state of the operation', () => {
  const paused = {
    control: { paused: true, cancelRequested: false, rate: null, pace: null, priority: null, revision: 1 },
  }
  const cases: [RunRecord, LogEntry[], string, RegExp][] = [
    [run('waiting', { cancellable: true }), [], 'cancel', /point of no return/],
    [run('paused', { cancellable: true, ...paused }), [], 'cancel', /point of no return/],
    [run('needs-attention', { cancellable: true }), [], 'cancel', /point of no return/],
    [
      run('needs-attention'),
      [entry({ event: 'undo-failed', decision: 'attention' })],
      'unwind',
      /half undone/,
    ],
    [run('needs-attention'), [entry({ event: 'failed', decision: 'unwind' })], 'unwind', /half undone/],
    [run('cancelling'), [], 'refuse', /being undone already.*operations watch op/],
    [run('unwinding'), [], 'refuse', /being undone already/],
    [run('running', { step: 'cutover' }), [], 'refuse', /running at 'cutover'.*Wait for its end/],
    [run('paused', { step: 'settle', ...paused }), [], 'refuse', /Resume it first.*operations resume op/],
    [run('needs-attention', { step: 'settle' }), [], 'refuse', /Resume it first.*operations resume op/],
    [run('failed'), [], 'refuse', /nothing to undo.*it failed/],
    [run('cancelled'), [], 'refuse', /nothing to undo.*it was cancelled/],
    [run('succeeded'), [], 'bring-back', /^$/],
    [run('succeeded', { kind: 'volume.revertMigration' }), [], 'bring-back', /^$/],
    [run('succeeded', { kind: 'volume.create' }), [], 'refuse', /cinder delete v/],
    [run('succeeded', { kind: 'volume.extend' }), [], 'refuse', /cannot shrink/],
    [run('succeeded', { kind: 'volume.delete' }), [], 'refuse', /is gone/],
    [
      run('succeeded', { kind: 'server.resize', input: { serverId: 's' } }),
      [],
      'refuse',
      /nova resize-revert s/,
    ],
    [run('succeeded', { kind: 'server.stop', input: { serverId: 's' } }), [], 'refuse', /nova start s/],
    [
      run('succeeded', { kind: 'server.reboot', input: { serverId: 's' } }),
      [],
      'refuse',
      /nothing that takes it back/,
    ],
  ]
  for (const [record, log, action, reason] of cases) {
    const verdict = judgeRun(record, log)
    assert.equal(verdict.action, action, `${record.kind} ${record.state}`)
    assert.match('reason' in verdict ? verdict.reason : '', reason)
  }
})

const kept: Copy = {
  imageId: 'a',
  volumeId: 'v',
  snapshotId: null,
  flexvolId: 'lma',
  node: 'n',
  aggregate: 'g',
  sizeBytes: 4096,
  state: 'retained',
  operationId: 'op',
  reservedBytes: 0,
  retainedUntil: '2026-01-01T00:10:00.000Z',
  createdAt: '2026-01-01T00:00:00.000Z',
}
const volume = { imageId: 'b' } as Volume
const place = (more: Partial<PlaceFacts>): PlaceFacts => ({
  run: run('succeeded'),
  move,
  volume,
  kept,
  formerPool: 'h@lma#p',
  movedOnBy: undefined,
  now: new Date('2026-01-01T00:09:59.999Z'),
  ...more,
})

test('whether the volume can be brought back', () => {
  assert.equal(whyNotBack(place({})), undefined)
  const elsewhere = { imageId: 'c' } as Volume
  const cases: [Partial<PlaceFacts>, RegExp][] = [
    [{ volume: undefined }, /does not exist any more/],
    [{ volume: elsewhere }, /another image since, and not by a move/],
    [{ volume: elsewhere, movedOnBy: { id: 'x', undoes: null } }, /Undo that one first: volant undo x/],
    [{ volume: elsewhere, movedOnBy: { id: 'x', undoes: 'op' } }, /undone already, by operation x/],
    [{ formerPool: null }, /pool that the volume was in does not exist/],
    [{ now: new Date('2026-01-01T00:10:00.000Z') }, /retention time is over.*volant migrate v 'h@lma#p'/],
    [{ kept: undefined }, /retention time is over/],
    [{ kept: { ...kept, state: 'target' } }, /retention time is over/],
  ]
  for (const [more, reason] of cases) assert.match(whyNotBack(place(more)) ?? '', reason)
})

test('the time to undo is offered while it can be used', () => {
  const facts = { move, volume, kept, isHeld: false, now: new Date('2026-01-01T00:09:00.000Z') }
  assert.equal(undoableUntil(facts), kept.retainedUntil)
  assert.equal(undoableUntil({ ...facts, isHeld: true }), undefined)
  assert.equal(undoableUntil({ ...facts, volume: undefined }), undefined)
  assert.equal(undoableUntil({ ...facts, kept: undefined }), undefined)
  assert.equal(undoableUntil({ ...facts, now: new Date('2026-01-01T00:10:00.000Z') }), undefined)
})

const info = (imageId: string, changeMark: string, readOnly: boolean) => ({
  copy: { imageId, sizeBytes: 4096 },
  info: { imageId, sizeBytes: 4096, readOnly, changeMark },
})
const proven: ProofFacts = {
  log: [entry({})],
  runId: 'op',
  seal: { sourceMark: 'ma', targetMark: 'mb', volumeUpdatedAt: 't' },
  newestOnVolume: { id: 'op', kind: 'volume.migrate' },
  volume: { updatedAt: 't' },
  attachments: [],
  isAtHome: true,
  source: info('a', 'ma', true),
  target: info('b', 'mb', false),
}

test('the proof holds only as a whole, and its first gap is the reason for a migration', () => {
  assert.ok(proveUnwritten(proven).every((part) => part.ok))
  assert.match(reasonFor(proveUnwritten(proven)), /its former image has every write/)
  const gaps: [string, Partial<ProofFacts>][] = [
    ['was-detached', { seal: null }],
    ['was-detached', { seal: undefined }],
    ['nothing-by-hand', { log: [entry({ event: 'skipped' })] }],
    ['is-detached', { attachments: [{} as never] }],
    ['no-operation-since', { newestOnVolume: { id: 'x', kind: 'volume.extend' } }],
    ['record-untouched', { volume: { updatedAt: 'u' } }],
    ['record-untouched', { volume: { updatedAt: null } }],
    ['same-place', { isAtHome: false }],
    ['source-as-left', { source: 'the node is away' }],
    ['source-as-left', { source: { ...info('a', 'ma', true), info: undefined } }],
    ['source-as-left', { source: info('a', 'mx', true) }],
    ['source-as-left', { source: info('a', 'ma', false) }],
    ['source-as-left', { source: { ...info('a', 'ma', true), info: info('x', 'ma', true).info } }],
    ['source-as-left', { source: { ...info('a', 'ma', true), copy: { imageId: 'a', sizeBytes: 1 } } }],
    ['target-unwritten', { target: 'the node is away' }],
    ['target-unwritten', { target: info('b', 'mx', false) }],
    ['target-unwritten', { target: info('b', 'mb', true) }],
  ]
  for (const [name, more] of gaps) {
    const parts = proveUnwritten({ ...proven, ...more })
    const gap = parts.find((part) => !part.ok)
    assert.equal(gap?.name, name)
    assert.equal(
      reasonFor(parts),
      `Every write since has to be brought back, so the volume migrates: ${gap?.reason}`,
    )
  }
})
