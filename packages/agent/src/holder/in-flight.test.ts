import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requireInFlight } from './in-flight.ts'

test('what a copy has in flight is whole blocks within bounds, or left to the agent', () => {
  assert.deepEqual(requireInFlight({}), {})
  for (const inFlightBytes of [64 * 1024, 1024 * 1024, 64 * 1024 * 1024]) {
    assert.deepEqual(requireInFlight({ inFlightBytes }), { inFlightBytes })
  }
  for (const inFlightBytes of [0, 4096, 64 * 1024 + 1, 65 * 1024 * 1024, Number.NaN]) {
    assert.throws(() => requireInFlight({ inFlightBytes }), { code: 'invalid' })
  }
})
