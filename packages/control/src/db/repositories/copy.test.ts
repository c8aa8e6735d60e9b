import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeVolume, openWorld } from '../../testing/world.ts'

const at = (second: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString()

async function keptCopy() {
  const world = await openWorld()
  const { imageId } = await makeVolume(world, world.lma, { attached: false })
  const { copies } = world.records
  await copies.update(imageId as string, {
    state: 'retained',
    operationId: 'migration',
    retainedUntil: at(10),
  })
  return { world, copies, imageId: imageId as string }
}

test('a kept copy is taken back while its time runs, given up afterwards, and never both', async (t) => {
  const { world, copies, imageId } = await keptCopy()
  t.after(() => world.db.destroy())
  assert.equal(await copies.giveUp(imageId, at(9)), false, 'its time is not over')
  assert.equal(await copies.takeBack(imageId, 'undo', at(10)), false, 'its time is over')
  assert.equal((await copies.get(imageId)).state, 'retained')

  assert.equal(await copies.takeBack(imageId, 'undo', at(9)), true)
  assert.equal(await copies.takeBack(imageId, 'undo', at(11)), true, 'repeated')
  assert.equal(await copies.takeBack(imageId, 'another', at(9)), false)
  assert.equal(await copies.giveUp(imageId, at(11)), false, 'it is being taken back')
  assert.deepEqual(await copies.retiredBefore(at(11)), [])

  await copies.keepAgain(imageId, 'another')
  assert.equal((await copies.get(imageId)).state, 'target', 'not its own')
  await copies.keepAgain(imageId, 'undo')
  const kept = await copies.get(imageId)
  assert.deepEqual([kept.state, kept.retainedUntil], ['retained', at(10)])
})

test('what was given up is never taken back, also by a clock that was set back', async (t) => {
  const { world, copies, imageId } = await keptCopy()
  t.after(() => world.db.destroy())
  assert.equal(await copies.giveUp(imageId, at(10)), true)
  assert.equal(await copies.giveUp(imageId, at(10)), true, 'repeated')
  assert.equal(await copies.takeBack(imageId, 'undo', at(0)), false)
  assert.equal((await copies.retiredBefore(at(10))).length, 1, 'and its image still goes')
})

test('a volume that somebody has changed since is not claimed', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { volumes } = world.records
  const { id } = await makeVolume(world, world.lma, { attached: false })
  await volumes.update(id, { migrationStatus: 'success', updatedAt: at(1) })
  const claim = (updatedAt: string) =>
    volumes.updateIf(id, { status: ['available'], updatedAt }, { migrationStatus: 'starting' })
  assert.equal(await claim(at(2)), false)
  assert.equal((await volumes.get(id)).migrationStatus, 'success')
  assert.equal(await claim(at(1)), true)
  assert.equal(await claim(at(1)), false, 'the claim itself is a change')
})
