import assert from 'node:assert/strict'
import { test } from 'node:test'
import { volumeMappings, type BlockDeviceEntry } from './block-device-mapping.ts'

const entry = (fields: Partial<BlockDeviceEntry>): BlockDeviceEntry => ({
  deleteOnTermination: false,
  noDevice: false,
  ...fields,
})
const image = entry({ sourceType: 'image', destinationType: 'local', uuid: 'i', bootIndex: 0 })
const volume = (bootIndex: number | null) =>
  entry({ sourceType: 'volume', destinationType: 'volume', uuid: 'v', bootIndex })

test('the image that clients put among the mappings makes no volume', () => {
  assert.deepEqual(volumeMappings([image], 'i'), [])
  assert.equal(volumeMappings([image, volume(null)], 'i').length, 1)
  assert.equal(volumeMappings([volume(-1)], 'i')[0]?.bootIndex, null)
})

test('a server boots from exactly one disk, and the order has no gap', () => {
  const sequence = /Boot sequence .* is not valid/
  assert.throws(() => volumeMappings([volume(null)], undefined), sequence)
  assert.throws(() => volumeMappings([image, volume(0)], 'i'), sequence)
  assert.throws(() => volumeMappings([volume(0), volume(2)], undefined), sequence)
  assert.throws(() => volumeMappings([{ ...image, uuid: 'other' }], 'i'), sequence)
  assert.equal(volumeMappings([volume(0)], 'i').length, 1, 'the image is then only named')
  assert.equal(volumeMappings([volume(1), volume(0)], undefined).length, 2)
})

test('volumes that are to be made need a size, and what is not there is refused by name', () => {
  const cases: [Partial<BlockDeviceEntry>, RegExp][] = [
    [{ sourceType: 'image', destinationType: 'volume', uuid: 'i' }, /non-zero size/],
    [{ sourceType: 'blank', destinationType: 'volume' }, /non-zero size/],
    [{ sourceType: 'blank', destinationType: 'volume', uuid: 'x', sizeGib: 1 }, /Invalid device UUID/],
    [{ sourceType: 'blank', destinationType: 'local', sizeGib: 1 }, /Ephemeral disks/],
    [{ sourceType: 'volume' }, /Missing device UUID/],
    [{ sourceType: 'snapshot' }, /Missing device UUID/],
    [{ sourceType: 'snapshot', uuid: 's', destinationType: 'local' }, /snapshot to local is not supported/],
    [{}, /Invalid source_type/],
  ]
  for (const [fields, message] of cases) assert.throws(() => volumeMappings([entry(fields)], 'i'), message)
  assert.deepEqual(volumeMappings([entry({ noDevice: true })], 'i'), [])
  const snapshot = entry({ sourceType: 'snapshot', destinationType: 'volume', uuid: 's' })
  assert.deepEqual(volumeMappings([snapshot], 'i')[0]?.source, { snapshotId: 's', sizeGib: null })
  assert.deepEqual(volumeMappings([{ ...snapshot, sizeGib: 2 }], 'i')[0]?.source, {
    snapshotId: 's',
    sizeGib: 2,
  })
})
