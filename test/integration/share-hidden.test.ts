import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openShareRig, type ShareRig } from './share-rig.ts'
import { projectId } from './volume-rig.ts'

/** What a share stands on is nobody's volume: Cinder's answers are as they were without it. */
let rig: ShareRig
before(async () => {
  rig = await openShareRig()
})
after(() => rig.stop())

async function cinder(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) {
  const answer = await rig.app.inject({
    method,
    url: `/volume/v3/${projectId}${path}`,
    headers: {
      'x-auth-token': 'admin',
      host: 'volant.test',
      'openstack-api-version': 'volume 3.70',
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { payload: JSON.stringify(body) }),
  })
  return { status: answer.statusCode, body: answer.body === '' ? null : answer.json() }
}

const lists = [
  '/volumes/detail?all_tenants=1',
  '/volumes/detail?all_tenants=1&with_count=true',
  '/volumes/summary?all_tenants=1',
  '/snapshots/detail?all_tenants=1',
  '/snapshots?all_tenants=1&with_count=true',
  '/attachments/detail?all_tenants=1',
  '/limits',
  `/os-quota-sets/${projectId}?usage=True`,
  '/scheduler-stats/get_pools?detail=True',
  '/messages?all_tenants=1',
  '/os-services',
]

/** Without what changes with the time. */
const still = (value: unknown): string =>
  JSON.stringify(value).replaceAll(/"\d{4}-\d\d-\d\dT[\d:.]+Z?"/g, '""')

async function seen(): Promise<Record<string, string>> {
  const all: Record<string, string> = {}
  for (const path of lists) {
    const { status, body } = await cinder('GET', path)
    assert.equal(status, 200, `${path}: ${JSON.stringify(body)}`)
    all[path] = still(body)
  }
  return all
}

/** A share with a snapshot, and the ids of what it stands on. */
async function makeShare() {
  const { id } = await rig.create({ size: 7 })
  const { body } = await rig.call('POST', '/snapshots', { body: { snapshot: { share_id: id, name: 's' } } })
  const snapshotId = String(body.snapshot.id)
  await rig.until(`/snapshots/${snapshotId}`, 'snapshot', { status: 'available' })
  await rig.idle(`snapshot/${snapshotId}`)
  const row = (table: 'volumes' | 'attachments' | 'flexvols') =>
    rig.world.db.selectFrom(table).select('id').where('share_id', '=', id).executeTakeFirstOrThrow()
  const flexvol = await rig.world.records.flexvols.get((await row('flexvols')).id)
  return {
    id,
    snapshotId,
    volumeId: (await row('volumes')).id,
    attachmentId: (await row('attachments')).id,
    flexvol,
  }
}

test('lists, counts, limits, quotas and pools are the same with a share as without', async () => {
  const without = await seen()
  await makeShare()
  assert.deepEqual(await seen(), without)
})

test('what it stands on is found by no id: 404 for all that can be asked of it, and nothing changes', async () => {
  const { id, volumeId, snapshotId, attachmentId } = await makeShare()
  const rows = () =>
    Promise.all(
      (['shares', 'volumes', 'snapshots', 'attachments', 'copies', 'flexvols'] as const).map((table) =>
        rig.world.db.selectFrom(table).selectAll().execute(),
      ),
    )
  const before = await rows()
  const act = (body: unknown) => cinder('POST', `/volumes/${volumeId}/action`, body)
  const asked = {
    show: cinder('GET', `/volumes/${volumeId}`),
    rename: cinder('PUT', `/volumes/${volumeId}`, { volume: { name: 'mine' } }),
    delete: cinder('DELETE', `/volumes/${volumeId}`),
    metadata: cinder('GET', `/volumes/${volumeId}/metadata`),
    extend: act({ 'os-extend': { new_size: 9 } }),
    reset: act({ 'os-reset_status': { status: 'error' } }),
    forceDelete: act({ 'os-force_delete': {} }),
    reserve: act({ 'os-reserve': null }),
    snapshot: cinder('POST', '/snapshots', { snapshot: { volume_id: volumeId, force: true } }),
    showSnapshot: cinder('GET', `/snapshots/${snapshotId}`),
    renameSnapshot: cinder('PUT', `/snapshots/${snapshotId}`, { snapshot: { name: 'mine' } }),
    deleteSnapshot: cinder('DELETE', `/snapshots/${snapshotId}`),
    resetSnapshot: cinder('POST', `/snapshots/${snapshotId}/action`, {
      'os-reset_status': { status: 'error' },
    }),
    fromSnapshot: cinder('POST', '/volumes', { volume: { size: 8, snapshot_id: snapshotId } }),
    fromVolume: cinder('POST', '/volumes', { volume: { size: 8, source_volid: volumeId } }),
    showAttachment: cinder('GET', `/attachments/${attachmentId}`),
    deleteAttachment: cinder('DELETE', `/attachments/${attachmentId}`),
    completeAttachment: cinder('POST', `/attachments/${attachmentId}/action`, { 'os-complete': {} }),
    volumeMarker: cinder('GET', `/volumes/detail?all_tenants=1&marker=${volumeId}`),
    attachmentMarker: cinder('GET', `/attachments/detail?all_tenants=1&marker=${attachmentId}`),
    snapshotMarker: cinder('GET', `/snapshots/detail?all_tenants=1&marker=${snapshotId}`),
  }
  for (const [what, answer] of Object.entries(asked)) {
    const { status, body } = await answer
    assert.equal(status, 404, `${what}: ${status} ${JSON.stringify(body)}`)
  }
  assert.deepEqual(await rows(), before)
  await rig.until(`/shares/${id}`, 'share', { status: 'available' })
})

test('no volume is made in its FlexVol, though a type names it', async () => {
  const { flexvol } = await makeShare()
  const { body } = await cinder('GET', '/scheduler-stats/get_pools')
  assert.ok(!JSON.stringify(body).includes(flexvol.junctionPath))
  const type = await cinder('POST', '/types', {
    volume_type: { name: 'there', extra_specs: { pool_name: `${flexvol.lif}:${flexvol.junctionPath}` } },
  })
  assert.equal(type.status, 200, JSON.stringify(type.body))
  const made = await cinder('POST', '/volumes', { volume: { size: 1, volume_type: 'there' } })
  assert.equal(made.status, 202, JSON.stringify(made.body))
  const volume = async () => (await cinder('GET', `/volumes/${made.body.volume.id}`)).body.volume
  for (let look = 0; look < 2000 && (await volume()).status === 'creating'; look++) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  assert.equal((await volume()).status, 'error', 'no pool has that name')
  const copies = await rig.world.records.copies.ofFlexVol(flexvol.id)
  assert.equal(copies.filter(({ state }) => state === 'live').length, 2, 'the share and its snapshot alone')
})
