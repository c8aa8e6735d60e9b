/**
 * What the stock Cinder and Manila NetApp drivers ask of a cluster when they start, and each time they report their pools
 * (their REST clients' calls, as recorded in the reference): each has an answer of the form that they read.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { makeVolume } from '../../packages/control/src/testing/world.ts'
import { openOntapRig, svm, type OntapRig } from './ontap-rig.ts'

let rig: OntapRig
let uuid = ''
before(async () => {
  rig = await openOntapRig()
  uuid = rig.world.lma.id
  await makeVolume(rig.world, rig.world.lma, { attached: false })
})
after(() => rig.stop())

const name = 'cinder_flexvol_OSTK02'
const common = 'type=rw&style=flex*&is_svm_root=false&error_state.is_inconsistent=false&state=online'

/** Each by the path that the client sends, and what it reads of the first record (or of the answer itself). */
const calls: [path: string, reads: Record<string, unknown>][] = [
  ['/cluster/?fields=version', { 'version.generation': 9, 'version.major': 14, 'version.minor': 1 }],
  ['/cluster?fields=name', { name: 'cinder-lma' }],
  [
    '/cluster/nodes?fields=model,name,is_all_flash_optimized,is_all_flash_select_optimized',
    { model: 'Volant', name: 'lma-01', is_all_flash_optimized: false, is_all_flash_select_optimized: false },
  ],
  [`/storage/volumes/?${common}&fields=name,style`, { name, style: 'flexvol' }],
  [`/storage/volumes/?${common}&name=${name}&svm.name=${svm}&fields=name,style`, { name }],
  [`/storage/volumes/?${common}&nas.path=/${name}&fields=name,style,uuid`, { name }],
  [
    `/storage/volumes/?${common}&name=${name}&svm.name=${svm}&fields=aggregates.name,name,svm.name,nas.path,type,guarantee.honored,guarantee.type,space.snapshot.reserve_percent,space.size,qos.policy.name,snapshot_policy,language,style`,
    {
      'aggregates.0.name': 'aggr1',
      'svm.name': svm,
      'nas.path': `/${name}`,
      'guarantee.type': 'none',
      'guarantee.honored': true,
      'space.snapshot.reserve_percent': 0,
      'space.size': 2 ** 40,
      'snapshot_policy.name': 'none',
      language: 'c.utf_8',
    },
  ],
  [
    `/storage/volumes/?${common}&name=${name}&fields=name,space.available,space.afs_total`,
    { 'space.available': 2 ** 40, 'space.afs_total': 2 ** 40 },
  ],
  [`/storage/volumes/?name=${name}&fields=state`, { state: 'online' }],
  [`/storage/volumes/?nas.path=/${name}&fields=state`, { state: 'online' }],
  [
    `/storage/volumes?efficiency.volume_path=/vol/${name}&fields=efficiency.state,efficiency.compression`,
    { 'efficiency.state': 'disabled', 'efficiency.compression': 'none' },
  ],
  [`/storage/volumes?svm.name=${svm}&name=${name}&fields=consistency_group`, { name }],
  [
    '/storage/aggregates?name=aggr1&fields=name,block_storage.primary.raid_type,block_storage.storage_type,home_node.name',
    { 'home_node.name': 'lma-01', 'block_storage.primary.raid_type': 'raid0' },
  ],
  [
    '/storage/aggregates?name=aggr1|aggr2&fields=space.block_storage.available,space.block_storage.size,space.block_storage.used',
    { 'space.block_storage.available': 2 ** 40, 'space.block_storage.size': 2 ** 40 },
  ],
  ['/network/ip/interfaces/?state=up&fields=ip.address', { 'ip.address': '127.250.118.49' }],
  ['/network/ip/interfaces/?ip.address=127.250.118.49&fields=svm', { 'svm.name': svm }],
  ['/svm/svms?fields=name,aggregates.name', { name: svm, 'aggregates.0.name': 'aggr1' }],
]

/** Answers that must be empty, or only a number. */
const counted: [path: string, number: number][] = [
  ['/storage/aggregates?return_records=false', 2],
  ['/storage/disks?return_records=false', 0],
  ['/snapmirror/relationships?return_records=false', 0],
  ['/storage/volumes?return_records=false', 1],
  [`/storage/volumes?encryption.enabled=true&name=${name}&svm.name=${svm}&return_records=false`, 0],
  [`/snapmirror/relationships/?source.path=${svm}:${name}&state=snapmirrored&return_records=false`, 0],
  ['/storage/disks?aggregates.name=aggr1&fields=effective_type', 0],
  [`/storage/qos/policies?name=p&svm.name=${svm}&fields=uuid`, 0],
]

function at(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Record<string, unknown>)?.[key], value)
}

const ask = async (path: string) => {
  const query = path.includes('?') ? `${path}&max_records=10000` : path
  const answer = await rig.call('GET', `/api/${query}`, { headers: { 'X-Dot-SVM-Name': svm } })
  assert.equal(answer.status, 200, `${path}: ${JSON.stringify(answer.body)}`)
  return answer.body
}

for (const [path, reads] of calls) {
  test(`GET ${path}`, async () => {
    const body = await ask(path)
    const record: unknown = body.records === undefined ? body : body.records[0]
    for (const [field, expected] of Object.entries(reads))
      assert.deepEqual(at(record, field), expected, field)
  })
}

for (const [path, number] of counted) {
  test(`GET ${path} has ${number}`, async () => assert.equal((await ask(path)).num_records, number))
}

test('the files of a volume, and a driver’s report', async () => {
  const { records } = await ask(`/storage/volumes/${uuid}/files?type=file&fields=size,name`)
  assert.equal(records.length, 1)
  assert.match(records[0].name, /^volume-/)
  const report = {
    computer_name: 'c',
    event_source: 'Cinder',
    app_version: '1',
    severity: 'notice',
    event_id: 0,
  }
  const answer = await rig.call('POST', '/api//support/ems/application-logs', { body: report })
  assert.equal(answer.status, 201)
})

test('Manila’s volume move: validated, begun, watched', async () => {
  const query = `/api//storage/volumes/?name=${name}`
  const body = { 'movement.destination_aggregate.name': 'aggr2', 'encryption.enabled': 'false' }
  assert.equal((await rig.call('PATCH', query, { body: { ...body, validate_only: 'true' } })).status, 200)
  assert.deepEqual(rig.wishes, [])
  assert.equal((await rig.call('PATCH', query, { body: { ...body, 'movement.state': 'wait' } })).status, 202)
  const watched = await ask(
    `/storage/volumes/?name=${name}&svm.name=${svm}&fields=movement.percent_complete,movement.state`,
  )
  assert.deepEqual(watched.records[0].movement, { state: 'replicating', percent_complete: 41 })
  assert.equal((await rig.call('PATCH', query, { body: { 'movement.state': 'cutover' } })).status, 200)
  assert.equal(rig.wishes.at(-1)?.[0], 'trigger')
})
