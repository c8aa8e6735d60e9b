import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { createImages, type Images } from '../../packages/control/src/http/image/service.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { startCloud, type Cloud } from './stock-client.ts'

let cloud: Cloud
let images: Images
before(async () => {
  cloud = await startCloud(async ({ db, identity, stateDir }) => {
    const log = pino({ level: 'error' })
    images = await createImages({ db, stateDir, clock: systemClock, log, tokens: identity.tokens })
    return [images.service]
  })
})
after(() => cloud.stop())

test('openstack image create, list, set, save and delete', async () => {
  const file = join(cloud.stateDir, 'disk')
  const content = randomBytes(3 * 1024 * 1024 + 17)
  await writeFile(file, content)
  const created = await cloud.json<{ id: string; status: string }>('openstack', [
    ...['image', 'create', '--file', file, '--disk-format', 'raw', '--property', 'os_distro=debian'],
    ...['--min-disk', '2', '--public', '--tag', 'one', 'X'],
  ])
  const list = await cloud.json<{ ID: string; Name: string; Status: string }[]>('openstack', [
    'image',
    'list',
  ])
  assert.deepEqual(list, [{ ID: created.id, Name: 'X', Status: 'active' }])

  const set = await cloud.run('openstack', [
    ...['image', 'set', '--property', 'os_version=12', '--min-ram', '64', '--name', 'Y', '--tag', 'two', 'X'],
  ])
  assert.equal(set.code, 0, set.stderr)
  const image = await images.registry.get(created.id)
  assert.deepEqual([image.name, image.minDiskGib, image.minRamMib, image.visibility], ['Y', 2, 64, 'public'])
  assert.equal(image.properties['os_distro'], 'debian')
  assert.equal(image.properties['os_version'], '12')
  assert.equal(image.sizeBytes, content.length)

  const copy = join(cloud.stateDir, 'copy')
  const saved = await cloud.run('openstack', ['image', 'save', '--file', copy, 'Y'])
  assert.equal(saved.code, 0, saved.stderr)
  assert.deepEqual(await readFile(copy), content)

  const deleted = await cloud.run('openstack', ['image', 'delete', 'Y'])
  assert.equal(deleted.code, 0, deleted.stderr)
  await assert.rejects(images.registry.get(created.id), { code: 'notFound' })
  await assert.rejects(readFile(join(cloud.stateDir, 'images', created.id)), { code: 'ENOENT' })
})
