import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askedWhile } from './asked-once.ts'

test('what is true for a while is asked for again when that has changed, or when the question failed', async () => {
  let [state, asked, fails] = ['a', 0, false]
  const answer = askedWhile(
    () => state,
    async () => {
      asked += 1
      if (fails) throw new Error('no answer')
      return `${state}${asked}`
    },
  )
  assert.deepEqual(await Promise.all([answer(), answer()]), ['a1', 'a1'])
  state = 'b'
  assert.deepEqual([await answer(), await answer()], ['b2', 'b2'])
  state = 'a'
  fails = true
  await assert.rejects(answer(), /no answer/)
  fails = false
  assert.equal(await answer(), 'a4')
})

test('what changes while it is asked for is seen the next time', async () => {
  let state = 'before'
  const answer = askedWhile(
    () => state,
    async () => {
      const seen = state
      state = 'after'
      return seen
    },
  )
  assert.deepEqual([await answer(), await answer()], ['before', 'after'])
})
