import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  placeShare,
  unmetShareSpecs,
  whyNot,
  type SharePlacementRequest,
  type SharePool,
} from './share-placement.ts'
import { gib } from './volume.ts'

const pool = (name: string, changed: Partial<SharePool> = {}): SharePool => ({
  place: { node: 'lma-01', aggregate: name },
  cluster: 'cinder-lma',
  backend: 'manila-lma',
  pool: name,
  availabilityZone: 'nova',
  enabled: true,
  down: null,
  vacatedBy: null,
  reflink: true,
  totalBytes: 100 * gib,
  freeBytes: 80 * gib,
  allocatedGib: 0,
  ...changed,
})
const request = (changed: Partial<SharePlacementRequest> = {}): SharePlacementRequest => ({
  sizeGib: 10,
  availabilityZone: null,
  extraSpecs: {},
  source: null,
  dataBytes: 0,
  ...changed,
})
const names = (asked: SharePlacementRequest, pools: SharePool[]): string[] =>
  placeShare(asked, pools).fitting.map((one) => one.pool)

test('the pool that has promised the least comes first; equal ones keep their order', () => {
  assert.deepEqual(names(request(), [pool('a', { allocatedGib: 5 }), pool('b')]), ['b', 'a'])
  assert.deepEqual(names(request(), [pool('a'), pool('b')]), ['a', 'b'])
})

test('where the snapshot is comes first, and there nothing is to be written', () => {
  const source = { cluster: 'cinder-lma', node: 'lma-01', aggregate: 'a' }
  const asked = request({ source, dataBytes: 90 * gib })
  const crowded = pool('a', { allocatedGib: 500 })
  assert.deepEqual(names(asked, [pool('b'), crowded]), ['a'])
  assert.match(whyNot(asked, pool('b')) ?? '', /90\.00 GiB are to be written and 80\.00 GiB are free/)
  assert.match(whyNot(asked, pool('a', { reflink: false })) ?? '', /are to be written/)
  assert.deepEqual(names(request({ source, dataBytes: gib }), [pool('b'), crowded]), ['a', 'b'])
  assert.match(whyNot(asked, pool('a', { cluster: 'cinder-lmb' })) ?? '', /another cluster/)
})

test('each pool that will not do says why', () => {
  const reasons: [Partial<SharePool>, RegExp][] = [
    [{ enabled: false }, /service is disabled/],
    [{ down: 'the node is away' }, /cannot be used: the node is away/],
    [{ vacatedBy: 'op-1' }, /being emptied by operation op-1/],
    [{ freeBytes: 0 }, /10 GiB are asked for and 0 GiB can still be provisioned/],
    [{ allocatedGib: 1995 }, /5 GiB can still be provisioned/],
  ]
  for (const [changed, reason] of reasons) assert.match(whyNot(request(), pool('a', changed)) ?? '', reason)
  assert.match(whyNot(request({ availabilityZone: 'mars' }), pool('a')) ?? '', /availability zone nova/)
  assert.equal(whyNot(request(), pool('a')), null)
})

test('extra specs name a place or an ability; a pool may be able to do more than is asked for', () => {
  const unmet = (specs: Record<string, string>) => unmetShareSpecs(specs, pool('a'))
  assert.deepEqual(unmet({ share_backend_name: 'manila-lma', pool_name: 'a' }), [])
  assert.deepEqual(unmet({ share_backend_name: 'manila-lmb' }), ['share_backend_name=manila-lmb'])
  assert.deepEqual(unmet({ snapshot_support: '<is> True', revert_to_snapshot_support: 'False' }), [])
  assert.deepEqual(unmet({ mount_snapshot_support: 'True' }), [])
  assert.deepEqual(unmet({ driver_handles_share_servers: 'False', 'netapp:thin': 'x', colour: 'red' }), [])
  assert.deepEqual(unmet({ driver_handles_share_servers: 'True' }), ['driver_handles_share_servers=True'])
  assert.deepEqual(unmet({ availability_zones: 'mars, nova' }), [])
  assert.deepEqual(unmet({ availability_zones: 'mars' }), ['availability_zones=mars'])
})
