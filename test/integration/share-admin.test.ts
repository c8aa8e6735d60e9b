import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { DomainError } from '@volant/contract'
import { openShareRig, type ShareRig } from './share-rig.ts'
import { otherProjectId, projectId } from './volume-rig.ts'

/** Types, quotas, pools, services and messages of shares. */
let rig: ShareRig
before(async () => {
  rig = await openShareRig()
})
after(() => rig.stop())

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'
const admin = (method: Method, path: string, body?: unknown, version = '2.75') =>
  rig.call(method, path, { as: 'admin', version, ...(body !== undefined && { body }) })

async function refused(
  answer: Promise<{ status: number; body: unknown }>,
  status: number,
  reason: RegExp,
): Promise<void> {
  const { status: got, body } = await answer
  assert.equal(got, status, JSON.stringify(body))
  assert.match(JSON.stringify(body), reason)
}

const typeBody = (name: string, specs: Record<string, unknown>, more: Record<string, unknown> = {}) => ({
  share_type: { name, extra_specs: { driver_handles_share_servers: 'False', ...specs }, ...more },
})

test('a type says what its shares can do; a user sees no more of it than that', async () => {
  const body = typeBody('plain', { 'netapp:thin': 'x', snapshot_support: false })
  const made = (await admin('POST', '/types', body)).body.share_type
  assert.deepEqual(made.extra_specs, {
    driver_handles_share_servers: 'False',
    'netapp:thin': 'x',
    snapshot_support: 'False',
  })
  const seen = (await rig.call('GET', `/types/${made.id}`)).body.share_type
  assert.deepEqual(seen.extra_specs, {
    driver_handles_share_servers: 'False',
    snapshot_support: 'False',
    create_share_from_snapshot_support: 'False',
    revert_to_snapshot_support: 'False',
    mount_snapshot_support: 'False',
  })
  const { id } = await rig.create({ share_type: 'plain' })
  await refused(
    rig.call('POST', '/snapshots', { body: { snapshot: { share_id: id } } }),
    422,
    /does not have that capability/,
  )
  await refused(admin('DELETE', `/types/${made.id}`), 400, /deletion is not allowed while shares/)
  await refused(admin('POST', '/types', typeBody('plain', {})), 409, /Share Type plain already exists/)
  await refused(rig.call('POST', '/types', { body: typeBody('mine', {}) }), 403, /share_type:create/)
  await refused(
    admin('POST', '/types', { share_type: { name: 'x' } }),
    400,
    /driver_handles_share_servers is required/,
  )
  await refused(admin('POST', '/types', typeBody('x', { snapshot_support: 'perhaps' })), 400, /True or False/)
  await refused(
    admin('POST', '/types', typeBody('x', { snapshot_support: false, mount_snapshot_support: true })),
    400,
    /mount_snapshot_support=True needs snapshot_support=True/,
  )
  const specs = `/types/${made.id}/extra_specs`
  await refused(admin('DELETE', `${specs}/driver_handles_share_servers`), 403, /can't be deleted/)
  await refused(admin('DELETE', `${specs}/nope`), 404, /has no extra specs with key nope/)
  const fallback = (await rig.call('GET', '/types/default')).body.share_type
  assert.deepEqual([fallback.name, fallback.is_default], ['default', true])
  await refused(admin('DELETE', `/types/${fallback.id}`), 400, /cannot be deleted/)
})

test('a private type is for the projects that were given it', async () => {
  const body = typeBody('secret', {}, { 'share_type_access:is_public': false })
  const { id } = (await admin('POST', '/types', body)).body.share_type
  const named = async (as: string) =>
    (await rig.call('GET', '/types', { as })).body.share_types.map((type: { name: string }) => type.name)
  assert.ok(!(await named('other')).includes('secret'))
  await refused(rig.call('GET', `/types/${id}`, { as: 'other' }), 404, /could not be found/)
  const share = { share: { share_proto: 'NFS', size: 1, share_type: 'secret' } }
  await refused(rig.call('POST', '/shares', { as: 'other', body: share }), 404, /Share type not found/)
  const give = { addProjectAccess: { project: otherProjectId } }
  assert.equal((await admin('POST', `/types/${id}/action`, give)).status, 202)
  await refused(admin('POST', `/types/${id}/action`, give), 409, /already exists/)
  assert.ok((await named('other')).includes('secret'))
  assert.deepEqual((await admin('GET', `/types/${id}/share_type_access`)).body.share_type_access, [
    { share_type_id: id, project_id: otherProjectId },
  ])
  await admin('POST', `/types/${id}/action`, { removeProjectAccess: { project: otherProjectId } })
  await refused(rig.call('GET', `/types/${id}`, { as: 'other' }), 404, /could not be found/)
})

test('quotas hold: of the project, of a user and of a type within it, and for one share', async () => {
  const set = (quota_set: Record<string, unknown>, query = '') =>
    admin('PUT', `/quota-sets/${otherProjectId}${query}`, { quota_set })
  const create = (fields: Record<string, unknown>) =>
    rig.call('POST', '/shares', { as: 'other', body: { share: { share_proto: 'NFS', size: 1, ...fields } } })
  const { id } = await rig.create({ size: 2 }, 'other')
  assert.equal((await set({ shares: 1 })).body.quota_set.shares, 1)
  await refused(create({}), 413, /Maximum number of shares allowed \(1\)/)
  await set({ shares: 5, gigabytes: 3, per_share_gigabytes: 4 })
  await refused(
    create({ size: 2 }),
    413,
    /gigabytes quota\. Requested 2G, quota is 3G and 2G has been consumed/,
  )
  await refused(create({ size: 5 }), 413, /larger than maximum allowed limit 4/)
  const grow = (new_size: number) =>
    rig.call('POST', `/shares/${id}/action`, { as: 'other', body: { extend: { new_size } } })
  await refused(grow(4), 413, /gigabytes quota/)
  assert.equal((await rig.call('GET', `/shares/${id}`, { as: 'other' })).body.share.status, 'available')
  await refused(set({ gigabytes: 1 }), 400, /already used and reserved 2/)
  await refused(set({ gigabytes: 9 }, '?share_type=default'), 400, /less than or equal to the project's, 3/)
  assert.equal((await set({ gigabytes: 2 }, '?share_type=default')).status, 200)
  await refused(create({}), 413, /quota is 2G/)
  await admin('DELETE', `/quota-sets/${otherProjectId}?share_type=default`)
  assert.equal((await set({ shares: 1 }, '?user_id=d4')).status, 200)
  await refused(create({}), 413, /Maximum number of shares allowed \(1\)/)
  await refused(set({ colours: 1 }), 400, /Bad key/)
  await refused(set({ shares: 'many' }), 400, /whole number/)
  const detail = (await admin('GET', `/quota-sets/${otherProjectId}/detail`)).body.quota_set
  assert.deepEqual(detail.gigabytes, { limit: 3, in_use: 2, reserved: 0 })
  await set({ snapshots: 0 })
  await refused(
    rig.call('POST', '/snapshots', { as: 'other', body: { snapshot: { share_id: id } } }),
    413,
    /Maximum number of snapshots allowed \(0\)/,
  )
  assert.equal((await admin('DELETE', `/quota-sets/${otherProjectId}`)).status, 202)
  assert.equal((await admin('GET', `/quota-sets/${otherProjectId}`)).body.quota_set.shares, 50)
  await refused(rig.call('GET', `/quota-sets/${otherProjectId}`), 403, /quota_set:show/)
  const { absolute } = (await rig.call('GET', '/limits', { as: 'other' })).body.limits
  assert.deepEqual([absolute.totalSharesUsed, absolute.totalShareGigabytesUsed], [1, 2])
  // Cinder's quotas know nothing of it.
  const cinder = await rig.app.inject({
    method: 'GET',
    url: `/volume/v3/${otherProjectId}/os-quota-sets/${otherProjectId}?usage=true`,
    headers: { 'x-auth-token': 'other', host: 'volant.test' },
  })
  assert.deepEqual(cinder.json().quota_set.gigabytes.in_use, 0)
})

test('requests at the same time do not exceed a quota together', async () => {
  await admin('PUT', `/quota-sets/${projectId}`, { quota_set: { shares: -1, force: true } })
  const { in_use: used } = (await admin('GET', `/quota-sets/${projectId}/detail`)).body.quota_set.shares
  await admin('PUT', `/quota-sets/${projectId}`, { quota_set: { shares: used + 2 } })
  const answers = await Promise.all(
    Array.from({ length: 6 }, () =>
      rig.call('POST', '/shares', { body: { share: { share_proto: 'NFS', size: 1 } } }),
    ),
  )
  assert.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 200, 413, 413, 413, 413])
  for (const { status, body } of answers) {
    if (status === 200) await rig.until(`/shares/${body.share.id}`, 'share', { status: 'available' })
  }
})

test('pools are the aggregates, with what is true of them; no Cinder pool is a share', async () => {
  const pools = (await admin('GET', '/scheduler-stats/pools')).body.pools
  assert.deepEqual(
    pools.map((pool: { name: string }) => pool.name),
    ['manila-lma#aggr1', 'manila-lma#aggr2', 'manila-lmb#aggr1', 'manila-lmb#aggr2'].map(
      (one) => `testhost@${one}`,
    ),
  )
  const detail = (await admin('GET', '/scheduler-stats/pools/detail?pool=aggr.*&backend=manila-lma')).body
    .pools
  assert.equal(detail.length, 2)
  const { capabilities } = detail[0]
  assert.equal(capabilities.total_capacity_gb, 1024)
  assert.equal(capabilities.share_backend_name, 'manila-lma')
  assert.equal(capabilities.driver_handles_share_servers, false)
  assert.equal((await admin('GET', '/scheduler-stats/pools?pool=2')).body.pools.length, 0)
  await refused(rig.call('GET', '/scheduler-stats/pools'), 403, /scheduler_stats:pools:index/)
  const cinder = await rig.app.inject({
    method: 'GET',
    url: `/volume/v3/${projectId}/scheduler-stats/get_pools`,
    headers: { 'x-auth-token': 'admin', host: 'volant.test' },
  })
  assert.equal(cinder.json().pools.length, 2)
  const volumes = await rig.app.inject({
    method: 'GET',
    url: `/volume/v3/${projectId}/volumes?all_tenants=1`,
    headers: { 'x-auth-token': 'admin', host: 'volant.test' },
  })
  assert.deepEqual(volumes.json().volumes, [])
})

test('a backend that is disabled, or cannot serve shares, gets no new one', async () => {
  const change = (action: string, body: Record<string, unknown>, version = '2.75') =>
    admin('PUT', `/services/${action}`, { binary: 'manila-share', ...body }, version)
  for (const backend of ['manila-lma', 'manila-lmb']) await change('disable', { host: `testhost@${backend}` })
  const create = () =>
    rig.call('POST', '/shares', { as: 'other', body: { share: { share_proto: 'NFS', size: 1 } } })
  await refused(create(), 400, /No valid host was found.*its service is disabled/)
  for (const backend of ['manila-lma', 'manila-lmb']) await change('enable', { host: `testhost@${backend}` })
  for (const node of ['lma-01', 'lmb-01']) {
    rig.world.agents.shares(node).failNext('missing', new DomainError('unavailable', `node ${node} is away`))
  }
  await refused(create(), 400, /manila-lma#aggr1: it cannot be used: node lma-01 is away/)
  const reason = await change('disable', { host: 'testhost@manila-lma', disabled_reason: 'cleaning' }, '2.83')
  assert.equal(reason.body.disabled_reason, 'cleaning')
  await change('enable', { host: 'testhost@manila-lma' })
  await refused(change('disable', { host: 'testhost@nope' }), 404, /could not be found/)
  await refused(
    change('disable', { host: 'testhost', binary: 'manila-scheduler' }),
    400,
    /cannot be disabled/,
  )
  await refused(change('explode', { host: 'testhost@manila-lma' }), 404, /Unknown action/)
})
