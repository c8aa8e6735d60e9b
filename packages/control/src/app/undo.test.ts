/** Every way that an undo goes or is refused. One file, over 400 lines: one world for all, and each further file costs a start. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { migrateVolume } from '../operations/migrate-volume.ts'
import { vacateAggregate } from '../operations/vacate-aggregate.ts'
import { assertVolumeClean } from '../testing/invariants.ts'
import { migrationInput } from '../testing/world.ts'
import { administrator, openUndoRig } from '../testing/undo-rig.ts'

type Rig = Awaited<ReturnType<typeof openUndoRig>>

/** The image in the operation's input by that name. */
async function imagesOf(rig: Rig, operationId: string) {
  return (await rig.executor.get(operationId)).input as { sourceImageId: string; targetImageId: string }
}

const present = async (rig: Rig) => (await rig.world.records.volumes.get(rig.volumeId)).imageId as string

/** A write that no record knows of. */
function writeTo(rig: Rig, imageId: string): void {
  for (const node of rig.world.nodes.values()) {
    const image = node.images.get(imageId)
    if (image !== undefined) image.changes += 1
  }
}

test('a volume in use migrates back, and a dry run says so and why, and changes nothing', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const before = await rig.world.records.attachments.ofVolume(rig.volumeId)
  const id = await rig.migrate('lmb')
  const plan = await rig.plan(id)
  assert.deepEqual(
    [plan.ok, plan.method, plan.source, plan.target],
    [true, 'migrate', rig.pools.lmb, rig.pools.lma],
  )
  assert.match(plan.reason, /was in use when it moved/)
  assert.equal(await rig.poolNow(), 'lmb')

  const { operationId, run } = await rig.undo(id)
  assert.deepEqual([run.kind, run.state], ['volume.migrate', 'succeeded'])
  assert.equal(await rig.poolNow(), 'lma')
  assert.deepEqual(await rig.world.records.attachments.ofVolume(rig.volumeId), before)
  const volume = await rig.world.records.volumes.get(rig.volumeId)
  assert.deepEqual([volume.status, volume.migrationStatus], ['in-use', 'success'])
  const { sourceImageId } = await imagesOf(rig, id)
  assert.notEqual(volume.imageId, sourceImageId, 'the kept source misses the writes since')

  const view = await rig.operations.show(administrator, operationId)
  assert.equal(view.undo_of?.operation, id)
  assert.match(view.undo_of?.reason ?? '', /was in use when it moved/)
})

test('a detached volume that nobody wrote to goes back at once, and again, and back again', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const id = await rig.migrate('lmb')
  const images = await imagesOf(rig, id)
  assert.equal((await rig.plan(id)).method, 'revert')
  const mirrors = () =>
    [...rig.world.holders.values()].flatMap((agent) => agent.calls.filter((c) => c === 'ensureMirror'))
  const copied = mirrors().length

  const undo = await rig.undo(id)
  assert.deepEqual([undo.run.kind, undo.run.state], ['volume.revertMigration', 'succeeded'])
  assert.equal(await present(rig), images.sourceImageId)
  await assertVolumeClean(rig.world, rig.volumeId, images, 'source')

  const redo = await rig.undo(undo.operationId)
  assert.deepEqual([redo.run.kind, redo.run.state], ['volume.revertMigration', 'succeeded'])
  assert.equal(await present(rig), images.targetImageId)
  await assertVolumeClean(rig.world, rig.volumeId, images, 'target')

  assert.equal((await rig.undo(redo.operationId)).run.kind, 'volume.revertMigration')
  assert.equal(await present(rig), images.sourceImageId)
  assert.equal(mirrors().length, copied, 'nothing was copied')
})

test('undoing the undo of a volume in use migrates it onwards again', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const undo = await rig.undo(await rig.migrate('lmb'))
  const redo = await rig.undo(undo.operationId)
  assert.deepEqual([redo.run.kind, redo.run.state], ['volume.migrate', 'succeeded'])
  assert.equal(await rig.poolNow(), 'lmb')
})

// Each of these alone must keep the kept image from becoming the truth.
const disproofs: [
  string,
  RegExp,
  (rig: Rig, images: { sourceImageId: string; targetImageId: string }) => unknown,
][] = [
  [
    'a server used it meanwhile',
    /volume\.detach\) has worked on the volume since/,
    (rig) => rig.useForAWhile(),
  ],
  [
    'its record was changed meanwhile, as by a server that was created with it and deleted',
    /record has changed since/,
    async (rig) => {
      await rig.world.records.volumes.update(rig.volumeId, { status: 'attaching' })
      await rig.world.records.volumes.update(rig.volumeId, { status: 'available' })
    },
  ],
  [
    'its file was written to, and no record knows',
    /present image's file was written to/,
    (rig, { targetImageId }) => writeTo(rig, targetImageId),
  ],
  [
    'the kept image was written to',
    /former source's file was written to/,
    (rig, { sourceImageId }) => writeTo(rig, sourceImageId),
  ],
  [
    'the kept image can be written',
    /former source is not read-only/,
    (rig, { sourceImageId }) => {
      const image = rig.world.nodes.get('lma-01')?.images.get(sourceImageId)
      assert.ok(image)
      image.readOnly = false
    },
  ],
  [
    'the kept image is gone',
    /former source is not there/,
    (rig, { sourceImageId }) => void rig.world.nodes.get('lma-01')?.images.delete(sourceImageId),
  ],
  [
    'the kept image has another size',
    /former source has 4096 bytes instead of/,
    (rig, { sourceImageId }) => {
      const image = rig.world.nodes.get('lma-01')?.images.get(sourceImageId)
      assert.ok(image)
      image.sizeBytes = 4096
    },
  ],
]

for (const [what, reason, disprove] of disproofs) {
  test(`a detached volume migrates back where ${what}`, async (t) => {
    const rig = await openUndoRig(t, { attached: false })
    const id = await rig.migrate('lmb')
    const images = await imagesOf(rig, id)
    assert.equal((await rig.plan(id)).method, 'revert')
    await disprove(rig, images)
    const plan = await rig.plan(id)
    assert.deepEqual([plan.ok, plan.method], [true, 'migrate'])
    assert.match(plan.reason, reason)
    const { run } = await rig.undo(id)
    assert.deepEqual([run.kind, run.state], ['volume.migrate', 'succeeded'])
    assert.equal(await rig.poolNow(), 'lma')
    assert.notEqual(await present(rig), images.sourceImageId)
  })
}

test('what happens between the look at the proof and the claim, and after it, does not slip through', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const id = await rig.migrate('lmb')
  const { volumes } = rig.world.records

  // Somebody uses the volume after the proof was looked at: the claim finds another row.
  const used = t.mock.method(volumes, 'updateIf', async (...args: Parameters<typeof volumes.updateIf>) => {
    used.mock.restore()
    await volumes.update(rig.volumeId, { status: 'available' })
    return volumes.updateIf(...args)
  })
  await assert.rejects(rig.undo(id), { code: 'conflict', message: /has just changed, and nothing was done/ })
  assert.equal((await volumes.find(rig.volumeId))?.migrationStatus, 'success')

  // And a write that comes after the claim is found by the operation itself.
  const again = await openUndoRig(t, { attached: false })
  const other = await again.migrate('lmb')
  const images = await imagesOf(again, other)
  const claim = t.mock.method(
    again.world.records.volumes,
    'updateIf',
    async (...args: Parameters<typeof volumes.updateIf>) => {
      claim.mock.restore()
      const done = await again.world.records.volumes.updateIf(...args)
      writeTo(again, images.targetImageId)
      return done
    },
  )
  const { run } = await again.undo(other)
  assert.equal(run.state, 'failed')
  assert.match(
    run.failure?.message ?? '',
    new RegExp(`written to.*by a migration back: volant undo ${other}`),
  )
  assert.equal(await present(again), images.targetImageId)
  const volume = await again.world.records.volumes.get(again.volumeId)
  assert.deepEqual([volume.status, volume.migrationStatus], ['available', 'error'])
  assert.equal((await again.undo(other)).run.kind, 'volume.migrate')
})

test('retention that wins at the last moment leaves the present image the truth, and nothing is stuck', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const id = await rig.migrate('lmb')
  const { sourceImageId, targetImageId } = await imagesOf(rig, id)
  const { copies } = rig.world.records
  const late = t.mock.method(copies, 'takeBack', async (...args: Parameters<typeof copies.takeBack>) => {
    late.mock.restore()
    // The image goes before its row.
    assert.equal(await copies.giveUp(sourceImageId, '9999'), true)
    rig.world.nodes.get('lma-01')?.images.delete(sourceImageId)
    return copies.takeBack(...args)
  })
  const { run } = await rig.undo(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /retention time has just ended/)
  assert.equal(await present(rig), targetImageId)
  assert.equal((await copies.get(sourceImageId)).state, 'retained', 'and retention removes the row')
  await rig.refused(id, /retention time is over/)
})

test('a claim that no operation follows is given back, and the proof still holds', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const id = await rig.migrate('lmb')
  const before = await rig.world.records.volumes.get(rig.volumeId)
  const start = t.mock.method(rig.engine, 'start', () =>
    Promise.reject(new DomainError('conflict', 'the volume is being copied')),
  )
  await assert.rejects(rig.undo(id), { code: 'conflict', message: /is being copied/ })
  start.mock.restore()
  assert.deepEqual(await rig.world.records.volumes.get(rig.volumeId), before)
  assert.equal((await rig.undo(id)).run.kind, 'volume.revertMigration')
})

test('the lock of a migration holds during its undo, and is off afterwards', async (t) => {
  for (const attached of [false, true]) {
    const rig = await openUndoRig(t, { attached })
    const id = await rig.migrate('lmb', { lockVolume: true })
    const seen = new Set<string>()
    const stop = rig.executor.onEvent((event) => {
      if (event.type === 'log')
        void rig.world.records.volumes.get(rig.volumeId).then(({ status }) => seen.add(status))
    })
    await rig.undo(id)
    stop()
    const now = await rig.world.records.volumes.get(rig.volumeId)
    assert.equal(now.status, attached ? 'in-use' : 'available')
    if (!attached) assert.ok(seen.has('maintenance'), [...seen].join())
  }
})

test('refused when the retention time is over, with the command for a migration', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const id = await rig.migrate('lmb')
  assert.ok(await rig.undos.undoableUntil(await rig.executor.get(id)))
  const real = rig.clock.now()
  rig.clock.now = () => new Date(real.getTime() + 601_000)
  assert.equal(await rig.undos.undoableUntil(await rig.executor.get(id)), null)
  await rig.refused(
    id,
    new RegExp(`retention time is over.*volant migrate ${rig.volumeId} '${rig.pools.lma}'`),
  )
  assert.deepEqual((await rig.operations.show(administrator, id)).commands, [])
})

test('refused where nothing was kept', async (t) => {
  const rig = await openUndoRig(t, { attached: false, retentionSeconds: 0 })
  await rig.refused(await rig.migrate('lmb'), /retention time is over.*volant migrate/)
})

test('refused after the volume has moved on, naming what to undo first', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const first = await rig.migrate('lmb')
  const second = await rig.migrate('lma')
  await rig.refused(first, new RegExp(`moved on since, by operation ${second}.*volant undo ${second}`))
  const undo = await rig.undo(second)
  assert.equal(await rig.poolNow(), 'lmb')
  await rig.refused(second, new RegExp(`undone already, by operation ${undo.operationId}`))
})

test('refused after the volume was deleted', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const id = await rig.migrate('lmb')
  await rig.world.records.volumes.remove(rig.volumeId)
  await rig.refused(id, /does not exist any more/)
})

test('refused while another operation works on the volume, and the command is not offered', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const id = await rig.migrate('lmb')
  assert.match(
    (await rig.operations.show(administrator, id)).commands.join(),
    /^volant undo \S+ {2}# possible until \d{4}-\S+Z$/,
  )
  const head = [...(rig.world.holders.get('compute')?.holders.keys() ?? [])][0] as string
  const stop = rig.executor.onEvent((event) => {
    if (event.type === 'run' && event.run.step === 'inSync') {
      rig.world.holders.get('compute')?.setMirror(head, { phase: 'copying', doneBytes: 1 })
    }
  })
  const undoing = await rig.undos.undo(administrator, id)
  await new Promise((resolve) => setTimeout(resolve, 30))
  await rig.refused(id, /migrating already|is working on the volume/)
  assert.deepEqual((await rig.operations.show(administrator, id)).commands, [])
  stop()
  await rig.executor.cancel(undoing.operationId)
  await rig.executor.ended(undoing.operationId)
  assert.equal((await rig.plan(id)).ok, true, 'a cancelled undo can be asked for again')
})

test('refused where the former pool is full, disabled or away', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const id = await rig.migrate('lmb')
  const node = rig.world.nodes.get('lma-01')
  const filler = { imageId: 'f', aggregate: 'aggr1', flexvol: rig.world.lma.name }
  await node?.ensureImage({ fence: 1 }, filler, 4096)
  const full = node?.images.get('f')
  const { targetImageId } = await imagesOf(rig, id)
  const image = rig.world.nodes.get('lmb-01')?.images.get(targetImageId)
  assert.ok(full && image)
  image.allocatedBytes = 2 ** 20
  full.allocatedBytes = 2 ** 40
  await rig.refused(id, /too small/, 'noCapacity')
  full.allocatedBytes = 0

  rig.disabled.add('cinder-lma')
  await rig.refused(id, /cinder-lma is disabled/)
  rig.disabled.clear()

  const { executor } = rig
  const emptying = await executor.start(vacateAggregate, {
    cluster: 'cinder-lma',
    node: 'lma-01',
    name: 'aggr1',
    whole: false,
    aggregates: ['aggr1'],
    to: null,
  })
  await rig.refused(id, new RegExp(`being emptied by operation ${emptying.id}`))
  await executor.cancel(emptying.id)
  await executor.ended(emptying.id)

  const away = () => Promise.reject(new DomainError('unavailable', 'node lma-01 does not answer'))
  const space = t.mock.method(rig.world.backend, 'spaceAt', away)
  await assert.rejects(rig.undo(id), { code: 'unavailable', message: /lma-01 does not answer/ })
  space.mock.restore()
  assert.equal((await rig.undo(id)).run.state, 'succeeded')
})

test('a disabled pool takes a volume back by no way', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const id = await rig.migrate('lmb')
  rig.disabled.add('cinder-lma')
  await rig.refused(id, /cinder-lma is disabled/)
})

test('an operation that has not passed its commit is given up', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const input = migrationInput(rig.world, await rig.world.records.volumes.get(rig.volumeId))
  const stop = rig.executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync') return
    const head = [...(rig.world.holders.get('compute')?.holders.keys() ?? [])][0] as string
    rig.world.holders.get('compute')?.setMirror(head, { phase: 'copying', doneBytes: 1 })
  })
  t.after(stop)
  const { id } = await rig.executor.start(migrateVolume, input)
  await new Promise((resolve) => setTimeout(resolve, 30))
  const plan = await rig.plan(id)
  assert.deepEqual([plan.ok, plan.method], [true, 'cancel'])
  assert.equal((await rig.executor.get(id)).state, 'waiting', 'a dry run changes nothing')
  const undo = await rig.undo(id)
  assert.equal(undo.operationId, id)
  assert.equal(undo.run.state, 'cancelled')
  await assertVolumeClean(rig.world, rig.volumeId, input, 'source')
  await rig.refused(id, /nothing to undo.*was cancelled/)
})

test('one that stopped half undone goes on being undone', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const input = migrationInput(rig.world, await rig.world.records.volumes.get(rig.volumeId))
  const node = rig.world.nodes.get('lmb-01')
  for (const holders of rig.world.holders.values()) {
    holders.failNext('ensureMirror', new DomainError('conflict', 'no mirror today'))
  }
  for (let i = 0; i < 2; i++) node?.failNext('ensureNoImage', new DomainError('unavailable', 'busy'))
  const { id } = await rig.executor.start(migrateVolume, input)
  const stuck = await rig.executor.ended(id)
  assert.equal(stuck.state, 'needs-attention')
  assert.match((await rig.plan(id)).reason, /half undone/)
  const { run } = await rig.undo(id)
  assert.equal(run.state, 'failed')
  await assertVolumeClean(rig.world, rig.volumeId, input, 'source')
})

test('one that is past its commit and has not ended is to be resumed first', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const input = migrationInput(rig.world, await rig.world.records.volumes.get(rig.volumeId))
  const node = rig.world.nodes.get('lma-01')
  for (let i = 0; i < 2; i++) node?.failNext('ensureImageReadOnly', new DomainError('unavailable', 'away'))
  const { id } = await rig.executor.start(migrateVolume, input)
  assert.equal((await rig.executor.ended(id)).state, 'needs-attention')
  await rig.refused(
    id,
    new RegExp(
      `passed its point of no return.*needs-attention at 'retireSource'.*volant operations resume ${id}`,
    ),
  )
  await rig.executor.resume(id)
  await rig.ended(id)
  assert.equal((await rig.undo(id)).run.state, 'succeeded')
})

test('a move of which a step was done by hand is not taken back by its note', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  const input = migrationInput(rig.world, await rig.world.records.volumes.get(rig.volumeId))
  const node = rig.world.nodes.get('lma-01')
  for (let i = 0; i < 2; i++) node?.failNext('ensureImageReadOnly', new DomainError('unavailable', 'away'))
  const { id } = await rig.executor.start(migrateVolume, input)
  assert.equal((await rig.executor.ended(id)).step, 'retireSource')
  await rig.executor.skip(id)
  await rig.ended(id)
  const plan = await rig.plan(id)
  assert.equal(plan.method, 'migrate')
  assert.match(plan.reason, /done by hand/)
  const { run } = await rig.undo(id)
  assert.equal(run.state, 'succeeded')
})

test('other kinds of operations are refused, with the command that takes them back', async (t) => {
  const rig = await openUndoRig(t, { attached: false })
  await rig.useForAWhile()
  const runs = await rig.engine.latestOf(`volume/${rig.volumeId}`, 10)
  const [detach, attach] = runs.map(({ id }) => id) as [string, string]
  await rig.refused(attach, new RegExp(`nova volume-detach server-1 ${rig.volumeId}`))
  await rig.refused(detach, new RegExp(`nova volume-attach server-1 ${rig.volumeId}`))
})

test('not an administrator, and no such operation', async (t) => {
  const rig = await openUndoRig(t, { attached: true })
  const id = await rig.migrate('lmb')
  const member = { ...administrator, roles: ['member'] }
  await assert.rejects(rig.undos.plan(member, id), { code: 'forbidden' })
  await assert.rejects(rig.undos.undo(member, id), { code: 'forbidden' })
  await assert.rejects(rig.undos.plan(administrator, 'nothing'), { code: 'notFound' })
})
