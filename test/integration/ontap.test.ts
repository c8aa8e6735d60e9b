import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { DomainError } from '@volant/contract'
import { makeVolume } from '../../packages/control/src/testing/world.ts'
import { aggregateUuid, openOntapRig, svm, type OntapReply, type OntapRig } from './ontap-rig.ts'

let rig: OntapRig
beforeEach(async () => {
  rig = await openOntapRig()
})
afterEach(() => rig.stop())

const volumes = '/api/storage/volumes'
const get = async (path: string) => (await rig.call('GET', path)).body
/** What a refusal says. */
const refusal = ({ status, body }: OntapReply) => [status, body.error?.code, body.error?.target]
const made = (fields: object = {}) => ({
  name: 'second',
  svm: { name: svm },
  aggregates: [{ name: 'aggr2' }],
  ...fields,
})
const pools = async () => (await rig.world.records.flexvols.list()).map(({ name }) => name).toSorted()

describe('who may', () => {
  const cases: [string, string | undefined][] = [
    ['nobody', undefined],
    ['another user', `Basic ${Buffer.from('root:the password').toString('base64')}`],
    ['a wrong password', `Basic ${Buffer.from('admin:a password').toString('base64')}`],
    ['a password that begins right', `Basic ${Buffer.from('admin:the passwor').toString('base64')}`],
    ['another scheme', 'Bearer abc'],
    ['nonsense', 'Basic %%%'],
  ]
  for (const [what, authorization] of cases) {
    test(`${what} is refused, also where nothing is`, async () => {
      for (const url of ['/api/cluster', '/api/storage/volumes', '/api/nothing', '/']) {
        const headers = authorization === undefined ? {} : { authorization }
        const answer = await rig.app.inject({ method: 'GET', url, headers })
        assert.deepEqual([answer.statusCode, answer.json().error.code], [401, '6691623'])
        assert.match(String(answer.headers['www-authenticate']), /^Basic realm=/)
      }
    })
  }

  test('an SVM may be named in the header, if it is there', async () => {
    const named = (name: string) => rig.call('GET', '/api/cluster', { headers: { 'x-dot-svm-name': name } })
    assert.equal((await named(svm)).status, 200)
    assert.deepEqual(refusal(await named('svm_of_others')), [404, '2621462', 'svm'])
  })
})

describe('reading', () => {
  test('paths with doubled and trailing slashes', async () => {
    for (const path of ['/api//storage/volumes', '//api/storage//volumes/', '/api/storage/volumes/']) {
      assert.equal((await get(path)).num_records, 1, path)
    }
  })

  test('an unknown path is code 3, an unknown record code 4', async () => {
    const nowhere = await rig.call('GET', '/api/storage/shelves')
    assert.deepEqual(refusal(nowhere), [404, '3', undefined])
    for (const [method, path] of [
      ['POST', '/svm/svms'],
      ['PATCH', '/svm/svms/x'],
      ['DELETE', '/cluster/nodes/x'],
      ['POST', '/snapmirror/relationships'],
      ['PATCH', '/cluster'],
    ] as const) {
      assert.deepEqual(
        refusal(await rig.call(method, `/api${path}`, { body: {} })),
        [405, '3', undefined],
        path,
      )
    }
    for (const path of [
      'storage/volumes',
      'storage/aggregates',
      'cluster/nodes',
      'cluster/jobs',
      'svm/svms',
    ]) {
      const none = await rig.call('GET', `/api/${path}/00000000-0000-0000-0000-000000000000`)
      assert.deepEqual(refusal(none), [404, '4', 'uuid'], path)
      assert.match(none.body.error.message, /^entry doesn't exist/)
    }
  })

  test('aggregates with their true space', async () => {
    await makeVolume(rig.world, rig.world.lma, { attached: false })
    for (const image of rig.world.nodes.get('lma-01')?.images.values() ?? []) image.allocatedBytes = 5000
    const { records } = await get('/api/storage/aggregates?fields=space,home_node.name&order_by=name')
    assert.deepEqual(records[0].space.block_storage, {
      size: 2 ** 40,
      used: 5000,
      available: 2 ** 40 - 5000,
      used_percent: 0,
    })
    assert.equal(records[1].space.block_storage.available, 2 ** 30)
    assert.deepEqual(records[0].home_node, { name: 'lma-01' })
    const one = await get(`/api/storage/aggregates/${aggregateUuid('aggr2')}`)
    assert.deepEqual([one.name, one.state, one.volume_count], ['aggr2', 'online', 0])
  })

  test('volumes with what their images occupy and what is left for them', async () => {
    await makeVolume(rig.world, rig.world.lma, { attached: false })
    for (const image of rig.world.nodes.get('lma-01')?.images.values() ?? []) image.allocatedBytes = 5000
    const path = `${volumes}/${rig.world.lma.id}`
    const unlimited = await get(path)
    assert.equal(unlimited.space.used, 5000)
    assert.equal(unlimited.space.available, 2 ** 40 - 5000)
    assert.equal(unlimited.size, 2 ** 40)
    await rig.world.records.flexvols.update(rig.world.lma.id, { sizeBytes: 2 ** 30 })
    const limited = await get(path)
    assert.deepEqual([limited.size, limited.space.available], [2 ** 30, 2 ** 30 - 5000])
    assert.deepEqual(limited.nas, { path: '/cinder_flexvol_OSTK02' })
    assert.equal(limited.movement, undefined)
  })

  test('pages have an address of the next one that goes on', async () => {
    for (const name of ['b', 'c']) {
      await rig.call('POST', `${volumes}?return_timeout=60`, { body: made({ name }) })
    }
    const names: string[] = []
    let path: string | undefined = '/api//storage/volumes/?max_records=1&order_by=name&fields=name'
    while (path !== undefined) {
      const answer: { records: { name: string }[]; _links: { next?: { href: string } } } = await get(path)
      names.push(...answer.records.map((record) => record.name))
      path = answer._links.next?.href
      assert.ok(names.length <= 3, 'it goes on for ever')
    }
    assert.deepEqual(names, ['b', 'c', 'cinder_flexvol_OSTK02'])
    assert.deepEqual((await get(`${volumes}?return_records=false`)).num_records, 3)
  })

  test('an unknown field is refused by its name, unless those are ignored', async () => {
    assert.deepEqual(refusal(await rig.call('GET', `${volumes}?colour=red`)), [400, '262179', 'colour'])
    assert.deepEqual(refusal(await rig.call('GET', `${volumes}?fields=colour`)), [400, '262197', 'fields'])
    assert.equal(
      (await get(`${volumes}?fields=colour,size&colour=red&ignore_unknown_fields=true`)).num_records,
      1,
    )
  })

  test('the snapshots of the volumes in it', async () => {
    const volume = await makeVolume(rig.world, rig.world.lma, { attached: false })
    await rig.world.db
      .insertInto('snapshots')
      .values({
        id: 's1',
        volume_id: volume.id,
        project_id: 'p',
        user_id: 'u',
        name: 'monday',
        description: null,
        size_gib: 1,
        status: 'available',
        metadata: '{}',
        flexvol_id: rig.world.lma.id,
        image_id: null,
        method: 'clone',
        created_at: '2026-01-01T00:00:00.000Z',
        updated_at: null,
      })
      .execute()
    const path = `${volumes}/${rig.world.lma.id}/snapshots`
    const { records } = await get(`${path}?fields=*`)
    assert.deepEqual([records[0].name, records[0].state], ['snapshot-s1', 'valid'])
    assert.equal((await get(`${path}/s1`)).volume.name, 'cinder_flexvol_OSTK02')
    const post = await rig.call('POST', path, { body: { name: 'x' } })
    assert.equal(post.status, 405)
    assert.match(post.body.error.message, /cinder snapshot-create/)
    assert.equal((await rig.call('GET', `${volumes}/nothing/snapshots`)).status, 404)
    const files = await get(`${volumes}/${rig.world.lma.id}/files?type=file&fields=size,name`)
    assert.deepEqual(files.records, [{ name: `volume-${volume.id}`, type: 'file', size: 2 ** 30 }])
  })
})

describe('making a volume', () => {
  test('is a job, whose link is answered', async () => {
    const begun = await rig.call('POST', volumes, {
      body: made({ size: '50MB', nas: { path: '/data/second' } }),
    })
    assert.equal(begun.status, 202)
    const { uuid, _links } = begun.body.job
    assert.equal(_links.self.href, `/api/cluster/jobs/${uuid}`)
    await rig.executor.ended(uuid)
    const job = await get(_links.self.href)
    assert.equal(job.state, 'success')
    assert.equal(String(begun.headers['location']), job.description.replace('POST ', ''))
    const volume = await get(String(begun.headers['location']))
    assert.deepEqual(
      [volume.name, volume.size, volume.nas.path, volume.aggregates[0].name],
      ['second', 50 * 2 ** 20, '/data/second', 'aggr2'],
    )
    assert.equal((await get('/api/cluster/jobs?state=success&fields=description')).num_records, 1)
  })

  test('may be waited for, with the record', async () => {
    const path = `${volumes}?return_timeout=60&return_records=true`
    const done = await rig.call('POST', path, {
      body: made({ 'aggregates.name': 'aggr2', aggregates: undefined }),
    })
    assert.equal(done.status, 201)
    assert.deepEqual([done.body.num_records, done.body.records[0].nas.path], [1, '/second'])
  })

  test('that fails is told to who waits for it, as by the job', async () => {
    const broken = () => new DomainError('conflict', 'The folder is there, and is not a FlexVol.')
    for (const name of ['a', 'b']) {
      rig.world.nodes.get('lma-01')?.failNext('ensureFlexVol', broken())
      const answer = await rig.call('POST', `${volumes}?return_timeout=${name === 'a' ? 60 : 0}`, {
        body: made({ name }),
      })
      if (name === 'a') {
        assert.deepEqual(refusal(answer), [409, '8', undefined])
        assert.match(answer.body.error.message, /is not a FlexVol/)
      } else {
        const { uuid } = answer.body.job
        await rig.executor.ended(uuid)
        const job = await get(`/api/cluster/jobs/${uuid}`)
        assert.deepEqual([job.state, job.error.code, job.code], ['failure', '8', 8])
        assert.match(job.error.message, /is not a FlexVol/)
      }
    }
    assert.deepEqual(await pools(), ['cinder_flexvol_OSTK02', 'cinder_flexvol_OSTK09'])
  })

  const refused: [what: string, body: object, code: string, target: string | undefined][] = [
    ['no name', { name: undefined }, '2', 'name'],
    ['a name of another kind', { name: 7 }, '262197', 'name'],
    ['a name with a slash', { name: '../x' }, '2', undefined],
    ['a name that is taken', { name: 'cinder_flexvol_OSTK02' }, '1', 'name'],
    ['a junction path that is taken', { nas: { path: '/cinder_flexvol_OSTK02' } }, '8', undefined],
    ['a relative junction path', { nas: { path: 'x' } }, '2', undefined],
    ['no SVM', { svm: undefined }, '2621707', 'svm'],
    ['an unknown SVM', { svm: { name: 'other' } }, '2621462', 'svm'],
    ['two SVMs', { svm: { name: svm, uuid: 'x' } }, '2621706', 'svm'],
    ['no aggregate', { aggregates: undefined }, '918232', 'aggregates'],
    ['an unknown aggregate', { aggregates: [{ name: 'aggr9' }] }, '787140', 'aggregates.name'],
    ['two aggregates', { aggregates: [{ name: 'aggr1' }, { name: 'aggr2' }] }, '262197', 'aggregates'],
    [
      'an aggregate with the UUID of another',
      { aggregates: [{ name: 'aggr1', uuid: aggregateUuid('aggr2') }] },
      '787141',
      'aggregates',
    ],
    ['a size of no kind', { size: 'big' }, '262197', 'size'],
    ['a negative size', { size: -1 }, '262197', 'size'],
    ['a size below the least', { size: 4096 }, '2', undefined],
    ['a size above the aggregate', { size: '2GB' }, '8', undefined],
    ['two sizes', { size: '50MB', space: { size: '60MB' } }, '262186', 'size'],
    ['an unknown field', { colour: 'red' }, '262179', 'colour'],
    ['an unknown inner field', { nas: { colour: 'red' } }, '262179', 'nas.colour'],
    ['a field that is only shown', { create_time: 'now' }, '262196', 'create_time'],
    ['a guarantee', { guarantee: { type: 'volume' } }, '262197', 'guarantee.type'],
    ['a field twice', { 'nas.path': '/a', nas: { path: '/b' } }, '262188', 'nas.path'],
  ]
  for (const [what, fields, code, target] of refused) {
    test(`with ${what} is refused, and nothing is made`, async () => {
      const answer = await rig.call('POST', volumes, { body: made(fields) })
      assert.deepEqual([answer.body.error?.code, answer.body.error?.target], [code, target])
      assert.ok(answer.status >= 400 && answer.status < 500)
      assert.deepEqual(await pools(), ['cinder_flexvol_OSTK02', 'cinder_flexvol_OSTK09'])
    })
  }
})

describe('changing and deleting a volume', () => {
  const second = async (): Promise<string> => {
    const done = await rig.call('POST', `${volumes}?return_timeout=60&return_records=true`, { body: made() })
    return `${volumes}/${done.body.records[0].uuid}`
  }

  test('a size; not below what its images occupy, which is said', async () => {
    await makeVolume(rig.world, rig.world.lma, { attached: true })
    for (const image of rig.world.nodes.get('lma-01')?.images.values() ?? [])
      image.allocatedBytes = 30 * 2 ** 20
    const path = `${volumes}/${rig.world.lma.id}`
    const small = await rig.call('PATCH', path, { body: { size: 25 * 2 ** 20 } })
    assert.deepEqual(refusal(small), [409, '8', undefined])
    assert.match(
      small.body.error.message,
      /cannot have 25 MiB: its images occupy 30 MiB\. Choose at least 30 MiB\./,
    )
    assert.equal((await rig.call('PATCH', path, { body: { space: { size: '40MB' } } })).status, 200)
    assert.equal((await get(path)).size, 40 * 2 ** 20)
  })

  test('a limit may be taken away again', async () => {
    const path = `${volumes}/${rig.world.lma.id}`
    await rig.call('PATCH', path, { body: { size: '40MB' } })
    assert.equal((await rig.call('PATCH', path, { body: { size: null } })).status, 200)
    assert.equal((await get(path)).size, 2 ** 40)
  })

  test('what cannot be validated is refused, and not carried out', async () => {
    const path = await second()
    const flag = '?validate_only=true'
    for (const answer of [
      await rig.call('POST', `${volumes}${flag}`, { body: made({ name: 'third' }) }),
      await rig.call('POST', volumes, { body: made({ name: 'third', validate_only: true }) }),
      await rig.call('POST', `/api/storage/aggregates${flag}`, { body: { name: 'aggr7' } }),
      await rig.call('DELETE', path + flag),
      await rig.call('DELETE', `/api/storage/aggregates/${aggregateUuid('aggr2')}${flag}`),
    ]) {
      assert.deepEqual(refusal(answer), [400, '262179', 'validate_only'])
    }
    assert.equal((await get(path)).name, 'second')
    assert.equal((await pools()).length, 3)
    const sized = await rig.call('PATCH', path + flag, { body: { size: '40MB' } })
    assert.deepEqual([sized.status, (await get(path)).size], [200, 2 ** 30])
  })

  test('its name and junction path while it is empty', async () => {
    const path = await second()
    const body = { name: 'third', nas: { path: '/third' } }
    assert.equal((await rig.call('PATCH', `${path}?return_timeout=60`, { body })).status, 200)
    const volume = await get(path)
    assert.deepEqual([volume.name, volume.nas.path], ['third', '/third'])
    assert.ok(rig.world.nodes.get('lma-01')?.flexvols.has('aggr2/third'))
    assert.ok(!rig.world.nodes.get('lma-01')?.flexvols.has('aggr2/second'))
  })

  test('not while a volume is in it, and not the name that the configuration has', async () => {
    const path = `${volumes}/${rig.world.lma.id}`
    const renamed = await rig.call('PATCH', path, { body: { name: 'other' } })
    assert.match(renamed.body.error.message, /configuration file/)
    const { id } = await makeVolume(rig.world, rig.world.lma, { attached: true })
    const move = () => rig.call('PATCH', path, { body: { 'nas.path': '/other' } })
    const moved = await move()
    assert.deepEqual(refusal(moved), [409, '8', undefined])
    assert.match(moved.body.error.message, /1 volume, 1 image\.$/)
    await rig.world.records.volumes.update(id, { rootOf: 'server-1' })
    const message = (await move()).body.error.message
    assert.match(message, /1 volume, 1 image\. Root disks of servers are among them: of server-1\.$/)
    assert.equal((await get(path)).nas.path, '/cinder_flexvol_OSTK02')
  })

  test('an empty one that the configuration does not have is deleted', async () => {
    const path = await second()
    assert.equal((await rig.call('DELETE', `${path}?return_timeout=60`)).status, 200)
    assert.equal((await rig.call('GET', path)).status, 404)
    assert.ok(!rig.world.nodes.get('lma-01')?.flexvols.has('aggr2/second'))
  })

  test('any other is not', async () => {
    const volume = await makeVolume(rig.world, rig.world.lma, { attached: false })
    const path = await second()
    const flexvolId = path.split('/').at(-1) ?? ''
    await rig.world.records.volumes.create({ ...volume, id: crypto.randomUUID(), flexvolId })
    assert.deepEqual(refusal(await rig.call('DELETE', path)), [409, '8', undefined])
    const configured = await rig.call('DELETE', `${volumes}/${rig.world.lma.id}`)
    assert.match(configured.body.error.message, /configuration file/)
    const aggregate = await rig.call('DELETE', `/api/storage/aggregates/${aggregateUuid('aggr2')}`)
    assert.deepEqual(refusal(aggregate), [409, '8', undefined])
    assert.equal((await pools()).length, 3)
  })

  test('one of another cluster is not known here', async () => {
    const path = `${volumes}/${rig.world.lmb.id}`
    for (const method of ['GET', 'DELETE'] as const) {
      assert.deepEqual(refusal(await rig.call(method, path)), [404, '4', 'uuid'])
    }
    assert.deepEqual(refusal(await rig.call('PATCH', path, { body: { size: '1GB' } })), [404, '4', 'uuid'])
  })
})
