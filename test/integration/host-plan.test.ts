/** Drain and restore over the Compute service, with simulated nodes: who is refused and why, and what a plan says. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { isDomainError } from '@volant/contract'
import type { PlanRequest } from '@volant/contract/ndo/plan.ts'
import { openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'
import { principals } from './volume-rig.ts'

let rig: ComputeRig
before(async () => {
  rig = await openComputeRig({ hosts: ['compute-1', 'compute-2', 'compute-3'] })
})
after(() => rig.stop())

const admin = () => principals['admin'] as NonNullable<(typeof principals)[string]>
const plan = (request: PlanRequest) => rig.compute.plans.plan(admin(), request)
const start = (request: PlanRequest) => rig.compute.plans.start(admin(), request)
const hostOf = async (id: string): Promise<string> =>
  (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).body.server['OS-EXT-SRV-ATTR:host']
/** Booted from a volume, so that it can go to other hosts. */
const boot = (name: string, policy?: string): Promise<string> =>
  rig.boot(
    {
      name,
      host: 'compute-1',
      flavorRef: '6',
      imageRef: '',
      block_device_mapping_v2: [
        {
          boot_index: 0,
          uuid: probeImage,
          source_type: 'image',
          destination_type: 'volume',
          volume_size: 1,
          delete_on_termination: true,
        },
      ],
      ...(policy && { metadata: { 'volant:drain': policy } }),
    },
    'admin',
  )
const state = async (host: string) =>
  (await rig.compute.plans.hosts(admin())).find(({ name }) => name === host)
const service = (host: string, body: object) =>
  rig
    .call('GET', `/os-services?host=${host}&binary=nova-compute`, { as: 'admin' })
    .then(({ body: found }) => rig.call('PUT', `/os-services/${found.services[0].id}`, { as: 'admin', body }))

/** Refused, whether it is only planned or begun, and nothing is changed. */
async function refused(
  request: PlanRequest,
  code: string,
  reason: RegExp,
  /** Something else changes meanwhile. */
  isQuiet = true,
): Promise<void> {
  const hosts = await rig.compute.plans.hosts(admin())
  for (const ask of [plan, start]) {
    await assert.rejects(ask(request), (error) => {
      assert.ok(isDomainError(error), String(error))
      assert.equal(error.code, code)
      assert.match(error.message, reason)
      return true
    })
  }
  if (isQuiet) assert.deepEqual(await rig.compute.plans.hosts(admin()), hosts)
}

test('what is refused is refused with its own reason, and changes nothing', async () => {
  const id = await boot('only')
  await refused({ kind: 'drain', host: 'nope' }, 'notFound', /nope could not be found\. There are: compute-1/)
  await refused({ kind: 'drain', host: 'compute-1', to: ['x'] }, 'notFound', /x could not be found/)
  await refused({ kind: 'drain', host: 'compute-1', to: ['compute-1'] }, 'invalid', /is to be emptied/)
  await refused({ kind: 'restore', host: 'compute-1' }, 'conflict', /is not drained/)
  await service('compute-2', { status: 'disabled', disabled_reason: 'fan' })
  await refused(
    { kind: 'drain', host: 'compute-1', to: ['compute-2'] },
    'conflict',
    /compute-2 is disabled: fan/,
  )
  await refused({ kind: 'restore', host: 'compute-2' }, 'conflict', /disabled by somebody \(fan\)/)
  await service('compute-3', { forced_down: true })
  await refused({ kind: 'drain', host: 'compute-1' }, 'conflict', /the last one that can be used/)
  await refused({ kind: 'drain', host: 'compute-3' }, 'conflict', /is down: .* Evacuate it instead/)
  await refused({ kind: 'restore', host: 'compute-3' }, 'conflict', /is down/)
  // One that nothing must leave may be the last.
  assert.equal((await plan({ kind: 'drain', host: 'compute-1', policy: 'stop' })).ok, true)
  await service('compute-2', { status: 'enabled' })
  await service('compute-3', { forced_down: false })
  await assert.rejects(
    rig.compute.plans.plan(principals['member'] as never, { kind: 'drain', host: 'compute-1' }),
    /Policy doesn't allow ndo:plans/,
  )
  await rig.call('DELETE', `/servers/${id}`, { as: 'admin' })
  await rig.settle(id, 'gone')
})

test('a drain and a restore: the plan says who goes where; a second one is refused meanwhile', async () => {
  const [live, still, cold] = [await boot('live'), await boot('still', 'stop'), await boot('cold', 'cold')]
  const planned = await plan({ kind: 'drain', host: 'compute-1' })
  assert.equal(planned.ok, true)
  const ways = Object.fromEntries(planned.moves.map(({ name, way }) => [name, way]))
  assert.deepEqual(ways, { live: 'live', still: 'stop', cold: 'cold' })
  assert.ok(planned.estimate.seconds > 0 && !planned.estimate.measured)
  assert.equal(planned.estimate.bytes, 128 * 1024 ** 2)
  assert.equal((await state('compute-1'))?.enabled, true, 'a plan changes nothing')

  const { operationId } = await start({ kind: 'drain', host: 'compute-1' })
  const reason = new RegExp(`being drained by operation ${operationId}`)
  await refused({ kind: 'drain', host: 'compute-1' }, 'conflict', reason, false)
  await refused({ kind: 'restore', host: 'compute-1' }, 'conflict', /being drained by operation/, false)
  await rig.until('it is drained', async () => (await state('compute-1'))?.operation === null)
  const drained = await state('compute-1')
  assert.deepEqual([drained?.enabled, drained?.drained, drained?.away, drained?.running], [false, true, 3, 0])
  assert.deepEqual([await hostOf(still), (await hostOf(live)) === 'compute-1'], ['compute-1', false])
  await rig.settle(still, 'SHUTOFF')
  await rig.settle(cold, 'ACTIVE')

  const back = await plan({ kind: 'restore', host: 'compute-1' })
  assert.deepEqual(back.moves.map(({ name, way, to }) => [name, way, to]).toSorted(), [
    ['cold', 'cold', 'compute-1'],
    ['live', 'live', 'compute-1'],
    ['still', 'start', null],
  ])
  await start({ kind: 'restore', host: 'compute-1' })
  await rig.until('it is restored', async () => (await state('compute-1'))?.operation === null)
  for (const id of [live, still, cold]) assert.equal(await hostOf(id), 'compute-1')
  const full = await state('compute-1')
  assert.deepEqual([full?.enabled, full?.drained, full?.away, full?.running], [true, false, 0, 3])
})

test('an operator who disabled the host keeps the reason; stock evacuation one by one works beside the drain', async () => {
  await service('compute-1', { status: 'disabled', disabled_reason: 'new fans' })
  const servers = (await rig.call('GET', '/servers/detail?all_tenants=1&host=compute-1', { as: 'admin' }))
    .body.servers
  const first = servers.find(({ name }: { name: string }) => name === 'live')
  const moved = await rig.call('POST', `/servers/${first.id}/action`, {
    as: 'admin',
    body: { 'os-migrateLive': { host: null, block_migration: 'auto' } },
  })
  assert.equal(moved.status, 202, JSON.stringify(moved.body))
  await start({ kind: 'drain', host: 'compute-1' })
  await rig.until('it is drained', async () => (await state('compute-1'))?.operation === null)
  const drained = await state('compute-1')
  assert.deepEqual([drained?.disabled_reason, drained?.running], ['new fans', 0])
  await start({ kind: 'restore', host: 'compute-1' })
  await rig.until('it is restored', async () => (await state('compute-1'))?.operation === null)
  const back = await rig.call('GET', '/servers/detail?all_tenants=1&host=compute-1', { as: 'admin' })
  const names = back.body.servers.map(({ name }: { name: string }) => name)
  assert.deepEqual(names.toSorted(), ['cold', 'still'], 'who was moved by somebody else is not brought back')
})
