import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'

const withRig = (name: string, hosts: string[], tests: (rig: () => ComputeRig) => void): void => {
  describe(name, () => {
    let rig: ComputeRig
    before(async () => {
      rig = await openComputeRig({ hosts })
    })
    after(() => rig.stop())
    tests(() => rig)
  })
}

const request = (fields: object = {}) => ({
  server: { name: 's', flavorRef: '6', imageRef: probeImage, networks: 'none', ...fields },
})

withRig('versions', ['compute-1'], (rig) => {
  test('discovery needs no token, and links lead to the address that was asked', async () => {
    const root = await rig().app.inject({ method: 'GET', url: '/compute', headers: { host: 'v.test:1' } })
    assert.equal(root.statusCode, 200)
    const [version] = root.json().versions
    assert.deepEqual([version.version, version.min_version, version.status], ['2.93', '2.1', 'CURRENT'])
    assert.equal(version.links[0].href, 'http://v.test:1/compute/v2.1/')
    const one = await rig().app.inject({ method: 'GET', url: '/compute/v2.1/', headers: { host: 'v' } })
    assert.equal(one.json().version.id, 'v2.1')
  })

  test('both headers are read and echoed; what there is not is 406, what is none is 400', async () => {
    const ask = (headers: Record<string, string>) =>
      rig().app.inject({
        method: 'GET',
        url: '/compute/v2.1/flavors',
        headers: { host: 'v', 'x-auth-token': 'member', ...headers },
      })
    const modern = await ask({ 'openstack-api-version': 'compute 2.60' })
    assert.equal(modern.headers['openstack-api-version'], 'compute 2.60')
    assert.equal(modern.headers['x-openstack-nova-api-version'], '2.60')
    assert.match(String(modern.headers['vary']), /OpenStack-API-Version, X-OpenStack-Nova-API-Version/)
    const legacy = await ask({ 'x-openstack-nova-api-version': '2.55' })
    assert.equal(legacy.headers['openstack-api-version'], 'compute 2.55')
    const latest = await ask({ 'openstack-api-version': 'compute latest' })
    assert.equal(latest.headers['openstack-api-version'], 'compute 2.93')
    assert.equal((await ask({})).headers['openstack-api-version'], 'compute 2.1')
    const tooNew = await ask({ 'openstack-api-version': 'compute 2.94' })
    assert.equal(tooNew.statusCode, 406)
    assert.match(tooNew.json().computeFault.message, /Minimum is 2.1 and maximum is 2.93/)
    assert.equal((await ask({ 'openstack-api-version': 'compute two' })).statusCode, 400)
    const stranger = await ask({ 'x-auth-token': 'nobody' })
    assert.equal(stranger.statusCode, 401)
    assert.equal(stranger.json().error.code, 401)
  })

  test('a server looks as its microversion had it', async () => {
    const id = await rig().boot()
    const show = async (version: string, as = 'member') =>
      (await rig().call('GET', `/servers/${id}`, { version, as })).body.server
    const oldest = await show('2.1')
    assert.equal(oldest.flavor.id, '1')
    for (const field of ['locked', 'description', 'tags', 'host_status', 'server_groups']) {
      assert.ok(!(field in oldest), field)
    }
    const newest = await show('2.93')
    assert.equal(newest.flavor.original_name, 'm1.tiny')
    assert.equal(newest.locked, false)
    assert.deepEqual(newest.tags, [])
    assert.deepEqual(newest.server_groups, [])
    assert.equal(newest.locked_reason, null)
    assert.equal(newest['OS-EXT-SRV-ATTR:hostname'], 's')
    assert.ok(!('OS-EXT-SRV-ATTR:host' in newest), 'where it is, is the administrator’s to know')
    const administered = await show('2.93', 'admin')
    assert.equal(administered['OS-EXT-SRV-ATTR:hypervisor_hostname'], 'compute-1')
    assert.equal(administered.host_status, 'UP')
    const put = await rig().call('PUT', `/servers/${id}`, {
      version: '2.18',
      body: { server: { description: 'x' } },
    })
    assert.equal(put.status, 400, 'description came with 2.19')
  })
})

withRig('placement', ['compute-1', 'compute-2'], (rig) => {
  test('servers spread, a disabled host gets none, and without a host a server is in ERROR', async () => {
    const hostOf = async (id: string) =>
      (await rig().call('GET', `/servers/${id}`, { as: 'admin' })).body.server['OS-EXT-SRV-ATTR:host']
    assert.equal(await hostOf(await rig().boot()), 'compute-1')
    assert.equal(await hostOf(await rig().boot()), 'compute-2')

    const services = (await rig().call('GET', '/os-services', { as: 'admin' })).body.services
    const binaries = services.map((s: { binary: string; host: string }) => `${s.binary} ${s.host}`)
    assert.deepEqual(binaries.sort(), [
      'nova-compute compute-1',
      'nova-compute compute-2',
      'nova-conductor testhost',
      'nova-scheduler testhost',
    ])
    const first = services.find((s: { host: string }) => s.host === 'compute-1')
    const disabled = await rig().call('PUT', `/os-services/${first.id}`, {
      as: 'admin',
      body: { status: 'disabled', disabled_reason: 'maintenance' },
    })
    assert.equal(disabled.body.service.disabled_reason, 'maintenance')
    for (let i = 0; i < 3; i += 1) assert.equal(await hostOf(await rig().boot()), 'compute-2')

    const down = await rig().call('PUT', '/os-services/force-down', {
      as: 'admin',
      version: '2.11',
      body: { host: 'compute-2', binary: 'nova-compute', forced_down: true },
    })
    assert.equal(down.status, 200)
    const made = await rig().call('POST', '/servers', { body: request() })
    const failed = await rig().settle(made.body.server.id, 'ERROR')
    const fault = failed?.['fault'] as { message: string; code: number }
    assert.match(fault.message, /^No valid host was found\./)
    const action = await rig().call('POST', `/servers/${made.body.server.id}/action`, {
      body: { 'os-start': null },
    })
    assert.equal(action.status, 409)
    assert.equal((await rig().call('DELETE', `/servers/${made.body.server.id}`)).status, 204)
    await rig().settle(made.body.server.id, 'DELETED')

    for (const [host, body] of [
      ['compute-1', { status: 'enabled' }],
      ['compute-2', { forced_down: false }],
    ] as const) {
      const { id } = services.find((s: { host: string }) => s.host === host)
      assert.equal((await rig().call('PUT', `/os-services/${id}`, { as: 'admin', body })).status, 200)
    }
    const forbidden = await rig().call('PUT', `/os-services/${first.id}`, { body: { status: 'disabled' } })
    assert.equal(forbidden.status, 403)
  })

  test('an administrator chooses the host, others may not, and it must be there', async () => {
    const forced = request({ availability_zone: 'nova:compute-2' })
    assert.equal((await rig().call('POST', '/servers', { body: forced })).status, 403)
    const made = await rig().call('POST', '/servers', { as: 'admin', body: forced })
    const server = await rig().settle(made.body.server.id, 'ACTIVE')
    assert.equal(server?.['OS-EXT-SRV-ATTR:host'], 'compute-2')
    const absent = await rig().call('POST', '/servers', { as: 'admin', body: request({ host: 'compute-9' }) })
    assert.equal(absent.status, 400)
    assert.match(absent.body.badRequest.message, /Compute host compute-9 could not be found/)
  })

  test('hypervisors show what their servers use', async () => {
    const { body } = await rig().call('GET', '/os-hypervisors/detail', { as: 'admin', version: '2.87' })
    const [first, second] = body.hypervisors
    assert.equal(first.hypervisor_hostname, 'compute-1')
    assert.equal(first.state, 'up')
    assert.ok(second.running_vms >= 4)
    assert.equal(second.memory_mb_used, second.memory_mb - second.free_ram_mb)
    const found = await rig().call(
      'GET',
      '/os-hypervisors?hypervisor_hostname_pattern=compute-2&with_servers=true',
      { as: 'admin' },
    )
    assert.equal(found.body.hypervisors.length, 1)
    assert.equal(found.body.hypervisors[0].servers.length, second.running_vms)
    const one = await rig().call('GET', `/os-hypervisors/${first.id}`, { as: 'admin' })
    assert.equal(one.body.hypervisor.hypervisor_hostname, 'compute-1')
    const none = await rig().call('GET', '/os-hypervisors?hypervisor_hostname_pattern=xyz', { as: 'admin' })
    assert.equal(none.status, 404)
    assert.equal((await rig().call('GET', '/os-hypervisors')).status, 403)
  })
})

withRig('limits and flavors', ['compute-1'], (rig) => {
  test('a project does not use more than its quota', async () => {
    const project = '0123456789abcdef0123456789abcdef'
    const set = await rig().call('PUT', `/os-quota-sets/${project}`, {
      as: 'admin',
      body: { quota_set: { instances: 2, ram: '-1' } },
    })
    assert.equal(set.body.quota_set.instances, 2)
    await rig().boot({ flavorRef: '6' })
    const over = await rig().call('POST', '/servers', { body: request({ min_count: 2 }) })
    assert.equal(over.status, 403)
    assert.equal(
      over.body.forbidden.message,
      'Quota exceeded for instances: Requested 2, but already used 1 of 2 instances',
    )
    const some = await rig().call('POST', '/servers', { body: request({ min_count: 1, max_count: 5 }) })
    assert.equal(some.status, 202, 'as many as the quota allows')
    const { absolute } = (await rig().call('GET', '/limits')).body.limits
    assert.deepEqual(
      [absolute.totalInstancesUsed, absolute.maxTotalInstances, absolute.maxTotalRAMSize],
      [2, 2, -1],
    )
    const low = await rig().call('PUT', `/os-quota-sets/${project}`, {
      as: 'admin',
      body: { quota_set: { instances: 1 } },
    })
    assert.equal(low.status, 400)
    assert.equal((await rig().call('DELETE', `/os-quota-sets/${project}`, { as: 'admin' })).status, 202)
    const shown = await rig().call('GET', `/os-quota-sets/${project}`)
    assert.equal(shown.body.quota_set.instances, 10)
    const foreign = await rig().call('GET', `/os-quota-sets/${'f'.repeat(32)}`)
    assert.equal(foreign.status, 403)
  })

  test('flavors: made, described, restricted to a project, deleted', async () => {
    const flavor = {
      name: 'gold',
      id: 'auto',
      ram: 256,
      vcpus: '2',
      disk: 3,
      'os-flavor-access:is_public': false,
    }
    assert.equal((await rig().call('POST', '/flavors', { body: { flavor } })).status, 403)
    const made = await rig().call('POST', '/flavors', { as: 'admin', body: { flavor } })
    assert.equal(made.status, 200)
    const { id } = made.body.flavor
    assert.deepEqual([made.body.flavor.vcpus, made.body.flavor.swap], [2, 0])
    const twice = await rig().call('POST', '/flavors', { as: 'admin', body: { flavor } })
    assert.equal(twice.status, 409)
    assert.equal((await rig().call('GET', `/flavors/${id}`)).status, 404, 'not for this project')
    const access = { addTenantAccess: { tenant: '0123456789abcdef0123456789abcdef' } }
    assert.equal(
      (await rig().call('POST', `/flavors/${id}/action`, { as: 'admin', body: access })).status,
      200,
    )
    assert.equal((await rig().call('GET', `/flavors/${id}`)).status, 200)
    const names = (await rig().call('GET', '/flavors')).body.flavors.map((f: { name: string }) => f.name)
    assert.ok(names.includes('gold') && names.includes('m1.tiny'))
    const specs = await rig().call('POST', `/flavors/${id}/os-extra_specs`, {
      as: 'admin',
      body: { extra_specs: { 'hw:cpu_policy': 'shared' } },
    })
    assert.equal(specs.body.extra_specs['hw:cpu_policy'], 'shared')
    assert.equal((await rig().call('DELETE', `/flavors/${id}`, { as: 'admin' })).status, 202)
    assert.equal((await rig().call('GET', `/flavors/${id}`, { as: 'admin' })).status, 404)
  })

  test('key pairs: made here or brought, and named at boot', async () => {
    const made = await rig().call('POST', '/os-keypairs', {
      version: '2.60',
      body: { keypair: { name: 'k1' } },
    })
    assert.equal(made.status, 201)
    assert.match(made.body.keypair.private_key, /^-----BEGIN OPENSSH PRIVATE KEY-----/)
    assert.match(made.body.keypair.fingerprint, /^([0-9a-f]{2}:){15}[0-9a-f]{2}$/)
    const again = await rig().call('POST', '/os-keypairs', {
      body: { keypair: { name: 'k1', public_key: made.body.keypair.public_key } },
    })
    assert.equal(again.status, 409)
    const id = await rig().boot({ key_name: 'k1', flavorRef: '6' })
    assert.equal((await rig().call('GET', `/servers/${id}`)).body.server.key_name, 'k1')
    assert.equal((await rig().call('DELETE', '/os-keypairs/k1')).status, 204)
    assert.equal((await rig().call('GET', '/os-keypairs/k1')).status, 404)
  })
})
