/** A storage node that is gone for good must not keep a volume that no longer needs it, or never did. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { makeVolume, migrationInput, openWorld } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { migrateVolume } from './migrate-volume.ts'

const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }

async function open(t: TestContext) {
  const world = await openWorld(apart)
  const volume = await makeVolume(world, world.lma, { attached: true })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  assert.ok(attachment)
  await ensureHead(world.ports, { fence: 0 }, attachment)
  const store = new MemoryStore()
  const few = { attempts: 2, backoff: 1 }
  const executor = new Executor({
    store,
    owner: 'test',
    operations: [bind(migrateVolume, world.ports)],
    policy: { longestBackoff: '1ms', longestCheckInterval: '5ms', undo: few, afterCommit: few },
  })
  await executor.begin()
  t.after(async () => {
    await executor.stop()
    await world.db.destroy()
  })
  const input = migrationInput(world, volume)
  /** From now on the node answers nothing. */
  const end = (node: string): void => {
    const agent = world.agents.storage(node)
    const gone = () => Promise.reject(new DomainError('unavailable', `node ${node} does not answer`))
    const methods = [
      'ensureNoExport',
      'ensureExport',
      'ensureNoImage',
      'ensureImageReadOnly',
      'imageInfo',
    ] as const
    for (const method of methods) t.mock.method(agent, method, gone)
  }
  /** Leaves out what may be left out, to the end. */
  const skipToTheEnd = async (id: string) => {
    let run = await executor.ended(id)
    for (let n = 0; n < 5 && run.state === 'needs-attention'; n++) {
      await executor.skip(id)
      run = await executor.ended(id)
    }
    assert.equal(await store.holderOf(`volume/${volume.id}`), undefined, 'the volume is free')
    return run
  }
  const head = () => world.holders.get('compute')?.holders.get(attachment.id)
  return { world, volume, executor, input, end, skipToTheEnd, head }
}

test('the node of the source is gone for good after the commit: its step can be left out, and the volume is free', async (t) => {
  const { world, volume, executor, input, end, skipToTheEnd, head } = await open(t)
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'cutover') return
    stop()
    end('lma-01')
  })
  const { id } = await executor.start(migrateVolume, input)
  const run = await skipToTheEnd(id)
  assert.equal(run.state, 'succeeded')
  assert.equal((await world.records.volumes.get(volume.id)).imageId, input.targetImageId)
  assert.equal(head()?.image?.imageId, input.targetImageId)
})

test('the node of the target is gone for good while it copies: the rest can be left out, and the volume is free', async (t) => {
  const { world, volume, executor, input, end, skipToTheEnd, head } = await open(t)
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync') return
    stop()
    world.holders
      .get('compute')
      ?.setMirror(head()?.spec.holderId as string, { phase: 'copying', doneBytes: 1 })
    end('lmb-01')
    void executor.cancel(event.run.id)
  })
  const { id } = await executor.start(migrateVolume, input)
  const run = await skipToTheEnd(id)
  assert.equal(run.state, 'cancelled')
  const now = await world.records.volumes.get(volume.id)
  assert.deepEqual([now.imageId, now.migrationStatus], [input.sourceImageId, null])
  assert.equal(head()?.mirror, undefined)
  assert.deepEqual(
    (await world.records.copies.ofVolume(volume.id)).map(({ state }) => state),
    ['live'],
  )
})
