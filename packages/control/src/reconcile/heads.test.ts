import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import pino from 'pino'
import { makeVolume, openWorld } from '../testing/world.ts'
import { restoreHeads, type RestoreHeadsPorts } from './heads.ts'

const caller = { fence: 1 }
const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }

async function open(t: TestContext) {
  const world = await openWorld(apart)
  t.after(() => world.db.destroy())
  const volume = await makeVolume(world, world.lma, { attached: true })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  assert.ok(attachment)
  const busy = new Set<string>()
  const ports: RestoreHeadsPorts = {
    ...world.ports,
    log: pino({ level: 'silent' }),
    engine: {
      holderOf: (key) => Promise.resolve(busy.has(key) ? { id: 'op', kind: 'some.operation' } : undefined),
    },
  }
  const heads = () => [...world.agents.holders('compute').holders.keys()]
  const exports = () => [...world.agents.storage('lma-01').exports.keys()]
  return { world, volume, attachment, ports, busy, heads, exports }
}

test('a head that is away is started, on the truth and without a limit', async (t) => {
  const { world, attachment, ports, heads } = await open(t)
  assert.deepEqual(await restoreHeads(ports, caller), { restored: 1, failed: 0 })
  assert.deepEqual(heads(), [attachment.id])
  await world.agents.holders('compute').ensureLimits(caller, attachment.id, { bpsTotal: 1 })
  await restoreHeads(ports, caller)
  assert.deepEqual(world.agents.holders('compute').holders.get(attachment.id)?.spec.limits, {})
})

test('one whose storage does not answer is tried again at the next pass', async (t) => {
  const { world, attachment, ports, heads } = await open(t)
  world.agents.storage('lma-01').failNext('ensureExport', new DomainError('unavailable', 'down'))
  assert.deepEqual(await restoreHeads(ports, caller), { restored: 0, failed: 1 })
  assert.deepEqual(await restoreHeads(ports, caller), { restored: 1, failed: 0 })
  assert.deepEqual(heads(), [attachment.id])
})

test('what an operation works on, by volume or by server, is left to it', async (t) => {
  const { volume, ports, busy, heads, exports } = await open(t)
  for (const key of [`volume/${volume.id}`, 'server/server-1', 'server-delete/server-1']) {
    busy.clear()
    busy.add(key)
    assert.deepEqual(await restoreHeads(ports, caller), { restored: 0, failed: 0 }, key)
    assert.deepEqual([heads(), exports()], [[], []], key)
  }
})

test('no head is started for an attachment that an operation has just removed', async (t) => {
  const { world, volume, attachment, ports, heads, exports } = await open(t)
  // Recovered operations run on while the heads are restored one by one: this one ends just after the list is read.
  const withHead = ports.attachments.withHead
  ports.attachments = {
    ...ports.attachments,
    withHead: async () => {
      const listed = await withHead()
      await world.records.attachments.remove(attachment.id)
      return listed
    },
  }
  await restoreHeads(ports, caller)
  assert.deepEqual([heads(), exports()], [[], []], `nothing holds the image of volume ${volume.id} open`)
})

test('a head whose attachment goes while it is started is ended again', async (t) => {
  const { world, attachment, ports, heads, exports } = await open(t)
  const agent = world.agents.holders('compute')
  const { ensureHolder } = agent
  agent.ensureHolder = async (...args) => {
    await world.records.attachments.remove(attachment.id)
    return ensureHolder(...args)
  }
  await restoreHeads(ports, caller)
  assert.deepEqual([heads(), exports()], [[], []])
})

test('one that does not answer holds up its own lane only; a stop ends the pass', async (t) => {
  const { world, attachment, ports, heads } = await open(t)
  const other = await makeVolume(world, world.lma, { attached: true })
  const [second] = await world.records.attachments.ofVolume(other.id)
  const answer = Promise.withResolvers<undefined>()
  const slow: RestoreHeadsPorts = {
    ...ports,
    engine: {
      holderOf: (key) =>
        key === `volume/${attachment.volumeId}` ? answer.promise : Promise.resolve(undefined),
    },
  }
  const stopping = new AbortController()
  const pass = restoreHeads(slow, caller, stopping.signal)
  for (let i = 0; i < 1000 && heads().length === 0; i++) await new Promise((r) => setImmediate(r))
  assert.deepEqual(heads(), [second?.id])
  stopping.abort()
  answer.resolve(undefined)
  assert.deepEqual(await pass, { restored: 2, failed: 0 })
  assert.deepEqual(await restoreHeads(ports, caller, stopping.signal), { restored: 0, failed: 0 })
})
