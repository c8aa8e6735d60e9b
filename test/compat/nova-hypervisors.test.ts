import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { property, rowOf, rows, startHostsCloud, type HostsCloud } from './hosts-cloud.ts'

let here: HostsCloud
before(async () => {
  here = await startHostsCloud()
})
after(() => here.stop())
const nova = (...args: string[]) => here.nova(...args)
const openstack = (...args: string[]) => here.openstack(...args)

test('hypervisors: list, show, stats, uptime and servers', async () => {
  const booted = await nova(
    ...['boot', '--flavor', 'm1.tiny', '--image', 'small', '--nic', 'none', '--poll'],
    ...['--availability-zone', 'east', 'in-the-east'],
  )
  const server = property(booted, 'id')
  assert.equal(property(await nova('show', server), 'OS-EXT-AZ:availability_zone'), 'east')
  assert.equal(rows(await nova('hypervisor-list', '--matching', 'pute-2')).length, 2)
  const old = (...args: string[]) => nova('--os-compute-api-version', '2.87', ...args)
  const shown = await old('hypervisor-show', 'compute-2')
  assert.deepEqual(
    ['memory_mb', 'memory_mb_used', 'free_ram_mb', 'running_vms', 'service_host', 'state'].map((name) =>
      property(shown, name),
    ),
    ['4096', '512', '3584', '1', 'compute-2', 'up'],
  )
  assert.match(property(await nova('hypervisor-show', 'compute-2'), 'uptime'), / up 1 day, /)
  const stats = await old('hypervisor-stats')
  assert.deepEqual(
    ['count', 'running_vms', 'memory_mb_used', 'memory_mb'].map((name) => property(stats, name)),
    ['2', '1', '512', '16384'],
  )
  assert.equal(rowOf(await nova('hypervisor-servers', 'compute-2'), server).length, 4)
  const version = ['--os-compute-api-version', '2.42']
  const own = await openstack(...version, 'hypervisor', 'show', 'compute-2')
  assert.deepEqual(
    [property(own, 'memory_mb_used'), property(own, 'load_average'), property(own, 'uptime')],
    ['512', '0.50, 0.25, 0.13', '1 day,  1:01'],
  )

  const hosts = await openstack(...version, 'host', 'list', '--zone', 'east')
  assert.deepEqual(rowOf(hosts, 'compute-2'), ['compute-2', 'compute', 'east'])
  const described = rows(await openstack(...version, 'host', 'show', 'compute-2'))
  assert.deepEqual(
    described.slice(1, 4).map((row) => row.slice(1, 4)),
    [
      ['(total)', '8', '4096'],
      ['(used_now)', '1', '512'],
      ['(used_max)', '1', '512'],
    ],
  )
  await nova('delete', server)
})

test('server groups', async () => {
  const created = await nova('server-group-create', 'web', 'anti-affinity', '--rule', 'max_server_per_host=2')
  const [id = ''] = rowOf(created, 'web')
  assert.match(created, /anti-affinity +\| {'max_server_per_host': 2}/)
  const boot = ['boot', '--flavor', 'm1.tiny', '--image', 'small', '--nic', 'none', '--poll']
  const server = property(await nova(...boot, '--hint', `group=${id}`, 'member'), 'id')
  assert.match(await nova('server-group-get', id), new RegExp(server))
  assert.match(property(await nova('show', server), 'server_groups'), new RegExp(id))
  assert.equal(rowOf(await nova('server-group-list', '--all-projects', '--limit', '5'), 'web').length, 7)

  const version = ['--os-compute-api-version', '2.90']
  const soft = await openstack(
    ...[...version, 'server', 'group', 'create', '--policy', 'soft-affinity', 'near'],
  )
  assert.equal(property(soft, 'policy'), 'soft-affinity')
  const listed = await here.cloud.json<Record<string, string>[]>('openstack', [
    ...[...version, 'server', 'group', 'list', '--long'],
  ])
  assert.deepEqual(
    listed.map((group) => group['Name']),
    ['web', 'near'],
  )
  await openstack('server', 'group', 'delete', 'near')
  await nova('server-group-delete', id)
  await nova('delete', server)
})
