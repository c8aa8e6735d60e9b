import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { createSimulatedHolderAgent } from './holder.ts'
import { createSimulatedStorageAgent } from './storage.ts'

const caller = { fence: 1 }
const image = (imageId: string) => ({ imageId, aggregate: 'aggr1', flexvol: 'fv1' })
const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code

test('a volume moves between two simulated images', async () => {
  const storage = createSimulatedStorageAgent()
  const holders = createSimulatedHolderAgent({
    onOpen: (id) => storage.openImages.add(id),
    onClose: (id) => storage.openImages.delete(id),
  })
  await storage.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv1' })
  await storage.ensureImage(caller, image('a'), 4096)
  await storage.ensureImage(caller, image('b'), 4096)
  const [source, target] = [await storage.fileAccess(image('a')), await storage.fileAccess(image('b'))]
  await holders.ensureHolder(caller, { holderId: 'h', volumeId: 'v', image: source, serves: true })
  await holders.ensureMirror(caller, { holderId: 'h', jobId: 'j', target, rate: 0 })
  await assert.rejects(storage.ensureNoImage(caller, image('b')), refused('conflict'))
  await holders.prepareCutover(caller, 'h', 'j', 1000)
  await holders.finalizeCutover(caller, 'h', 'j', target)
  assert.equal((await holders.holderStatus('h'))?.imageId, 'b')
  assert.equal((await holders.mirrorStatus('h', 'j')).phase, 'absent')
  await storage.ensureNoImage(caller, image('a'))
  assert.deepEqual([...storage.images.keys()], ['b'])
})

async function simulatedHolder(options: Parameters<typeof createSimulatedHolderAgent>[0] = {}) {
  const open = new Set<string>()
  const holders = createSimulatedHolderAgent({
    onOpen: (id) => open.add(id),
    onClose: (id) => open.delete(id),
    ...options,
  })
  const access = (imageId: string) => ({
    kind: 'file' as const,
    imageId,
    path: `/${imageId}`,
    sizeBytes: 4096,
  })
  await holders.ensureHolder(caller, { holderId: 'h', volumeId: 'v', image: access('a'), serves: true })
  return { holders, open, access }
}

test('a simulated head stands by, stands on its image and lets go of it; no image has two writers', async () => {
  const holders = createSimulatedHolderAgent()
  const file = (imageId: string) => ({ kind: 'file', imageId, path: `/${imageId}`, sizeBytes: 4096 }) as const
  const on = (holderId: string, imageId: string) => ({
    ...{ holderId, volumeId: 'v', serves: true },
    image: file(imageId),
  })
  const standby = { holderId: 'b', volumeId: 'v', sizeBytes: 4096 }
  await holders.ensureHolder(caller, on('a', 'x'))
  await assert.rejects(holders.ensureStandby(caller, { ...standby, holderId: 'a' }), refused('conflict'))
  assert.equal((await holders.ensureStandby(caller, standby)).imageId, null)
  await assert.rejects(holders.ensureHolder(caller, on('b', 'x')), refused('conflict'))
  await holders.ensureReleased(caller, 'a')
  assert.equal((await holders.ensureHolder(caller, on('b', 'x'))).imageId, 'x')
  await assert.rejects(holders.ensureHolder(caller, on('a', 'y')), refused('conflict'))
  await assert.rejects(
    holders.ensureMirror(caller, { holderId: 'a', jobId: 'j', target: file('y'), rate: 0 }),
    refused('conflict'),
  )
  holders.unreachableAddresses.add('10.0.0.1')
  assert.match((await holders.unreachable('10.0.0.1', 10809)) ?? '', /no route/)
  assert.equal(await holders.unreachable('10.0.0.2', 10809), null)
})

test('a simulated mirror of changes only begins at rest, and is ready when it goes on', async () => {
  const { holders, open, access } = await simulatedHolder()
  const request = { holderId: 'h', jobId: 'j', target: access('b'), rate: 0, changesOnly: true }
  for (const _ of [1, 2]) await holders.ensureMirror(caller, request)
  const { phase, pausedByUser, doneBytes, totalBytes } = await holders.mirrorStatus('h', 'j')
  assert.deepEqual([phase, pausedByUser, doneBytes, totalBytes], ['paused', true, 0, 0])
  assert.deepEqual([...open], ['a', 'b'])
  await assert.rejects(holders.prepareCutover(caller, 'h', 'j', 1000), refused('conflict'))
  await holders.ensureMirrorPaused(caller, 'h', 'j', false)
  assert.equal((await holders.mirrorStatus('h', 'j')).phase, 'ready')
  await holders.prepareCutover(caller, 'h', 'j', 1000)
  await holders.finalizeCutover(caller, 'h', 'j', access('b'))
  assert.deepEqual([...open], ['b'])
})

test('a simulated copy of an instant is at once, or is led; beside a mirror it is refused, and a mirror beside it', async () => {
  const request = { holderId: 'h', jobId: 'p', rate: 0 }
  const mirror = { holderId: 'h', jobId: 'j', rate: 0 }
  const instant = await simulatedHolder()
  await instant.holders.ensurePointCopy(caller, { ...request, target: instant.access('b') })
  assert.equal((await instant.holders.pointCopyStatus('h', 'p')).phase, 'done')
  assert.deepEqual([...instant.open], ['a'], 'a copy that is done is closed')

  const { holders, open, access } = await simulatedHolder({ firstPhase: 'copying' })
  const target = access('b')
  for (const _ of [1, 2]) await holders.ensurePointCopy(caller, { ...request, target })
  assert.equal((await holders.pointCopyStatus('h', 'p')).phase, 'copying')
  await assert.rejects(holders.ensureMirror(caller, { ...mirror, target: access('c') }), refused('conflict'))
  await assert.rejects(holders.ensureSize(caller, 'h', 8192), refused('conflict'))
  assert.deepEqual(
    (await holders.inventory()).map(({ kind, jobId, imageId }) => [kind, jobId, imageId]),
    [
      ['holder', undefined, 'a'],
      ['mirror', 'p', 'b'],
    ],
  )
  holders.crashHolder('h')
  assert.equal((await holders.pointCopyStatus('h', 'p')).phase, 'failed')
  assert.deepEqual([...open], ['a'])
  await holders.ensurePointCopy(caller, { ...request, target })
  holders.setPointCopy('h', { phase: 'done', doneBytes: 4096 })
  assert.deepEqual([...open], ['a'])
  await holders.ensureMirror(caller, { ...mirror, target: access('c') })
  await holders.ensureNoPointCopy(caller, 'h', 'p')
  assert.equal((await holders.pointCopyStatus('h', 'p')).phase, 'absent')
  await assert.rejects(holders.ensurePointCopy(caller, { ...request, target }), refused('conflict'))
})

test('scripted faults come once, before the work or after it', async () => {
  const storage = createSimulatedStorageAgent()
  storage.failNext('ensureFlexVol', new Error('lost'), 'after')
  await assert.rejects(storage.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv1' }), /lost/)
  assert.equal(storage.flexvols.size, 1)
  storage.failNext('ensureImage', new Error('refused'))
  await assert.rejects(storage.ensureImage(caller, image('a'), 4096), /refused/)
  assert.equal(storage.images.size, 0)
  assert.equal(storage.pendingFaults.length, 0)
  await storage.ensureImage({ fence: 2 }, image('a'), 4096)
  await assert.rejects(storage.ensureImage(caller, image('b'), 4096), refused('staleFence'))
})

test('a simulated copy takes a few looks, pauses, fails when told to, and shares what its base has', async () => {
  const aggregates = ['aggr1', 'aggr2'].map((name) => ({ name, totalBytes: 2 ** 40 }))
  const storage = createSimulatedStorageAgent({ aggregates })
  const at2 = (imageId: string) => ({ ...image(imageId), aggregate: 'aggr2' })
  await storage.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv1' })
  await storage.ensureFlexVol(caller, { aggregate: 'aggr2', name: 'fv1' })
  await storage.ensureImageFrom(caller, image('s1'), 2 ** 24, { path: '/x', format: 'raw' })
  await storage.ensureClone(caller, image('v'), image('s1'))
  await assert.rejects(storage.ensureClone(caller, at2('x'), image('s1')), refused('notImplemented'))
  const volume = storage.images.get('v')
  assert.ok(volume)
  assert.equal(volume.content, '/x')
  volume.content = '/x and writes'
  volume.allocatedBytes += 4096

  const phase = async (id: string) => (await storage.imageCopyStatus(id)).phase
  assert.equal(await phase('s1-2'), 'absent')
  await storage.ensureImageCopy(caller, { from: image('s1'), to: at2('s1-2'), rate: 0 })
  assert.equal(await phase('s1-2'), 'copying')
  await assert.rejects(storage.ensureNoImage(caller, image('s1')), refused('conflict'))
  await storage.ensureImageCopyPaused(caller, 's1-2', true)
  for (let look = 0; look < 5; look += 1) assert.equal(await phase('s1-2'), 'paused')
  assert.equal(await storage.imageInfo(at2('s1-2')), undefined)
  await storage.ensureImageCopyPaused(caller, 's1-2', false)
  while ((await phase('s1-2')) !== 'done');
  assert.equal(storage.images.get('s1-2')?.content, '/x')

  const base = { from: image('s1'), to: at2('s1-2') }
  const request = { from: image('v'), to: at2('v-2'), base, rate: 0 }
  await storage.ensureImageCopy(caller, request)
  storage.setImageCopy('v-2', { phase: 'failed', error: 'no space' })
  assert.equal((await storage.imageCopyStatus('v-2')).error, 'no space')
  await storage.ensureImageCopy(caller, request)
  while ((await phase('v-2')) !== 'done');
  assert.deepEqual(await storage.imageCopyStatus('v-2'), {
    phase: 'done',
    doneBytes: 4096,
    totalBytes: 4096,
    rate: 0,
  })
  const usage = await storage.flexVolUsage({ aggregate: 'aggr2', name: 'fv1' })
  assert.deepEqual(usage, { images: 2, allocatedBytes: 2 ** 21 + 4096, uniqueBytes: 2 ** 20 + 4096 })

  // Bases that differ would make a target that nobody wrote: the simulation says so.
  const other = { ...request, to: at2('v-3'), base: { from: image('v'), to: at2('s1-2') } }
  await assert.rejects(storage.ensureImageCopy(caller, other), refused('conflict'))
  storage.imageCopies.clear() // the agent was restarted: what is whole is found again
  await storage.ensureImageCopy(caller, request)
  assert.equal(await phase('v-2'), 'done')
  await storage.ensureNoImageCopy(caller, 'v-2')
  assert.equal(await phase('v-2'), 'absent')
})
