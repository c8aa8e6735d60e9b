/** `os-resetState` on a server with an operation under way: that is cancelled and undone, not forgotten. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { openComputeRig, type ComputeRig } from './compute-rig.ts'

let rig: ComputeRig
beforeEach(async () => {
  rig = await openComputeRig({ hosts: ['compute-1'] })
})
afterEach(() => rig.stop())

const show = async (id: string) => (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).body.server
const reset = (id: string, state: 'active' | 'error') =>
  rig.call('POST', `/servers/${id}/action`, { as: 'admin', body: { 'os-resetState': { state } } })

/** Holds the calls of an agent's method until the gate opens; resolves when the first has come. */
function hold(method: string) {
  const gate = Promise.withResolvers<void>()
  const come = Promise.withResolvers<void>()
  rig.faults.before = async (call) => {
    if (call !== method) return
    come.resolve()
    await gate.promise
  }
  return { open: gate.resolve, come: come.promise }
}

test('a start that hangs is cancelled and undone; then the state is set', async () => {
  const id = await rig.boot()
  await rig.call('POST', `/servers/${id}/action`, { body: { 'os-stop': null } })
  await rig.settle(id, 'SHUTOFF')
  const held = hold('ensureGuest')
  await rig.call('POST', `/servers/${id}/action`, { body: { 'os-start': null } })
  await held.come
  const answer = reset(id, 'error')
  await rig.untilCancelling()
  assert.equal((await show(id))['OS-EXT-STS:task_state'], 'powering-on', 'the row is not edited meanwhile')
  held.open()
  assert.equal((await answer).status, 202)
  const after = await show(id)
  assert.deepEqual([after.status, after['OS-EXT-STS:task_state']], ['ERROR', null])
  const guest = await rig.hosts.get('compute-1')?.guestStatus(id)
  assert.equal(guest?.state, 'stopped', 'what the start had begun is undone')
})

test('a stop that has begun to end the guest is past its point of no return: refused', async () => {
  const id = await rig.boot()
  const held = hold('ensureGuestStopped')
  await rig.call('POST', `/servers/${id}/action`, { body: { 'os-stop': null } })
  await held.come
  const answer = await reset(id, 'active')
  assert.equal(answer.status, 409)
  assert.match(answer.body.conflictingRequest.message, /server\.stop\) is running at 'stopGuest'/)
  assert.equal((await show(id))['OS-EXT-STS:task_state'], 'powering-off')
  held.open()
  await rig.settle(id, 'SHUTOFF')
})

test('a server on which nothing works gets the state that was asked for', async () => {
  const id = await rig.boot()
  assert.equal((await reset(id, 'error')).status, 202)
  assert.equal((await show(id)).status, 'ERROR')
  assert.equal((await reset(id, 'active')).status, 202)
  assert.equal((await show(id)).status, 'ACTIVE')
})
