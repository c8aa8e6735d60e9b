import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Executor } from './executor.ts'
import { bind } from './operation.ts'
import { hurriedPolicy } from './testing/every-step.ts'
import { bench, flow } from './testing/flow.ts'

/** Leaves two runs behind: one in its copy, one in its commit. */
async function leaveTwo() {
  const given = bench()
  given.ports.script['copy'] = ({ input }) => (input.id === 'copying' ? new Promise(() => {}) : undefined)
  given.ports.script['switch'] = () => new Promise(() => {})
  const first = await given.engine()
  const copying = await first.start(flow, { id: 'copying' })
  const switching = await first.start(flow, { id: 'switching' })
  await given.called('copy')
  await given.called('switch')
  first.abandon()
  given.ports.calls.length = 0
  delete given.ports.script['copy']
  delete given.ports.script['switch']
  const second = new Executor({
    store: given.store,
    owner: 'second',
    operations: [bind(flow, given.ports)],
    policy: hurriedPolicy,
  })
  return { given, second, copying: copying.id, switching: switching.id }
}

test('a start lets runs wait until it listens, but none for which a client may be held', async () => {
  const { given, second, copying, switching } = await leaveTwo()
  const listening = Promise.withResolvers<void>()
  assert.deepEqual(await second.begin(listening.promise), { adopted: 2 })
  assert.equal((await second.ended(switching)).state, 'succeeded')
  assert.ok(!given.ports.calls.includes('copy'))
  assert.equal((await second.get(copying)).step, 'copy', 'it is shown meanwhile')
  await second.pause(copying)
  await second.resume(copying)
  listening.resolve()
  assert.equal((await second.ended(copying)).state, 'succeeded')
  await second.stop()
})

test('what waits is left as it is where the start ends before, and a cancel that came meanwhile holds', async () => {
  const { given, second, copying } = await leaveTwo()
  const never = Promise.withResolvers<void>()
  await second.begin(never.promise)
  await second.cancel(copying)
  await second.stop()
  never.resolve()
  await sleep(5)
  assert.ok(!given.ports.calls.includes('-copy'))
  const third = await given.engine()
  assert.equal((await third.ended(copying)).state, 'cancelled')
  await third.stop()
})
