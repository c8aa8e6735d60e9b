import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CutoverTurns } from './cutover-turns.ts'

test('one at a time on each machine, and nobody for ever', () => {
  const turns = new CutoverTurns()
  assert.equal(turns.take('m', 'a', 0), true)
  assert.equal(turns.take('m', 'a', 10), true, 'again')
  assert.equal(turns.isFree('m', 'b', 10), false)
  assert.equal(turns.take('m', 'b', 10), false)
  assert.equal(turns.take('other', 'b', 10), true, 'another machine')
  turns.release('m', 'b')
  assert.equal(turns.isFree('m', 'b', 10), false, 'it was not its own')
  turns.release('m', 'a')
  assert.equal(turns.take('m', 'b', 20), true)
  assert.equal(turns.take('m', 'c', 2019), false)
  assert.equal(turns.take('m', 'c', 2020), true, 'its time is over')
})
