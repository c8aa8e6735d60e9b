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
