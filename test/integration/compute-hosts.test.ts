import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { serverMigrationRecords } from '../../packages/control/src/db/repositories/server-migration.ts'
import { buildingServer } from '../../packages/control/src/testing/servers.ts'
import { openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'

let rig: ComputeRig
before(async () => {
  rig = await openComputeRig({
    hosts: ['compute-1', 'compute-2', 'compute-3'],
    definitions: {
      'compute-1': { memoryMiB: 2048, vcpus: 2 },
      'compute-3': { availabilityZone: 'east', agent: 'https://192.0.2.7:8781' },
    },
  })
})
after(() => rig.stop())

const admin = { as: 'admin' }
const get = (path: string, version?: string, as = 'admin') =>
  rig.call('GET', path, { as, ...(version === undefined ? {} : { version }) })
const put = (path: string, body: unknown, version?: string) =>
  rig.call('PUT', path, { ...admin, body, ...(version === undefined ? {} : { version }) })
const create = (fields: object, as = 'admin') =>
  rig.call('POST', '/servers', {
    as,
    body: { server: { name: 's', flavorRef: '6', imageRef: probeImage, networks: 'none', ...fields } },
  })
const message = (answer: { body: Record<string, { message: string }> }): string =>
  Object.values(answer.body)[0]?.message ?? ''
const serviceOf = async (host: string) => {
  const { services } = (await get(`/os-services?host=${host}&binary=nova-compute`)).body
  return services[0]
}

test('services: listed as each microversion shows them', async () => {
  const oldest = (await get('/os-services', '2.1')).body.services
  assert.equal(oldest.length, 5)
  const first = oldest.find((service: { host: string }) => service.host === 'compute-1')
  assert.equal(typeof first.id, 'number')
  assert.ok(!('forced_down' in first))
  assert.deepEqual(
    [first.binary, first.status, first.state, first.zone, first.disabled_reason],
    ['nova-compute', 'enabled', 'up', 'nova', null],
  )
  const scheduler = oldest.find((service: { binary: string }) => service.binary === 'nova-scheduler')
  assert.equal(scheduler.zone, 'internal')
  assert.equal((await serviceOf('compute-3')).zone, 'east')
  assert.match((await serviceOf('compute-3')).id, /^[0-9a-f-]{36}$/)
  assert.equal((await get('/os-services?host=compute-2', '2.11')).body.services[0].forced_down, false)
  assert.equal((await get('/os-services?color=red', '2.75')).status, 400)
  assert.equal((await get('/os-services?color=red', '2.74')).status, 200)
  assert.equal((await get('/os-services', '2.53', 'member')).status, 403)
})

test('services: disabled and enabled by host, as before 2.53', async () => {
  const at = { host: 'compute-2', binary: 'nova-compute' }
  const reasoned = await put('/os-services/disable-log-reason', { ...at, disabled_reason: 'fan' }, '2.1')
  assert.deepEqual(reasoned.body, { service: { ...at, status: 'disabled', disabled_reason: 'fan' } })
  assert.equal((await serviceOf('compute-2')).disabled_reason, 'fan')
  const plain = await put('/os-services/disable', at, '2.1')
  assert.deepEqual(plain.body, { service: { ...at, status: 'disabled' } })
  assert.equal((await serviceOf('compute-2')).disabled_reason, null)
  const enabled = await put('/os-services/enable', at, '2.1')
  assert.deepEqual(enabled.body, { service: { ...at, status: 'enabled' } })

  const down = await put('/os-services/force-down', { ...at, forced_down: true }, '2.11')
  assert.deepEqual(down.body, { service: { ...at, forced_down: true } })
  assert.deepEqual(
    [(await serviceOf('compute-2')).state, (await serviceOf('compute-2')).forced_down],
    ['down', true],
  )
  assert.equal((await put('/os-services/force-down', { ...at, forced_down: 'False' }, '2.11')).status, 200)
  assert.equal((await serviceOf('compute-2')).state, 'up')
})

test('services: wrong requests by host have their own answers, and change nothing', async () => {
  const at = { host: 'compute-2', binary: 'nova-compute' }
  const before = await serviceOf('compute-2')
  const cases: [string, string, object, number, RegExp][] = [
    ['2.1', 'disable-log-reason', at, 400, /Missing disabled reason field/],
    ['2.1', 'force-down', { ...at, forced_down: true }, 404, /Unknown action/],
    ['2.1', 'disable', { ...at, forced_down: true }, 400, /'forced_down' was unexpected/],
    ['2.11', 'force-down', at, 400, /Missing forced_down field/],
    ['2.11', 'force-down', { ...at, forced_down: 'perhaps' }, 400, /forced_down/],
    ['2.52', 'reboot', at, 404, /Unknown action/],
    ['2.52', 'disable', { host: 'compute-2' }, 400, /'binary' is a required property/],
    [
      '2.52',
      'disable',
      { ...at, host: 'compute-9' },
      404,
      /Could not find binary nova-compute on host compute-9/,
    ],
    [
      '2.52',
      'disable',
      { ...at, binary: 'nova-scheduler' },
      400,
      /Only nova-compute services can be updated/,
    ],
    ['2.52', 'disable-log-reason', { ...at, disabled_reason: 'x'.repeat(256) }, 400, /disabled_reason/],
    ['2.53', 'disable', at, 400, /Invalid uuid disable/],
  ]
  for (const [version, action, body, status, words] of cases) {
    const answer = await put(`/os-services/${action}`, body, version)
    assert.equal(answer.status, status, `${version} ${action} ${JSON.stringify(body)}`)
    assert.match(message(answer), words)
  }
  assert.deepEqual({ ...(await serviceOf('compute-2')), updated_at: '' }, { ...before, updated_at: '' })
})

test('services: changed by id, as from 2.53', async () => {
  const { id } = await serviceOf('compute-2')
  const disabled = await put(`/os-services/${id}`, { status: 'disabled', disabled_reason: 'ram' })
  assert.deepEqual(
    [disabled.body.service.status, disabled.body.service.disabled_reason, disabled.body.service.id],
    ['disabled', 'ram', id],
  )
  const down = await put(`/os-services/${id}`, { forced_down: true })
  assert.deepEqual([down.body.service.state, down.body.service.status], ['down', 'disabled'])
  const back = await put(`/os-services/${id}`, { status: 'enabled', forced_down: false })
  assert.deepEqual([back.body.service.state, back.body.service.disabled_reason], ['up', null])

  const scheduler = (await get('/os-services?binary=nova-scheduler')).body.services[0]
  const unknown = '00000000-0000-4000-8000-000000000000'
  const cases: [string, object, number, RegExp][] = [
    [id, {}, 400, /No updates were requested. Fields status or forced_down should be specified/],
    [id, { disabled_reason: 'x' }, 400, /No updates were requested/],
    [id, { forced_down: true, disabled_reason: 'x' }, 400, /requires that status be set to 'disabled'/],
    [id, { status: 'enabled', disabled_reason: 'x' }, 400, /requires that status be set to 'disabled'/],
    [id, { status: 'off' }, 400, /status/],
    [id, { host: 'compute-2' }, 400, /'host' was unexpected/],
    [unknown, { status: 'disabled' }, 404, /could not be found/],
    [scheduler.id, { status: 'disabled' }, 400, /Only nova-compute services can be updated/],
  ]
  for (const [which, body, status, words] of cases) {
    const answer = await put(`/os-services/${which}`, body)
    assert.equal(answer.status, status, JSON.stringify(body))
    assert.match(message(answer), words)
  }
  assert.equal((await serviceOf('compute-2')).status, 'enabled')
  const removed = await rig.call('DELETE', `/os-services/${id}`, admin)
  assert.equal(removed.status, 409)
  assert.match(message(removed), /its host is in the configuration file/)
})

test('hypervisors: what they have, what is used, and how long their machine runs', async () => {
  const id = await rig.boot({ availability_zone: 'nova:compute-1' }, 'admin')
  const stopped = await rig.boot({ availability_zone: 'nova:compute-1' }, 'admin')
  await rig.call('POST', `/servers/${stopped}/action`, { ...admin, body: { 'os-stop': null } })
  await rig.settle(stopped, 'SHUTOFF')
  const list = (await get('/os-hypervisors', '2.53')).body.hypervisors
  const one = list.find((each: { hypervisor_hostname: string }) => each.hypervisor_hostname === 'compute-1')
  const shown = (await get(`/os-hypervisors/${one.id}`, '2.87')).body.hypervisor
  assert.deepEqual(
    [shown.memory_mb, shown.memory_mb_used, shown.free_ram_mb, shown.vcpus, shown.vcpus_used],
    [2048, 1024, 1024, 2, 2],
  )
  assert.equal(shown.running_vms, 1, 'the one that is stopped has its memory, and does not run')
  assert.equal(shown.host_ip, '127.0.0.1')
  assert.ok(!('servers' in shown) && !('uptime' in shown))
  const withServers = await get(`/os-hypervisors/${one.id}?with_servers=1`, '2.53')
  assert.deepEqual(
    withServers.body.hypervisor.servers.map((server: { uuid: string }) => server.uuid),
    [id, stopped],
  )
  const modern = (await get(`/os-hypervisors/${one.id}`, '2.88')).body.hypervisor
  assert.match(
    modern.uptime,
    /^\d\d:\d\d:\d\d up 1 day, {2}1:01, {2}0 users, {2}load average: 0.50, 0.25, 0.13$/,
  )
  assert.ok(!('memory_mb' in modern) && !('cpu_info' in modern))
  const uptime = await get(`/os-hypervisors/${one.id}/uptime`, '2.53')
  assert.equal(uptime.body.hypervisor.hypervisor_hostname, 'compute-1')
  assert.match(uptime.body.hypervisor.uptime, / up 1 day, /)
  assert.equal((await get(`/os-hypervisors/${one.id}/uptime`, '2.88')).status, 404)

  const stats = (await get('/os-hypervisors/statistics', '2.53')).body.hypervisor_statistics
  assert.deepEqual([stats.count, stats.running_vms, stats.memory_mb_used], [3, 1, 1024])
  assert.equal(stats.memory_mb, 16384, 'what their one machine has')
  assert.equal((await get('/os-hypervisors/statistics', '2.88')).status, 404)
  assert.equal((await get('/os-hypervisors/statistics', '2.53', 'member')).status, 403)
})

test('hypervisors: found by number and pattern before 2.53, by UUID and parameter since', async () => {
  const numbered = (await get('/os-hypervisors', '2.52')).body.hypervisors[0]
  assert.equal(typeof numbered.id, 'number')
  assert.equal((await get(`/os-hypervisors/${numbered.id}`, '2.52')).status, 200)
  assert.equal((await get(`/os-hypervisors/${numbered.id}/uptime`, '2.52')).status, 200)
  assert.equal(
    (await get(`/os-hypervisors/${numbered.id}`, '2.53')).status,
    404,
    'clients look it up by name then',
  )
  const search = await get('/os-hypervisors/compute/search', '2.52')
  assert.equal(search.body.hypervisors.length, 3)
  const servers = (await get('/os-hypervisors/compute/servers', '2.52')).body.hypervisors
  assert.deepEqual(
    servers.map((each: { servers?: unknown[] }) => each.servers?.length),
    [2, undefined, undefined],
  )
  for (const path of ['search', 'servers']) {
    const none = await get(`/os-hypervisors/mars/${path}`, '2.52')
    assert.equal(none.status, 404)
    assert.match(message(none), /No hypervisor matching 'mars' could be found/)
    assert.equal((await get(`/os-hypervisors/compute/${path}`, '2.53')).status, 404)
  }
  const with275 = (await get('/os-hypervisors?with_servers=true', '2.75')).body.hypervisors
  assert.deepEqual(
    with275.map((each: { servers: unknown[] }) => each.servers.length),
    [2, 0, 0],
  )
  assert.equal((await get('/os-hypervisors?with_servers=maybe', '2.53')).status, 400)
  assert.equal((await get('/os-hypervisors?colour=red', '2.53')).status, 400)
  const absent = await get('/os-hypervisors/00000000-0000-4000-8000-000000000000')
  assert.equal(absent.status, 404)
})

test('a host that is down says so, and its uptime is not known', async () => {
  const { id } = await serviceOf('compute-3')
  await put(`/os-services/${id}`, { forced_down: true })
  const shown = (await get('/os-hypervisors/detail', '2.88')).body.hypervisors[2]
  assert.deepEqual([shown.state, shown.uptime, shown.host_ip], ['down', null, '192.0.2.7'])
  const uptime = await get(`/os-hypervisors/${shown.id}/uptime`, '2.87')
  assert.equal(uptime.status, 501, 'clients go on without it')
  await put(`/os-services/${id}`, { forced_down: false })
})

test('hosts, as they were until 2.42', async () => {
  const { hosts } = (await get('/os-hosts', '2.42')).body
  assert.deepEqual(
    hosts.find((each: { service: string }) => each.service === 'compute'),
    { host_name: 'compute-1', service: 'compute', zone: 'nova' },
  )
  const east = (await get('/os-hosts?zone=east', '2.1')).body.hosts
  assert.deepEqual(
    east.map((each: { host_name: string }) => each.host_name),
    ['compute-3'],
  )
  const { host } = (await get('/os-hosts/compute-1', '2.42')).body
  const resources = host.map((each: { resource: object }) => each.resource)
  const at = { host: 'compute-1' }
  assert.deepEqual(resources, [
    { ...at, project: '(total)', cpu: 2, memory_mb: 2048, disk_gb: 200 },
    { ...at, project: '(used_now)', cpu: 2, memory_mb: 1024, disk_gb: 2 },
    { ...at, project: '(used_max)', cpu: 2, memory_mb: 1024, disk_gb: 2 },
    { ...at, project: resources[3].project, cpu: 2, memory_mb: 1024, disk_gb: 2 },
  ])
  const absent = await get('/os-hosts/compute-9', '2.42')
  assert.equal(absent.status, 404)
  assert.match(message(absent), /Compute host compute-9 could not be found/)
  for (const path of ['/os-hosts', '/os-hosts/compute-1', '/os-hosts/compute-1/reboot']) {
    assert.equal((await get(path, '2.43')).status, 404)
    assert.equal((await get(path, '2.42', 'member')).status, 403)
  }
  assert.equal((await put('/os-hosts/compute-1', { status: 'disable' }, '2.42')).status, 501)
  assert.equal((await get('/os-hosts/compute-1/reboot', '2.42')).status, 501)
})

test('what is held back for a server on its way is used at its destination', async () => {
  const [first] = (await get('/servers?host=compute-1&all_tenants=1')).body.servers
  const migrations = serverMigrationRecords(rig.world.db)
  const { flavor } = buildingServer()
  const at = new Date().toISOString()
  await migrations.create({
    id: 'coming',
    serverId: first.id,
    kind: 'live-migration',
    status: 'preparing',
    sourceHost: 'compute-1',
    destHost: 'compute-2',
    oldFlavor: { ...flavor, id: '1' },
    newFlavor: { ...flavor, id: '1' },
    wasRunning: true,
    heads: {},
    vcpus: 1,
    memoryMib: 512,
    reserves: 'compute-2',
    operationId: null,
    userId: 'u',
    projectId: 'p',
    memoryTotal: null,
    memoryProcessed: null,
    memoryRemaining: null,
    downtimeMs: null,
    message: null,
    createdAt: at,
    updatedAt: at,
  })
  const used = async () => {
    const second = (await get('/os-hypervisors/detail', '2.87')).body.hypervisors[1]
    const { host } = (await get('/os-hosts/compute-2', '2.42')).body
    return [
      second.memory_mb_used,
      second.running_vms,
      ...host.map((each: never) => each['resource']['memory_mb']),
    ]
  }
  assert.deepEqual(await used(), [512, 0, 7168, 512, 0])
  await migrations.update('coming', { reserves: null })
  assert.deepEqual(await used(), [0, 0, 7168, 0, 0])
})

test('a zone is available where a host of it is enabled', async () => {
  const names = async (path: string, as = 'admin') =>
    (await get(path, undefined, as)).body.availabilityZoneInfo.map(
      (zone: { zoneName: string; zoneState: { available: boolean } }) =>
        `${zone.zoneName} ${String(zone.zoneState.available)}`,
    )
  assert.deepEqual(await names('/os-availability-zone', 'member'), ['east true', 'nova true'])
  assert.deepEqual(await names('/os-availability-zone/detail'), ['east true', 'internal true', 'nova true'])
  assert.equal((await get('/os-availability-zone/detail', undefined, 'member')).status, 403)
  const detail = (await get('/os-availability-zone/detail')).body.availabilityZoneInfo
  const [east] = detail
  assert.deepEqual(Object.keys(east.hosts), ['compute-3'])
  const state = east.hosts['compute-3']['nova-compute']
  assert.deepEqual([state.active, state.available], [true, true])

  const { id } = await serviceOf('compute-3')
  await put(`/os-services/${id}`, { status: 'disabled' })
  assert.deepEqual(await names('/os-availability-zone'), ['nova true', 'east false'])
  const refused = await create({ availability_zone: 'east' })
  assert.equal(refused.status, 400)
  assert.match(message(refused), /The requested availability zone is not available/)
  await put(`/os-services/${id}`, { status: 'enabled' })
})

test('a server is made in the zone, or on the host, that was asked for; its zone is its host’s', async () => {
  const place = async (zone: string) => {
    const made = await create({ availability_zone: zone })
    assert.equal(made.status, 202, JSON.stringify(made.body))
    const server = await rig.settle(made.body.server.id, 'ACTIVE')
    return [server?.['OS-EXT-SRV-ATTR:host'], server?.['OS-EXT-AZ:availability_zone'], server?.['id']]
  }
  const east = await place('east')
  assert.deepEqual(east.slice(0, 2), ['compute-3', 'east'])
  assert.deepEqual((await place('nova:compute-2')).slice(0, 2), ['compute-2', 'nova'])
  assert.deepEqual((await place(':compute-3')).slice(0, 2), ['compute-3', 'east'])

  const cases: [string, number, RegExp][] = [
    ['mars', 400, /The requested availability zone is not available/],
    ['internal', 400, /The requested availability zone is not available/],
    ['nova:compute-3', 400, /compute-3 is in availability zone east, not in nova/],
    ['mars:compute-3', 400, /compute-3 is in availability zone east, not in mars/],
    ['east:compute-9', 400, /Compute host compute-9 could not be found/],
    ['a:b:c:d', 400, /Unable to parse availability_zone/],
  ]
  for (const [zone, status, words] of cases) {
    const answer = await create({ availability_zone: zone })
    assert.equal(answer.status, status, zone)
    assert.match(message(answer), words)
  }
  assert.equal((await create({ availability_zone: 'east:compute-3' }, 'member')).status, 403)

  const listed = (await get('/servers?availability_zone=east&all_tenants=1')).body.servers
  assert.equal(listed.length, 2)
  assert.ok(listed.some((server: { id: string }) => server.id === east[2]))
  assert.deepEqual((await get('/servers?availability_zone=mars&all_tenants=1')).body.servers, [])
})
