/** A share as the REST API of its cluster shows it: a FlexVol with a junction path, an NFS service, connected clients. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Share } from '../../packages/control/src/domain/share.ts'
import { makeShare, sharePorts } from '../../packages/control/src/testing/shares.ts'
import { aggregateUuid, openOntapRig, svm, type OntapRig } from './ontap-rig.ts'

let rig: OntapRig
let share: Share
let name = ''
before(async () => {
  rig = await openOntapRig()
})
after(() => rig.stop())

// oxlint-disable-next-line typescript/no-explicit-any -- what a test reads of an answer it asserts
const get = async (path: string): Promise<any> => {
  const { status, body } = await rig.call('GET', `/api${path}`)
  assert.equal(status, 200, JSON.stringify(body))
  return body
}

test('a cluster that serves no shares has no NFS service, and no clients', async () => {
  assert.deepEqual((await get('/protocols/nfs/services')).records, [])
  assert.deepEqual((await get('/protocols/nfs/connected-clients')).records, [])
})

/** What Ansible's na_ontap_volume asks for before it does anything, with its comma at the end. */
const asked =
  'encryption.enabled,tiering.policy,nas.export_policy.name,aggregates.name,aggregates.uuid,uuid,nas.path,style,type,comment,' +
  'qos.policy.name,nas.security_style,nas.gid,nas.unix_permissions,nas.uid,snapshot_policy,space.snapshot.reserve_percent,' +
  'space.size,guarantee.type,state,efficiency.compression,snaplock,files.maximum,space.logical_space.enforcement,' +
  'space.logical_space.reporting,efficiency.policy.name,tiering.min_cooling_days,analytics,_tags,'

test('a share is a FlexVol with its junction path, its size, and a policy of its own', async () => {
  const ports = sharePorts(rig.world)
  share = await makeShare(ports)
  name = `share_${share.id.replaceAll('-', '_')}`
  const { records } = await get(`/storage/volumes?name=${name}&svm.name=${svm}&fields=${asked}`)
  assert.equal(records.length, 1)
  const [volume] = records
  assert.deepEqual(volume.nas, {
    path: `/${name}`,
    security_style: 'unix',
    export_policy: { name: `policy_${share.id.replaceAll('-', '_')}` },
  })
  assert.deepEqual(volume.aggregates, [{ name: 'aggr1', uuid: aggregateUuid('aggr1') }])
  assert.deepEqual([volume.type, volume.style, volume.state], ['rw', 'flexvol', 'online'])
  assert.equal(volume.space.size, 2 * 2 ** 30, "the share's, not what the aggregate has")
  assert.equal(volume.comment, undefined)
  const pool = await get(`/storage/volumes?name=${rig.world.lma.name}&fields=nas`)
  assert.deepEqual(pool.records[0].nas, { path: rig.world.lma.junctionPath })
})

test('the NFS service is online while it serves, and clients are shown as far as they are known', async () => {
  const node = rig.world.agents.shares('lma-01')
  const [service] = (await get('/protocols/nfs/services?fields=*')).records
  assert.deepEqual([service.svm.name, service.state, service.protocol.v41_enabled], [svm, 'online', true])
  assert.equal((await get(`/protocols/nfs/services/${service.svm.uuid}`)).state, 'online')
  assert.equal((await rig.call('GET', '/api/protocols/nfs/services/nothing')).status, 404)
  const one = { svm, version: '4.1', shareIds: [share.id], lastSeen: new Date().toISOString() }
  node.setClients([
    { ...one, address: '10.0.0.1' },
    { ...one, address: '10.0.0.2', version: null, shareIds: [], lastSeen: null },
    { ...one, address: '10.0.0.3', svm: 'another' },
  ])
  const { records } = await get('/protocols/nfs/connected-clients?fields=*')
  assert.deepEqual(
    // oxlint-disable-next-line typescript/no-explicit-any -- as above
    records.map((record: any) => [record.client_ip, record.protocol, record.volume?.name]),
    [
      ['10.0.0.1', 'nfs4.1', name],
      ['10.0.0.2', undefined, undefined],
    ],
  )
  assert.match(records[0].idle_duration, /^PT[0-9]+S$/)
  const [first] = (await get(`/protocols/nfs/connected-clients?volume.name=${name}&fields=server_ip`)).records
  assert.equal(first.server_ip, '127.250.118.60')
  const unknown = await rig.call('GET', '/api/protocols/nfs/connected-clients?fields=colour')
  assert.deepEqual([unknown.status, unknown.body.error.code], [400, '262197'])
  await node.ensureNoShareExport({ fence: 9 }, share.id)
  assert.equal((await get('/protocols/nfs/services?fields=state')).records[0].state, 'offline')
})
