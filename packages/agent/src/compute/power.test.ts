import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stateOf } from './power.ts'

const usual = { pausedByUser: false, fault: undefined, rebooting: false, migrating: false }

test("QEMU's run states as the server's", () => {
  assert.deepEqual(stateOf('running', usual), { state: 'running' })
  assert.deepEqual(stateOf('paused', usual), { state: 'paused' })
  assert.deepEqual(stateOf('io-error', { ...usual, fault: 'write failed' }), {
    state: 'paused-io-error',
    reason: 'write failed',
  })
  assert.equal(stateOf('io-error', usual).reason, 'its storage failed')
  assert.deepEqual(stateOf('io-error', { ...usual, pausedByUser: true }), { state: 'paused' })
  assert.deepEqual(stateOf('shutdown', usual), { state: 'stopped' })
  assert.deepEqual(stateOf('shutdown', { ...usual, rebooting: true }), { state: 'running' })
  assert.match(stateOf('postmigrate', { ...usual, migrating: true }).reason ?? '', /live migration/)
  assert.deepEqual(stateOf('postmigrate', { ...usual, pausedByUser: true }), { state: 'paused' })
  assert.match(stateOf('internal-error', usual).reason ?? '', /internal-error/)
})
