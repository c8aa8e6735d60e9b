import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { createImages } from '../../packages/control/src/http/image/service.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { openComputeRig, type ComputeRig } from '../integration/compute-rig.ts'
import { startCloud, type Cloud } from './stock-client.ts'

let cloud: Cloud
let rig: ComputeRig
before(async () => {
  cloud = await startCloud(async ({ db, identity, stateDir }) => {
    const log = pino({ level: 'silent' })
    const images = await createImages({ db, stateDir, clock: systemClock, log, tokens: identity.tokens })
    const builtin = async (name: string, format: 'aki' | 'ari' | 'raw', properties = {}) => {
      const path = join(stateDir, `${name}.file`)
      await writeFile(path, Buffer.alloc(4096, name))
      const containerFormat = format === 'raw' ? 'bare' : format
      return images.registry.ensureBuiltin({
        name,
        path,
        diskFormat: format,
        containerFormat,
        properties,
        visibility: 'public',
      })
    }
    const kernel = await builtin('volant-probe-kernel', 'aki')
    const ramdisk = await builtin('volant-probe-ramdisk', 'ari')
    await builtin('volant-probe', 'raw', { kernel_id: kernel.id, ramdisk_id: ramdisk.id })
    rig = await openComputeRig({ tokens: identity.tokens, images: images.registry })
    return [images.service, ...rig.services]
  })
})
after(async () => {
  await rig.stop()
  await cloud.stop()
})

/** The value of a property in a table of the nova client. */
const property = (table: string, name: string): string =>
  table
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .find((cells) => cells[1] === name)?.[2] ?? ''

const nova = async (...args: string[]): Promise<string> => {
  const result = await cloud.run('nova', args)
  assert.equal(result.code, 0, `nova ${args.join(' ')}: ${result.stderr}${result.stdout}`)
  return result.stdout
}

test('nova boots, shows, attaches, lists and deletes', async () => {
  const booted = await nova(
    'boot',
    '--flavor',
    'm1.tiny',
    '--image',
    'volant-probe',
    '--nic',
    'none',
    'ubuntu-instance',
  )
  assert.equal(property(booted, 'name'), 'ubuntu-instance')
  assert.match(property(booted, 'image'), /^volant-probe \(/)
  assert.equal(property(booted, 'adminPass').length, 12)
  const id = property(booted, 'id')

  const volume = await makeVolume()
  await nova('volume-attach', 'ubuntu-instance', volume)
  await rig.until('in use', async () => (await rig.world.records.volumes.get(volume)).status === 'in-use')

  const shown = await nova('show', 'ubuntu-instance')
  assert.equal(property(shown, 'status'), 'ACTIVE')
  assert.match(property(shown, 'os-extended-volumes:volumes_attached'), new RegExp(`"id": "${volume}"`))
  assert.equal(property(shown, 'OS-EXT-SRV-ATTR:host'), 'compute-1')
  assert.equal(property(shown, 'flavor:original_name'), 'm1.tiny')

  const listed = await nova('list')
  assert.match(listed, new RegExp(`${id} \\| ubuntu-instance \\| ACTIVE`))
  assert.match(await nova('hypervisor-list'), /compute-1 +\| up +\| enabled/)
  assert.match(await nova('service-list'), /nova-compute +\| compute-2/)
  await nova('volume-detach', 'ubuntu-instance', volume)
  await rig.until('detached', async () => {
    return (await rig.world.records.volumes.get(volume)).status === 'available'
  })
  await nova('delete', 'ubuntu-instance')
  await rig.until('deleted', async () => (await rig.world.records.attachments.ofServer(id)).length === 0)
})

test('openstack server create, list and delete', async () => {
  // Its default, 2.1, is from before `--nic none`.
  const version = ['--os-compute-api-version', '2.90']
  const nic = ['--flavor', 'm1.tiny', '--image', 'volant-probe', '--nic', 'none']
  const made = await cloud.json<{ id: string; name: string }>('openstack', [
    ...version,
    'server',
    'create',
    ...nic,
    '--wait',
    'second',
  ])
  assert.equal(made.name, 'second')
  const [row] = await cloud.json<{ ID: string; Status: string; Image: string; Flavor: string }[]>(
    'openstack',
    ['server', 'list'],
  )
  assert.deepEqual(row, { ...row, ID: made.id, Status: 'ACTIVE', Image: 'volant-probe', Flavor: 'm1.tiny' })
  const deleted = await cloud.run('openstack', ['server', 'delete', '--wait', 'second'])
  assert.equal(deleted.code, 0, deleted.stderr)
})

async function makeVolume(): Promise<string> {
  const { id: token, project_id: project } = await cloud.json<{ id: string; project_id: string }>(
    'openstack',
    ['token', 'issue'],
  )
  const answer = await fetch(`${cloud.origin}/volume/v3/${project}/volumes`, {
    method: 'POST',
    headers: { 'x-auth-token': token, 'content-type': 'application/json' },
    body: JSON.stringify({ volume: { size: 1, name: 'data' } }),
  })
  const { volume } = (await answer.json()) as { volume: { id: string } }
  await rig.until('made', async () => (await rig.world.records.volumes.get(volume.id)).status === 'available')
  return volume.id
}
