import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { createImages } from '../../packages/control/src/http/image/service.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { openComputeRig, type ComputeRig } from '../integration/compute-rig.ts'
import { startCloud, type Cloud } from './stock-client.ts'

let cloud: Cloud
let rig: ComputeRig
before(async () => {
  cloud = await startCloud(async ({ db, identity, stateDir }) => {
    const log = pino({ level: 'silent' })
    const images = await createImages({ db, stateDir, clock: systemClock, log, tokens: identity.tokens })
    const path = join(stateDir, 'kernel.file')
    await writeFile(path, Buffer.alloc(4096, 'k'))
    const kernel = await images.registry.ensureBuiltin({
      name: 'kernel',
      path,
      diskFormat: 'aki',
      containerFormat: 'aki',
      properties: {},
      visibility: 'public',
    })
    await images.registry.ensureBuiltin({
      name: 'small',
      path,
      diskFormat: 'raw',
      containerFormat: 'bare',
      properties: { kernel_id: kernel.id },
      visibility: 'public',
    })
    rig = await openComputeRig({
      tokens: identity.tokens,
      images: images.registry,
      definitions: { 'compute-2': { availabilityZone: 'east', memoryMiB: 4096 } },
    })
    return [images.service, ...rig.services]
  })
})
after(async () => {
  await rig.stop()
  await cloud.stop()
})

const client =
  (program: string) =>
  async (...args: string[]): Promise<string> => {
    const result = await cloud.run(program, args)
    assert.equal(result.code, 0, `${program} ${args.join(' ')}: ${result.stderr}${result.stdout}`)
    return result.stdout
  }
const nova = client('nova')
const openstack = client('openstack')

/** The cells of each row of a client's table. */
const rows = (table: string): string[][] =>
  table
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
const rowOf = (table: string, ...cells: string[]): string[] =>
  rows(table).find((row) => cells.every((cell) => row.includes(cell))) ?? []
const property = (table: string, name: string): string =>
  rows(table).find((row) => row[0] === name)?.[1] ?? ''

test('nova service-list, -disable, -enable, -force-down', async () => {
  const [id = ''] = rowOf(await nova('service-list'), 'nova-compute', 'compute-1')
  assert.match(id, /^[0-9a-f-]{36}$/)
  assert.match(await nova('service-disable', '--reason', 'new fan', id), /disabled +\| new fan/)
  const disabled = rowOf(await nova('service-list', '--host', 'compute-1'), 'compute-1')
  assert.deepEqual(
    [disabled[3], disabled[4], disabled[5], disabled[7], disabled[8]],
    ['nova', 'disabled', 'up', 'new fan', 'False'],
  )
  await nova('service-enable', id)
  await nova('service-force-down', id)
  const down = rowOf(await nova('service-list'), 'compute-1', 'nova-compute')
  assert.deepEqual([down[4], down[5], down[8]], ['enabled', 'down', 'True'])
  await nova('service-force-down', '--unset', id)
  assert.equal(rowOf(await nova('service-list'), 'compute-1', 'nova-compute')[5], 'up')

  // Before 2.53 by host and binary.
  const old = (...args: string[]) => nova('--os-compute-api-version', '2.11', ...args)
  assert.match(await old('service-disable', '--reason', 'ram', 'compute-1'), /disabled +\| ram/)
  assert.match(await old('service-enable', 'compute-1'), /compute-1 +\| nova-compute +\| enabled/)
  assert.match(await old('service-force-down', 'compute-1'), /True/)
  await old('service-force-down', '--unset', 'compute-1')

  const absent = await cloud.run('nova', ['service-disable', '00000000-0000-4000-8000-000000000000'])
  assert.notEqual(absent.code, 0)
  assert.match(absent.stderr, /could not be found/)
})

test('openstack compute service list and set', async () => {
  const set = (...args: string[]) =>
    openstack('compute', 'service', 'set', ...args, 'compute-2', 'nova-compute')
  const state = async () => {
    const services = await cloud.json<Record<string, string>[]>('openstack', [
      ...['--os-compute-api-version', '2.90', 'compute', 'service', 'list', '--long'],
      ...['--service', 'nova-compute', '--host', 'compute-2'],
    ])
    assert.equal(services.length, 1)
    const [only] = services
    return [only?.['Zone'], only?.['Status'], only?.['State'], only?.['Disabled Reason']]
  }
  await set('--disable', '--disable-reason', 'new disk')
  assert.deepEqual(await state(), ['east', 'disabled', 'up', 'new disk'])
  await set('--enable')
  const versioned = (...args: string[]) =>
    openstack(
      '--os-compute-api-version',
      '2.90',
      'compute',
      'service',
      'set',
      ...args,
      'compute-2',
      'nova-compute',
    )
  await versioned('--down')
  assert.deepEqual(await state(), ['east', 'enabled', 'down', null])
  await versioned('--up', '--disable', '--disable-reason', 'again')
  assert.deepEqual(await state(), ['east', 'disabled', 'up', 'again'])
  await versioned('--enable')
  assert.deepEqual(await state(), ['east', 'enabled', 'up', null])
})

test('hypervisors: list, show, stats, uptime and servers', async () => {
  const booted = await nova(
    ...['boot', '--flavor', 'm1.tiny', '--image', 'small', '--nic', 'none', '--poll'],
    ...['--availability-zone', 'east', 'in-the-east'],
  )
  const server = property(booted, 'id')
  assert.equal(property(await nova('show', server), 'OS-EXT-AZ:availability_zone'), 'east')
  assert.match(await nova('hypervisor-list'), /compute-2 +\| up +\| enabled/)
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
    ['2', '1', '512', String(4096 + 16384)],
  )
  assert.match(property(await old('hypervisor-uptime', 'compute-2'), 'uptime'), / up 1 day, /)
  assert.equal(rowOf(await nova('hypervisor-servers', 'compute-2'), server).length, 4)
  const version = ['--os-compute-api-version', '2.42']
  assert.match(await openstack(...version, 'hypervisor', 'list', '--long'), /compute-2/)
  const own = await openstack(...version, 'hypervisor', 'show', 'compute-2')
  assert.deepEqual(
    [property(own, 'memory_mb_used'), property(own, 'load_average'), property(own, 'uptime')],
    ['512', '0.50, 0.25, 0.13', '1 day,  1:01'],
  )
  assert.equal(property(await openstack(...version, 'hypervisor', 'stats', 'show'), 'count'), '2')

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

test('availability zones', async () => {
  const list = await nova('availability-zone-list')
  assert.match(list, /\| east +\| available/)
  assert.match(list, /\|- compute-2/)
  assert.match(list, /nova-compute +\| enabled :-\)/)
  const zones = await cloud.json<Record<string, string>[]>('openstack', [
    ...['availability', 'zone', 'list', '--compute', '--long'],
  ])
  const mine = zones.filter((zone) => zone['Host Name'] === 'compute-2')
  assert.deepEqual(
    mine.map((zone) => [zone['Zone Name'], zone['Zone Status'], zone['Service Name']]),
    [['east', 'available', 'nova-compute']],
  )
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
  const listed = await cloud.json<Record<string, string>[]>('openstack', [
    ...[...version, 'server', 'group', 'list', '--long'],
  ])
  assert.deepEqual(
    listed.map((group) => group['Name']),
    ['web', 'near'],
  )
  assert.match(await openstack(...version, 'server', 'group', 'show', 'web'), new RegExp(server))
  await openstack('server', 'group', 'delete', 'near')
  await nova('server-group-delete', id)
  const wrong = await cloud.run('nova', ['server-group-create', 'x', 'legacy'])
  assert.match(wrong.stderr, /policy/)
  await nova('delete', server)
})
