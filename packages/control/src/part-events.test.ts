import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { bind, Executor, MemoryStore, operation } from '@volant/saga'
import { hasLeft, liveMigrateServer } from './operations/live-migrate-server.ts'
import { wakeByParts } from './part-events.ts'

interface Scene {
  looks: number
  retiring: PromiseWithResolvers<void>
}

const whole = operation<Record<string, never>, Scene>('host.drain', { version: 1 })
  .holds(() => ['host/h'])
  .wait('emptied', {
    every: '1h',
    timeout: '10h',
    until: ({ ports }) => ({ done: ++ports.looks === 3 }),
  })

const part = operation<Record<string, never>, Scene>('server.live-migrate', { version: 1 })
  .holds(() => ['server/s'])
  .step('reserve', { do: async () => null, undo: async () => {} })
  .commit('switchover', { do: async () => null, happened: async () => true })
  .step('retireSource', { do: async ({ ports }) => ports.retiring.promise })
  .step('recordDone', { do: async () => null })

test('a drain looks when a server has left, and when its part has ended, not before it is time', async (t) => {
  const scene: Scene = { looks: 0, retiring: Promise.withResolvers() }
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'one',
    operations: [bind(whole, scene), bind(part, scene)],
  })
  t.after(() => executor.stop())
  wakeByParts(executor)
  await executor.begin()
  const looked = (times: number) => until(`${times} looks`, () => scene.looks >= times)
  const { id } = await executor.start(whole, {})
  await looked(1)
  await executor.start(part, {}, { parent: id })
  await looked(2)
  scene.retiring.resolve()
  await looked(3)
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('a server has left when its guest goes on: in all steps of a live migration after that, and in none before', () => {
  const { kind, nodes } = liveMigrateServer
  const steps = nodes.map(({ name }) => name)
  const left = steps.filter((step) => hasLeft({ kind, step }))
  assert.notEqual(left.length, 0)
  assert.deepEqual(left, steps.slice(steps.indexOf('goOn') + 1))
})
