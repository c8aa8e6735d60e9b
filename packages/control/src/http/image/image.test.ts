import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Principal } from '../../domain/principal.ts'
import type { BuiltinImage } from '../../ports/images.ts'
import type { IdentityRig } from '../identity/testing.ts'
import { asJson, imageRig, raw, type ImageBody, type ImageRig } from './testing.ts'

interface ListBody {
  images: ImageBody[]
  next?: string
}

let rig: IdentityRig
let images: ImageRig['images']
let alice: string
let admin: string
let bob: string
let bobProject: string
let create: ImageRig['create']
let show: ImageRig['show']
let status: ImageRig['status']

before(async () => {
  const made = await imageRig()
  ;({ rig, images, alice, admin, bob, bobProject, create, show, status } = made)
})
after(() => rig.close())

const patch = async (token: string, id: string, steps: unknown) => {
  const answer = await rig.app.inject({
    method: 'PATCH',
    url: `/image/v2/images/${id}`,
    headers: { ...asJson(token), 'content-type': 'application/openstack-images-v2.1-json-patch' },
    payload: JSON.stringify(steps),
  })
  return { status: answer.statusCode, body: answer.json() as ImageBody }
}
const list = async (token: string, query = ''): Promise<ListBody> =>
  (await rig.call<ListBody>('GET', `/image/v2/images${query}`, { token })).body

test('version discovery answers 300 without a token; the rest needs one', async () => {
  const answer = await rig.app.inject({ url: '/image/', headers: { host: 'cloud.example' } })
  assert.equal(answer.statusCode, 300)
  assert.equal(answer.json().versions[0].links[0].href, 'http://cloud.example/image/v2/')
  assert.equal((await rig.app.inject({ url: '/image/v2/images' })).statusCode, 401)
})

test('patches add, replace and remove; the read-only and the unknown are refused', async () => {
  const image = await create(alice, { ...raw, name: 'p', kernel_id: 'k' })
  const changed = await patch(alice, image.id, [
    { op: 'replace', path: '/name', value: 'q' },
    { op: 'add', path: '/os_version', value: '12' },
    { op: 'replace', path: '/kernel_id', value: 'l' },
    { op: 'add', path: '/a~1b~0c', value: 'pointer' },
    { op: 'replace', path: '/tags', value: ['x', 'x', 'y'] },
    { op: 'replace', path: '/disk_format', value: 'qcow2' },
  ])
  assert.equal(changed.status, 200, JSON.stringify(changed.body))
  const { body } = changed
  assert.deepEqual(
    [body['name'], body['os_version'], body['kernel_id'], body['a/b~c'], body['tags'], body['disk_format']],
    ['q', '12', 'l', 'pointer', ['x', 'y'], 'qcow2'],
  )
  const removed = await patch(alice, image.id, [{ op: 'remove', path: '/kernel_id' }])
  assert.equal('kernel_id' in removed.body, false)
  const refusals: [unknown, number][] = [
    [[{ op: 'replace', path: '/status', value: 'active' }], 403],
    [[{ op: 'replace', path: '/id', value: 'x' }], 403],
    [[{ op: 'remove', path: '/name' }], 403],
    [[{ op: 'replace', path: '/missing', value: 'x' }], 409],
    [[{ op: 'remove', path: '/missing' }], 409],
    [[{ op: 'add', path: '/deep/er', value: 'x' }], 400],
    [[{ op: 'add', path: '/number', value: 5 }], 400],
    [[{ op: 'replace', path: '/min_disk', value: -1 }], 400],
    [[{ op: 'replace', path: '/disk_format', value: 'vmdk' }], 400],
    [[{ op: 'replace', path: '/visibility', value: 'public' }], 403],
    [[{ op: 'replace', path: '/owner', value: bobProject }], 403],
    [[{ op: 'test', path: '/name', value: 'q' }], 400],
    [{ name: 'x' }, 400],
  ]
  for (const [steps, expected] of refusals) {
    assert.equal((await patch(alice, image.id, steps)).status, expected, JSON.stringify(steps))
  }
  assert.equal((await show(alice, image.id)).body['name'], 'q')
})

test('Amazon formats match each other; metadata has limits', async () => {
  const kernel = await create(alice, { disk_format: 'aki', name: 'kernel' })
  assert.equal(kernel['container_format'], 'aki')
  assert.equal(await status('POST', alice, '', { disk_format: 'aki', container_format: 'bare' }), 400)
  const many = Object.fromEntries(Array.from({ length: 129 }, (_, index) => [`p${index}`, 'v']))
  assert.equal(await status('POST', alice, '', many), 413)
  assert.equal(await status('POST', alice, '', { p: 'x'.repeat(20_000) }), 400)
  assert.equal(await status('POST', alice, '', { name: 'x'.repeat(256) }), 400)
  assert.equal(await status('POST', alice, '', { name: 'a\u0000b' }), 400)
  assert.equal(await status('POST', alice, '', { size: 5 }), 403)
  await assert.rejects(images.registry.filePath(kernel.id), { code: 'conflict' })
})

test('who sees what: private, shared, community, public', async () => {
  const own = async (visibility: string, token = alice) =>
    (await create(token, { ...raw, name: `v-${visibility}`, visibility })).id
  const [hidden, shared, community] = [await own('private'), await own('shared'), await own('community')]
  const open = await own('public', admin)
  assert.equal(await status('POST', alice, '', { visibility: 'public' }), 403)
  const seen = async (token: string, query = '') => (await list(token, query)).images.map((image) => image.id)
  assert.ok(!(await seen(bob, '?limit=1000')).some((id) => [hidden, shared, community].includes(id)))
  assert.ok((await seen(bob)).includes(open))
  assert.ok((await seen(bob, '?visibility=community')).includes(community))
  assert.equal((await show(bob, hidden)).status, 404)
  assert.equal((await show(bob, shared)).status, 404)
  assert.equal((await show(bob, community)).status, 200)
  assert.equal((await patch(bob, community, [{ op: 'replace', path: '/name', value: 'mine' }])).status, 403)
  assert.equal(await status('DELETE', bob, hidden), 404)

  assert.equal(await status('POST', alice, `${shared}/members`, { member: bobProject }), 200)
  assert.equal((await show(bob, shared)).status, 200)
  assert.ok(!(await seen(bob)).includes(shared))
  assert.equal(await status('PUT', alice, `${shared}/members/${bobProject}`, { status: 'accepted' }), 403)
  assert.equal(await status('PUT', bob, `${shared}/members/${bobProject}`, { status: 'accepted' }), 200)
  assert.ok((await seen(bob)).includes(shared))
  assert.equal(await status('DELETE', alice, `${shared}/members/${bobProject}`), 204)
  assert.equal((await show(bob, shared)).status, 404)
})

test('lists filter, sort and page', async () => {
  const made: string[] = []
  for (const [index, name] of ['c', 'a', 'b'].entries()) {
    made.push((await create(bob, { ...raw, name: `list-${name}`, os_distro: 'lister', min_ram: index })).id)
    // Of two of one instant nothing says which is the newer one.
    await sleep(2)
  }
  const names = async (query: string) =>
    (await list(bob, `?os_distro=lister${query}`)).images.map((image) => image['name'])
  assert.deepEqual(await names(''), ['list-b', 'list-a', 'list-c'])
  assert.deepEqual(await names('&sort=name:asc'), ['list-a', 'list-b', 'list-c'])
  assert.deepEqual(await names('&sort_key=min_ram&sort_dir=asc'), ['list-c', 'list-a', 'list-b'])
  assert.deepEqual(await names('&name=in:list-a,list-b&sort=name'), ['list-b', 'list-a'])
  assert.deepEqual(await names('&status=active'), [])
  assert.deepEqual(await names('&created_at=lt:2020-01-01T00:00:00Z'), [])
  assert.deepEqual(await names('&size_min=1'), [])
  const first = await list(bob, '?os_distro=lister&limit=2&sort=name:asc')
  assert.deepEqual(
    first.images.map((image) => image['name']),
    ['list-a', 'list-b'],
  )
  const next = await rig.call<ListBody>('GET', `/image${first.next}`, { token: bob })
  assert.deepEqual(
    next.body.images.map((image) => image['name']),
    ['list-c'],
  )
  assert.equal(next.body.next, undefined)
  for (const query of [
    'limit=-1',
    'limit=x',
    'marker=none',
    'sort=nope',
    'sort_dir=up',
    'visibility=x',
    'protected=2',
  ]) {
    assert.equal(await status('GET', bob, `?${query}`), 400, query)
  }
})

test('protected images stay; tags come and go', async () => {
  const { id } = await create(alice, { ...raw, protected: true })
  assert.equal(await status('DELETE', alice, id), 403)
  assert.equal(await status('PUT', alice, `${id}/tags/one`), 204)
  assert.deepEqual((await show(alice, id)).body['tags'], ['one'])
  assert.equal(await status('DELETE', alice, `${id}/tags/one`), 204)
  assert.equal(await status('DELETE', alice, `${id}/tags/one`), 404)
  await patch(alice, id, [{ op: 'replace', path: '/protected', value: false }])
  assert.equal(await status('DELETE', alice, id), 204)
  assert.equal((await show(alice, id)).status, 404)
})

test('errors are HTML that a browser can be shown, or JSON where that is asked for', async () => {
  const url = `/image/v2/images/${encodeURIComponent('<script>alert(1)</script>')}`
  const html = await rig.app.inject({ url, headers: { 'x-auth-token': alice } })
  assert.equal(html.statusCode, 404)
  assert.match(String(html.headers['content-type']), /text\/html/)
  assert.ok(html.body.includes('&lt;script&gt;') && !html.body.includes('<script>'))
  const answer = await rig.app.inject({ url, headers: asJson(alice) })
  assert.equal(answer.json().code, '404 Not Found')
})

test('built-in images are registered once, follow their file, and keep their id', async () => {
  const path = join(rig.stateDir, 'vmlinuz')
  await writeFile(path, 'kernel 1')
  const wanted: BuiltinImage = {
    name: 'probe-kernel',
    path,
    diskFormat: 'aki',
    containerFormat: 'aki',
    visibility: 'public',
    properties: { architecture: 'x86_64' },
  }
  const first = await images.registry.ensureBuiltin(wanted)
  assert.deepEqual(await images.registry.ensureBuiltin(wanted), first)
  assert.equal(await readFile(await images.registry.filePath(first.id), 'utf8'), 'kernel 1')
  assert.equal((await show(bob, first.id)).status, 200)
  assert.equal(await status('DELETE', admin, first.id), 403)
  await sleep(20)
  await writeFile(path, 'kernel 2 is longer')
  const second = await images.registry.ensureBuiltin(wanted)
  assert.equal(second.id, first.id)
  assert.equal(second.checksum, createHash('md5').update('kernel 2 is longer').digest('hex'))
  const described = await images.registry.ensureBuiltin({
    ...wanted,
    properties: { architecture: 'aarch64' },
  })
  assert.deepEqual([described.id, described.properties], [first.id, { architecture: 'aarch64' }])
  await assert.rejects(images.registry.file(first.id), { code: 'invalid' })
  const user = { projectId: 'p', roles: ['member'] } as unknown as Principal
  assert.deepEqual(
    (await images.registry.named(user, 'probe-kernel')).map(({ id }) => id),
    [first.id],
  )
  assert.deepEqual(await images.registry.named(user, 'probe'), [])
})
