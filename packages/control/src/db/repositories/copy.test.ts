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

test('an image whose FlexVol has moved since its place was looked up is not made there', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { copies, flexvols } = world.records
  const { imageId } = await makeVolume(world, world.lma, { attached: false })
  const live = await copies.get(imageId as string)
  const home = { node: live.node, aggregate: live.aggregate }
  const away = { node: live.node, aggregate: 'aggr2' }
  const create = async (place: typeof home): Promise<string | undefined> => {
    const one = crypto.randomUUID()
    await copies.create({ ...live, ...place, imageId: one, state: 'target' })
    return (await copies.find(one))?.imageId
  }
  await assert.rejects(create(away), { code: 'unavailable', message: /has just moved/ })
  await flexvols.update(world.lma.id, { destination: away })
  const made = await create(away)
  assert.ok(made, 'where it moves to')
  const homes = (await copies.ofFlexVol(world.lma.id)).filter((copy) => copy.aggregate === home.aggregate)
  for (const copy of homes) await copies.update(copy.imageId, away)
  assert.equal(await flexvols.arrive(world.lma.id, away), true)

  const count = (await copies.ofFlexVol(world.lma.id)).length
  await assert.rejects(create(home), { code: 'unavailable' })
  assert.equal((await copies.ofFlexVol(world.lma.id)).length, count, 'nothing was changed')
  await copies.update(made, home)
  assert.ok(await create(home), 'beside an image that shares blocks with it')
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

test('a rehearsal of the record changes nothing, and needs no fence', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { copies } = world.records
  const { id } = await makeVolume(world, world.lma, { attached: false })
  const live = await copies.get((await world.records.volumes.get(id)).imageId as string)
  await copies.create({ ...live, imageId: crypto.randomUUID(), state: 'target' })
  const rows = async () => ({
    volumes: await world.db.selectFrom('volumes').selectAll().execute(),
    copies: await world.db.selectFrom('copies').selectAll().execute(),
    sums: await world.db.selectFrom('copy_sums').selectAll().execute(),
    fence: await world.db.selectFrom('operation_fence').selectAll().execute(),
  })
  const before = await rows()
  await copies.rehearseTruth()
  assert.deepEqual(await rows(), before)
})
