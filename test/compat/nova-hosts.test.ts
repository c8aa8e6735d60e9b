import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { rowOf, startHostsCloud, type HostsCloud } from './hosts-cloud.ts'

let here: HostsCloud
before(async () => {
  here = await startHostsCloud()
})
after(() => here.stop())
const nova = (...args: string[]) => here.nova(...args)
const openstack = (...args: string[]) => here.openstack(...args)

test('nova service-list, -disable, -enable, -force-down', async () => {
  const [id = ''] = rowOf(await nova('service-list'), 'nova-compute', 'compute-1')
  assert.match(id, /^[0-9a-f-]{36}$/)
  assert.match(await nova('service-disable', '--reason', 'new fan', id), /disabled +\| new fan/)
  const disabled = rowOf(await nova('service-list', '--host', 'compute-1'), 'compute-1')
  assert.deepEqual(
    [disabled[3], disabled[4], disabled[5], disabled[7], disabled[8]],
    ['nova', 'disabled', 'up', 'new fan', 'False'],
  )
  await nova('service-force-down', id)
  const down = rowOf(await nova('service-list'), 'compute-1', 'nova-compute')
  assert.deepEqual([down[4], down[5], down[8]], ['disabled', 'down', 'True'])
  assert.match(await nova('service-force-down', '--unset', id), /False/)

  // Before 2.53 by host and binary.
  const old = (...args: string[]) => nova('--os-compute-api-version', '2.11', ...args)
  assert.match(await old('service-disable', '--reason', 'ram', 'compute-1'), /disabled +\| ram/)
  assert.match(await old('service-enable', 'compute-1'), /compute-1 +\| nova-compute +\| enabled/)

  const absent = await here.cloud.run('nova', ['service-disable', '00000000-0000-4000-8000-000000000000'])
  assert.notEqual(absent.code, 0)
  assert.match(absent.stderr, /could not be found/)
})

test('openstack compute service list and set', async () => {
  const version = ['--os-compute-api-version', '2.90']
  const set = (...args: string[]) =>
    openstack(...version, 'compute', 'service', 'set', ...args, 'compute-2', 'nova-compute')
  const state = async () => {
    const services = await here.cloud.json<Record<string, string>[]>('openstack', [
      ...[...version, 'compute', 'service', 'list', '--long'],
      ...['--service', 'nova-compute', '--host', 'compute-2'],
    ])
    assert.equal(services.length, 1)
    const [only] = services
    return [only?.['Zone'], only?.['Status'], only?.['State'], only?.['Disabled Reason']]
  }
  await set('--disable', '--disable-reason', 'new disk')
  assert.deepEqual(await state(), ['east', 'disabled', 'up', 'new disk'])
  await set('--enable', '--down')
  assert.deepEqual(await state(), ['east', 'enabled', 'down', null])
  await set('--up')
})

test('availability zones', async () => {
  const list = await nova('availability-zone-list')
  assert.match(list, /\| east +\| available/)
  assert.match(list, /\|- compute-2/)
  assert.match(list, /nova-compute +\| enabled :-\)/)
  const zones = await here.cloud.json<Record<string, string>[]>('openstack', [
    ...['availability', 'zone', 'list', '--compute', '--long'],
  ])
  const mine = zones.filter((zone) => zone['Host Name'] === 'compute-2')
  assert.deepEqual(
    mine.map((zone) => [zone['Zone Name'], zone['Zone Status'], zone['Service Name']]),
    [['east', 'available', 'nova-compute']],
  )
})
