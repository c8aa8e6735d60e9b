import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { makeVolume, openWorld } from '../testing/world.ts'
import { exportIdOf } from './aggregates.ts'

const caller = { fence: 1 }

/** A volume on node lma-01, which is machine m1; compute-1 is machine m3. */
async function open(t: TestContext) {
  const world = await openWorld({ lma: 'm1', lmb: 'm2', compute: 'm3' })
  t.after(() => world.db.destroy())
  const volume = await makeVolume(world, world.lma, { attached: false })
  const copy = await world.records.copies.get(volume.imageId ?? '')
  return { backend: world.backend, copy, volume }
}

test('what waits for a fence becomes what the holder opens, at the same place', async (t) => {
  const { backend, copy } = await open(t)
  assert.equal(await backend.standBy(caller, copy, 'm1', 'a'), null, 'a file of the same machine')
  const first = await backend.openFor(caller, copy, 'm3', 'a')
  const place = await backend.standBy(caller, copy, 'm4', 'b')
  assert.ok(place)
  assert.deepEqual(await backend.standBy(caller, copy, 'm4', 'b'), place)
  await assert.rejects(backend.openFor(caller, copy, 'm4', 'b'), { code: 'conflict' }, 'not before the fence')
  assert.equal(await backend.revoke(caller, copy, 'm3', 'a'), true)
  const access = await backend.openFor(caller, copy, 'm4', 'b')
  assert.ok(access.kind === 'nbd' && first.kind === 'nbd')
  assert.deepEqual(access, place)
  assert.notEqual(access.exportName, first.exportName)
  await assert.rejects(backend.standBy(caller, copy, 'm4', 'b'), { code: 'conflict' })
})

test('all that leads a machine to a copy is told and taken away, whatever head it was for; other machines keep theirs', async (t) => {
  const { backend, copy } = await open(t)
  await backend.openFor(caller, copy, 'm3', 'a')
  await backend.standBy(caller, copy, 'm3', 'b')
  await backend.standBy(caller, copy, 'm4', 'c')
  const ids = ['a', 'b'].map((holderId) => exportIdOf(copy, holderId))
  assert.deepEqual((await backend.exportsTo(copy, 'm3')).toSorted(), ids)
  await backend.revokeAllTo(caller, copy, 'm3')
  assert.deepEqual(await backend.exportsTo(copy, 'm3'), [])
  assert.deepEqual(await backend.exportsTo(copy, 'm4'), [exportIdOf(copy, 'c')])
})
