import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import type { IdentityRig } from '../identity/testing.ts'
import { asJson, imageRig, maxImageBytes, raw, type ImageRig } from './testing.ts'

let rig: IdentityRig
let images: ImageRig['images']
let alice: string
let create: ImageRig['create']
let upload: ImageRig['upload']
let show: ImageRig['show']
let status: ImageRig['status']

before(async () => {
  const made = await imageRig()
  ;({ rig, images, alice, create, upload, show, status } = made)
})
after(() => rig.close())

const files = async (): Promise<string[]> => readdir(join(rig.stateDir, 'images'))
const qcow2 = async (name: string, ...args: string[]): Promise<Buffer> => {
  const path = join(rig.stateDir, name)
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...args.slice(0, -1), path, args.at(-1) ?? ''])
  return readFile(path)
}

test('upload and download: hashes, sizes and states', async () => {
  const data = randomBytes(3_000_001)
  const image = await create(alice, { ...raw, name: 'ünï', os_distro: 'debian', min_disk: 1 })
  assert.deepEqual([image.status, image['visibility'], image.size], ['queued', 'shared', null])
  assert.equal(
    (await rig.app.inject({ url: `/image/v2/images/${image.id}/file`, headers: asJson(alice) })).statusCode,
    204,
  )
  assert.equal((await upload(alice, image.id, data)).statusCode, 204)
  const { body } = await show(alice, image.id)
  assert.equal(body.status, 'active')
  assert.equal(body['checksum'], createHash('md5').update(data).digest('hex'))
  assert.equal(body['os_hash_value'], createHash('sha512').update(data).digest('hex'))
  assert.deepEqual([body.size, body['virtual_size'], body['os_distro']], [data.length, data.length, 'debian'])
  const saved = await rig.app.inject({ url: `/image/v2/images/${image.id}/file`, headers: asJson(alice) })
  assert.ok(saved.rawPayload.equals(data))
  assert.equal(saved.headers['content-md5'], body['checksum'])
  assert.equal((await upload(alice, image.id, data)).statusCode, 409)
  assert.deepEqual(await images.registry.file(image.id), {
    path: join(rig.stateDir, 'images', image.id),
    format: 'raw',
  })
})

test('a qcow2 is accepted with the size of its disk; an evil or mislabelled one is refused and leaves nothing', async () => {
  const base = await qcow2('base', '64M')
  const good = await create(alice, { disk_format: 'qcow2', container_format: 'bare' })
  assert.equal((await upload(alice, good.id, base)).statusCode, 204)
  assert.equal((await show(alice, good.id)).body['virtual_size'], 64 * 2 ** 20)
  const before = await files()
  const evil: [string, string, Buffer, RegExp][] = [
    [
      'backing file',
      'qcow2',
      await qcow2('backed', '-b', join(rig.stateDir, 'base'), '-F', 'qcow2', '1M'),
      /backing/,
    ],
    [
      'data file',
      'qcow2',
      await qcow2('ext', '-o', `data_file=${join(rig.stateDir, 'd')}`, '1M'),
      /external data/,
    ],
    ['not qcow2', 'qcow2', Buffer.from('no image at all'), /magic/],
    ['cut off', 'qcow2', base.subarray(0, 70_000), /within the file/],
    ['called raw', 'raw', base, /Set disk_format to qcow2/],
  ]
  for (const [name, format, data, reason] of evil) {
    const image = await create(alice, { disk_format: format, container_format: 'bare' })
    const answer = await upload(alice, image.id, data)
    assert.equal(answer.statusCode, 400, name)
    assert.match(answer.body, reason)
    assert.equal((await show(alice, image.id)).body.status, 'queued', name)
  }
  assert.deepEqual(await files(), before)
})

test('an empty upload makes an empty image; a HEAD of the data reads none', async () => {
  const image = await create(alice, raw)
  assert.equal((await upload(alice, image.id, Buffer.alloc(0))).statusCode, 204)
  const { body } = await show(alice, image.id)
  assert.deepEqual([body.status, body.size], ['active', 0])
  const head = await rig.app.inject({
    method: 'HEAD',
    url: `/image/v2/images/${image.id}/file`,
    headers: asJson(alice),
  })
  assert.equal(head.statusCode, 404)
})

test('too large, of the wrong type, without a format: refused, and the image is still queued', async () => {
  const image = await create(alice, raw)
  assert.equal((await upload(alice, image.id, Buffer.alloc(maxImageBytes + 1))).statusCode, 413)
  assert.equal((await upload(alice, image.id, Buffer.from('{}'), 'application/json')).statusCode, 415)
  assert.equal((await show(alice, image.id)).body.status, 'queued')
  const formless = await create(alice, { name: 'formless' })
  const answer = await upload(alice, formless.id, Buffer.from('x'))
  assert.equal(answer.statusCode, 400)
  assert.match(answer.body, /disk_format, container_format must be set/)
})

/** Sends a beginning of the data and, unless it is to go on, breaks the connection off. */
const sendPart = (id: string, bytes: number) => {
  const { port } = rig.app.server.address() as AddressInfo
  const request = httpRequest({
    host: '127.0.0.1',
    port,
    method: 'PUT',
    path: `/image/v2/images/${id}/file`,
    headers: {
      'x-auth-token': alice,
      'content-type': 'application/octet-stream',
      'transfer-encoding': 'chunked',
    },
  })
  request.on('error', () => {})
  request.write(Buffer.alloc(bytes))
  return request
}
const hasPart = async (id: string) =>
  (await files()).some((name) => name.startsWith(id) && name.endsWith('.part'))

test('an upload that breaks off leaves no file, and can be repeated', async () => {
  const image = await create(alice, raw)
  const request = sendPart(image.id, 100_000)
  await until('its part is there', () => hasPart(image.id))
  assert.equal((await show(alice, image.id)).body.status, 'saving')
  assert.equal((await upload(alice, image.id, Buffer.from('second'))).statusCode, 409)
  request.destroy()
  await until('it is queued again', async () => (await show(alice, image.id)).body.status === 'queued')
  assert.equal(await hasPart(image.id), false)
  assert.equal((await upload(alice, image.id, Buffer.from('again'))).statusCode, 204)
})

test('an image deleted while it is uploaded leaves nothing', async () => {
  const image = await create(alice, raw)
  const request = sendPart(image.id, 100_000)
  await until('its part is there', () => hasPart(image.id))
  assert.equal(await status('DELETE', alice, image.id), 204)
  const answered = new Promise((resolve) => request.on('response', (answer) => resolve(answer.statusCode)))
  request.end()
  assert.equal(await answered, 404)
  assert.deepEqual(
    (await files()).filter((name) => name.startsWith(image.id)),
    [],
  )
})

test('a too large upload of unknown length is cut off', async () => {
  const image = await create(alice, raw)
  const request = sendPart(image.id, maxImageBytes + 65_536)
  await until(
    'it is queued again, without a part',
    async () => (await show(alice, image.id)).body.status === 'queued' && !(await hasPart(image.id)),
  )
  request.destroy()
})
