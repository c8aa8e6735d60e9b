import assert from 'node:assert/strict'
import { test } from 'node:test'
import { row } from './bench-case.ts'
import { interleave, median, quantile, ratios } from './measure.ts'

test('quantiles are samples, the median may lie between two', () => {
  const samples = [5, 1, 4, 2, 3, 6, 9, 8, 7, 10]
  assert.equal(quantile(samples, 0.5), 5)
  assert.equal(quantile(samples, 0.99), 10)
  assert.equal(quantile(samples, 0), 1)
  assert.equal(median(samples), 5.5)
  assert.equal(median([3, 1, 2]), 2)
  assert.ok(Number.isNaN(median([])))
  assert.equal(median([Number.NaN, 3, Number.NaN, 1, 2]), 3)
})

test('variants take turns, and each round begins with another one', async () => {
  const order: string[] = []
  const note = (name: string) => async (round: number) => {
    order.push(`${name}${round}`)
    return round
  }
  const results = await interleave({ a: note('a'), b: note('b') }, 3)
  assert.deepEqual(order, ['a0', 'b0', 'b1', 'a1', 'a2', 'b2'])
  assert.deepEqual(results, { a: [0, 1, 2], b: [0, 1, 2] })
  assert.deepEqual(ratios([4, 9], [2, 3]), [2, 3])
})

test('a target is met on its own side only, and nonsense is no target', () => {
  const figure = { name: 'n', unit: 'ms', value: 20 }
  assert.equal(row({ ...figure, target: '<= 20' }).met, true)
  assert.equal(row({ ...figure, target: '<= 19.5' }).met, false)
  assert.equal(row({ ...figure, target: '>= 20' }).met, true)
  assert.equal(row({ ...figure, target: '>= 21' }).met, false)
  assert.deepEqual([row(figure).target, row(figure).met], [null, null])
  assert.throws(() => row({ ...figure, target: 'fast' }), /no target/)
})
