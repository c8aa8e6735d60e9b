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
