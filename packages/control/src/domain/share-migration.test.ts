import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FlexVolMoveProgress } from './flexvol-move.ts'
import { percentCopied, taskStateOf } from './share-migration.ts'

const progress = (
  doneBytes: number,
  images: Partial<FlexVolMoveProgress['images']> = {},
  phase: FlexVolMoveProgress['phase'] = 'replicating',
): FlexVolMoveProgress => ({
  phase,
  doneBytes,
  totalBytes: 1000,
  rateBps: 0,
  leftBytes: 1000 - doneBytes,
  etaSeconds: null,
  images: { total: 3, moved: 0, copying: 1, inSync: 0, queued: 2, failed: 0, ...images },
  longestPauseMs: null,
  issues: [],
})

test('100 % is said only where every image has moved or is in sync', () => {
  assert.equal(percentCopied(progress(0)), 0)
  assert.equal(percentCopied(progress(505)), 50)
  assert.equal(percentCopied(progress(1000)), 99, 'its bytes are there, and it is not in sync')
  assert.equal(percentCopied(progress(1000, { moved: 2 })), 99)
  assert.equal(percentCopied(progress(900, { moved: 2, inSync: 1 })), 100)
  assert.equal(percentCopied({ ...progress(0), totalBytes: 0 }), 0, 'nothing is known yet')
  assert.equal(percentCopied({ ...progress(0, { total: 0 }), totalBytes: 0 }), 0)
})

test('the task state is what the move shows, and completing as soon as it need not wait any more', () => {
  const held = { cutover: 'held' } as const
  assert.equal(taskStateOf(undefined, null), 'migration_driver_starting')
  assert.equal(taskStateOf(held, progress(0, {}, 'queued')), 'migration_driver_starting')
  assert.equal(taskStateOf(held, progress(10)), 'migration_driver_in_progress')
  assert.equal(taskStateOf(held, progress(10, {}, 'paused')), 'migration_driver_in_progress')
  assert.equal(taskStateOf(held, progress(1000, {}, 'cutover_pending')), 'migration_driver_phase1_done')
  assert.equal(taskStateOf({ cutover: 'triggered' }, progress(10)), 'migration_completing')
})
