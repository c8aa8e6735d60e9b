import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePace, parsePriority, paceText } from './pace.ts'

test('a pace is a multiple, a bound, a rate or full, and is written as it was read', () => {
  const mib = 1024 * 1024
  const cases = [
    ['2x', { kind: 'times', times: 2 }, '2x'],
    ['1.5X', { kind: 'times', times: 1.5 }, '1.5x'],
    ['5ms', { kind: 'ms', ms: 5 }, '5ms'],
    ['50M', { kind: 'rate', bps: 50 * mib }, '50M'],
    ['50MiB/s', { kind: 'rate', bps: 50 * mib }, '50M'],
    ['1048576', { kind: 'rate', bps: mib }, '1M'],
    ['1500', { kind: 'rate', bps: 1500 }, '1500'],
    [' full ', { kind: 'full' }, 'full'],
  ] as const
  for (const [text, pace, written] of cases) {
    assert.deepEqual(parsePace(text), pace, text)
    assert.equal(paceText(parsePace(text)), written)
  }
})

test('what is no pace is refused, and the refusal says what would be right', () => {
  for (const text of ['', '2', 'x', '1x', '0ms', '5s', 'fast', '-3M', '1e9', '99999T', '2xx', '0']) {
    if (text === '2') continue // two bytes a second: slow, and a rate
    assert.throws(() => parsePace(text), /is not understood: .*(2x, 5ms, 50M or full|from )/, text)
  }
})

test('priorities are three', () => {
  assert.equal(parsePriority('high'), 'high')
  assert.throws(() => parsePriority('urgent'), /There are: high, normal, low/)
})
