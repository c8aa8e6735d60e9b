import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RunRecord } from '@volant/saga'
import { jobRecord } from './job.ts'

const job = (fields: Partial<RunRecord>): unknown =>
  jobRecord({ name: 'c' }, {
    id: 'i',
    kind: 'flexvol.move',
    state: 'waiting',
    step: 'imagesMoved',
    keys: [],
    input: { flexvolId: 'f' },
    progress: null,
    failure: null,
    createdAt: '',
    endedAt: null,
    ...fields,
  } as unknown as RunRecord)['message']

test('the message of a job is a sentence, and no name of a step', () => {
  assert.equal(job({}), 'It is under way.')
  const images = { total: 5, moved: 1 }
  assert.equal(job({ progress: { phase: 'replicating', images } }), '1 of 5 images has moved.')
  assert.equal(job({ progress: { phase: 'queued', images } }), 'It has not begun yet.')
  assert.equal(job({ state: 'unwinding' }), 'It was given up, and what it did is being undone.')
  assert.equal(job({ state: 'cancelled' }), 'It was cancelled, and what it did was undone.')
  assert.equal(job({ state: 'succeeded' }), 'It is done.')
})
