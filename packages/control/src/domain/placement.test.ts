import assert from 'node:assert/strict'
import { test } from 'node:test'
import { array, assert as assertProperty, boolean, integer, nat, property, record } from 'fast-check'
import { noPoolMessage, placeVolume, unmetSpecs, virtualFreeBytes, type PoolCandidate } from './placement.ts'
import { gib } from './volume.ts'

const pool = (changes: Partial<PoolCandidate> = {}): PoolCandidate => ({
  flexvolId: 'f1',
  pool: '10.0.0.1:/one',
  backend: 'cinder-lma',
  machine: 'm1',
  availabilityZone: 'nova',
  enabled: true,
  totalBytes: 100 * gib,
  freeBytes: 100 * gib,
  provisionedBytes: 0,
  ...changes,
})
const request = { sizeBytes: gib, dataBytes: 0, availabilityZone: null, extraSpecs: {} }
const names = (pools: PoolCandidate[]) => pools.map((p) => p.flexvolId)

test('equal pools keep the order of the configuration', () => {
  const pools = [pool({ flexvolId: 'z' }), pool({ flexvolId: 'a' })]
  assert.deepEqual(names(placeVolume(request, pools).fitting), ['z', 'a'])
})

test('nothing is placed where everything is being moved away', () => {
  const placement = placeVolume(request, [
    pool({ flexvolId: 'a', vacatedBy: 'op-7' }),
    pool({ flexvolId: 'b' }),
  ])
  assert.deepEqual(names(placement.fitting), ['b'])
  assert.match(noPoolMessage(placement), /being emptied by operation op-7/)
})

test('what is written decides nothing; what is promised does', () => {
  const first = pool({ flexvolId: 'first', freeBytes: 60 * gib, provisionedBytes: 2 * gib })
  const second = pool({ flexvolId: 'second', provisionedBytes: 2 * gib })
  assert.deepEqual(names(placeVolume(request, [first, second]).fitting), ['first', 'second'])
  const fuller = { ...first, provisionedBytes: 3 * gib }
  assert.deepEqual(names(placeVolume(request, [fuller, second]).fitting), ['second', 'first'])
})

test('each reason against a pool is told', () => {
  const pools = [
    pool({ enabled: false }),
    pool({ down: 'no answer' }),
    pool({ availabilityZone: 'east' }),
    pool({ backend: 'other' }),
    pool({ machine: 'm2' }),
    pool({ freeBytes: gib / 2 }),
    pool({ provisionedBytes: 2000 * gib }),
  ]
  const placement = placeVolume(
    {
      sizeBytes: 2 * gib,
      dataBytes: gib,
      availabilityZone: 'nova',
      extraSpecs: { volume_backend_name: 'cinder-lma' },
      machine: 'm1',
    },
    pools,
  )
  assert.deepEqual(placement.fitting, [])
  const message = noPoolMessage(placement)
  for (const part of [
    'service is disabled',
    'does not answer: no answer',
    'availability zone east',
    'volume_backend_name=cinder-lma',
    'another machine',
    '1.00 GiB are to be written and 0.50 GiB are free',
    '0.00 GiB can still be provisioned',
  ]) {
    assert.ok(message.includes(part), `${part} in ${message}`)
  }
})

test('extra specs compare as Cinder’s do, and other scopes are not ours', () => {
  const place = { backend: 'cinder-lma', pool: 'p' }
  assert.deepEqual(unmetSpecs({ volume_backend_name: 'cinder-lma', 'netapp:dedup': 'x' }, place), [])
  assert.deepEqual(
    unmetSpecs({ thin_provisioning_support: '<is> True', multiattach: '<is> False' }, place),
    [],
  )
  assert.deepEqual(unmetSpecs({ 'capabilities:volume_backend_name': '<or> a <or> cinder-lma' }, place), [])
  assert.deepEqual(unmetSpecs({ multiattach: '<is> True', pool_name: 'q' }, place), [
    'multiattach=<is> True',
    'pool_name=q',
  ])
})

test('whatever the pools, a chosen one has the room and is enabled', () => {
  const pools = array(
    record({
      enabled: boolean(),
      totalBytes: nat(1000).map((n) => n * gib),
      freeBytes: nat(1000).map((n) => n * gib),
      provisionedBytes: nat(30_000).map((n) => n * gib),
    }),
  )
  assertProperty(
    property(pools, integer({ min: 1, max: 5000 }), (given, sizeGib) => {
      const candidates = given.map((p, i) => pool({ ...p, flexvolId: String(i) }))
      const { fitting, rejected } = placeVolume({ ...request, sizeBytes: sizeGib * gib }, candidates)
      assert.equal(fitting.length + rejected.length, candidates.length)
      for (const chosen of fitting) {
        assert.ok(chosen.enabled && virtualFreeBytes(chosen) >= sizeGib * gib)
      }
    }),
  )
})
