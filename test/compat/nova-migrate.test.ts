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
    const builtin = async (name: string, format: 'aki' | 'raw', bytes: number, properties = {}) => {
      const path = join(stateDir, `${name}.file`)
      await writeFile(path, Buffer.alloc(bytes, name))
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
    const kernel = await builtin('kernel', 'aki', 4096)
    // Without data: its servers have no disk that would keep them on their host.
    await builtin('diskless', 'raw', 0, { kernel_id: kernel.id })
    rig = await openComputeRig({ tokens: identity.tokens, images: images.registry })
    return [images.service, ...rig.services]
  })
})
after(async () => {
  await rig.stop()
  await cloud.stop()
})

const run = async (client: string, ...args: string[]): Promise<string> => {
  const result = await cloud.run(client, args)
  assert.equal(result.code, 0, `${client} ${args.join(' ')}: ${result.stderr}${result.stdout}`)
  return result.stdout
}
const nova = (...args: string[]) => run('nova', ...args)
const openstack = (...args: string[]) => run('openstack', ...args)

async function boot(name: string): Promise<string> {
  const booted = await nova(
    'boot',
    '--flavor',
    'm1.tiny',
    '--image',
    'diskless',
    '--nic',
    'none',
    '--poll',
    name,
  )
  const [, id] = /\| id +\| (\S+)/.exec(booted) ?? []
  if (id === undefined) throw new Error(`no id: ${booted}`)
  return id
}

const where = async (id: string): Promise<string> => {
  const { host, vm_state: state } = await rig.world.db
    .selectFrom('servers')
    .select(['host', 'vm_state'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  return `${state} on ${String(host)}`
}

test('nova migrate, resize-confirm, resize, resize-revert, migration-list and instance-action-list', async () => {
  const id = await boot('wanderer')
  const [source, target] = (await where(id)).endsWith('compute-1')
    ? ['compute-1', 'compute-2']
    : ['compute-2', 'compute-1']
  await nova('migrate', '--poll', 'wanderer')
  assert.equal(await where(id), `resized on ${target}`)
  assert.match(await nova('list'), /wanderer \| VERIFY_RESIZE/)
  await nova('resize-confirm', 'wanderer')
  await rig.until('confirmed', async () => (await where(id)) === `active on ${target}`)
  await nova('migrate', '--host', source as string, '--poll', 'wanderer')
  assert.equal(await where(id), `resized on ${source}`)
  await nova('resize-revert', 'wanderer')
  await rig.until('reverted', async () => (await where(id)) === `active on ${target}`)
  const rows = (await nova('migration-list')).split('\n').filter((line) => line.includes(id))
  assert.equal(rows.length, 2)
  assert.match(rows[0] ?? '', new RegExp(`${target}.*${source}.*reverted.*migration`))
  assert.match(rows[1] ?? '', new RegExp(`${source}.*${target}.*confirmed.*migration`))
  const actions = await nova('instance-action-list', 'wanderer')
  assert.match(
    actions,
    /revertResize[^]*migrate[^]*confirmResize[^]*migrate[^]*create|create[^]*migrate[^]*confirmResize/,
  )
  assert.doesNotMatch(await nova('server-migration-list', 'wanderer'), /migration/)
  const refused = await cloud.run('nova', ['migrate', '--host', target as string, 'wanderer'])
  assert.match(refused.stderr, /Cannot migrate to the host where the server exists. \(HTTP 400\)/)
})

test('openstack server resize, confirm, revert, migrate and server migration list', async () => {
  const id = await boot('grower')
  await openstack('server', 'resize', '--flavor', 'm1.small', '--wait', 'grower')
  assert.match(await where(id), /^resized/)
  await openstack('server', 'resize', 'revert', 'grower')
  await rig.until('reverted', async () => (await where(id)).startsWith('active'))
  await openstack('server', 'resize', '--flavor', 'm1.small', '--wait', 'grower')
  await openstack('server', 'resize', 'confirm', 'grower')
  await rig.until('confirmed', async () => (await where(id)).startsWith('active'))
  const version = ['--os-compute-api-version', '2.90']
  await openstack(...version, 'server', 'migrate', '--wait', 'grower')
  await openstack('server', 'migration', 'confirm', 'grower')
  const rows = await cloud.json<
    { Type: string; Status: string; 'Old Flavor': number; 'New Flavor': number }[]
  >('openstack', [...version, 'server', 'migration', 'list', '--server', 'grower'])
  assert.deepEqual(
    rows.map((row) => [row.Type, row['Old Flavor'], row['New Flavor']]),
    [
      ['migration', 2, 2],
      ['resize', 1, 2],
      ['resize', 1, 2],
    ],
  )
})
