import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { makeVolume, openWorld } from '../testing/world.ts'
import { retireSources } from './retention.ts'

test('a copy that an undo took back after it was listed is not retired, though nobody holds the volume any more', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { copies } = world.records
  const { imageId } = await makeVolume(world, world.lma, { attached: false })
  const id = imageId as string
  await copies.update(id, { state: 'retained', retainedUntil: '2026-01-01T00:00:10.000Z' })
  let now = '2026-01-01T00:00:10.000Z'
  const retire = () =>
    retireSources({
      copies,
      flexvols: world.records.flexvols,
      backend: world.backend,
      // The undo runs from its beginning to its end before the volume is looked at.
      engine: {
        holderOf: async () => {
          await copies.takeBack(id, 'undo', '2026-01-01T00:00:09.000Z')
          return undefined
        },
      },
      caller: { fence: 0 },
      clock: { now: () => new Date(now) },
      log: pino({ level: 'silent' }),
    })
  assert.equal(await retire(), 0)
  assert.ok(world.nodes.get('lma-01')?.images.has(id), 'the truth is there')

  await copies.keepAgain(id, 'undo')
  now = '2026-01-01T00:00:11.000Z'
  await copies.giveUp(id, now)
  assert.equal(await retire(), 1, 'and what was given up goes')
})

test('the last image that is kept on an aggregate takes the folder of a FlexVol along that has left it', async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const { copies, flexvols } = world.records
  const there = { node: 'lma-01', aggregate: 'aggr2' }
  const folder = () => world.nodes.get('lma-01')?.flexvols.has(`aggr1/${world.lma.name}`)
  const ids: string[] = []
  for (let i = 0; i < 2; i++) {
    ids.push((await makeVolume(world, world.lma, { attached: false })).imageId as string)
  }
  const retire = (heldBy?: { id: string; kind: string }) =>
    retireSources({
      copies,
      flexvols,
      backend: world.backend,
      engine: { holderOf: async (key) => (key.startsWith('flexvol/') ? heldBy : undefined) },
      caller: { fence: 0 },
      clock: { now: () => new Date('2026-01-01T00:00:11.000Z') },
      log: pino({ level: 'silent' }),
    })
  const keep = (id: string) =>
    copies.update(id, { state: 'retained', retainedUntil: '2026-01-01T00:00:10.000Z' })
  await keep(ids[0] as string)
  await flexvols.update(world.lma.id, { destination: there })
  assert.equal(await flexvols.arrive(world.lma.id, there), false, 'an image is still here')
  await keep(ids[1] as string)
  await copies.update(ids[1] as string, { retainedUntil: '2026-01-01T00:00:20.000Z' })
  assert.equal(await flexvols.arrive(world.lma.id, there), true)

  assert.equal(await retire(), 1)
  assert.equal(folder(), true, 'another one is kept there')
  await keep(ids[1] as string)
  assert.equal(await retire(), 1)
  assert.equal(folder(), false)
})
