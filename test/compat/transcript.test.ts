import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { openPlane, until, type Plane } from '../migration/plane.ts'

const execute = promisify(execFile)

/** A stock client as a user runs it: `source STATE/openrc`, then the command. */
async function type(plane: Plane, ...argv: string[]): Promise<string> {
  const { stdout } = await execute(
    'bash',
    ['-c', 'source "$0" && exec "$@"', join(plane.stateDir, 'openrc'), ...argv],
    { env: { PATH: process.env['PATH'] ?? '', HOME: tmpdir(), PYTHONWARNINGS: 'ignore' }, timeout: 90_000 },
  )
  return stdout
}

/** The value of a property in the clients' tables. */
const property = (table: string, name: string): string | undefined =>
  table
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .find((cells) => cells[1] === name)?.[2]

const lma = `${hostname()}@cinder-lma#127.250.118.49:/cinder_flexvol_OSTK02`
const lmb = `${hostname()}@cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09`

test('the main job through openstack, then back through cinder, with nova and cinder looking on', async (t) => {
  const plane = await openPlane()
  t.after(() => plane.close())
  const openstack = async (...args: string[]) =>
    JSON.parse(await type(plane, 'openstack', ...args, '-f', 'json')) as Record<string, unknown>

  const server = await openstack(
    ...[
      'server',
      'create',
      '--flavor',
      'm1.tiny',
      '--image',
      'volant-probe',
      '--nic',
      'none',
      '--wait',
      'ubuntu-instance',
    ],
  )
  assert.equal(server['status'], 'ACTIVE')
  const volume = await openstack('volume', 'create', '--size', '1', 'data')
  const id = String(volume['id'])
  await until(
    'the volume is available',
    60_000,
    async () => (await plane.client.volume.show(id)).status === 'available',
  )
  await type(plane, 'openstack', 'server', 'add', 'volume', 'ubuntu-instance', 'data')
  await until(
    'the volume is in use',
    60_000,
    async () => (await plane.client.volume.show(id)).status === 'in-use',
  )
  const before = await plane.client.volume.show(id)
  assert.equal(before['os-vol-host-attr:host'], lma)

  const migrated = async (host: string) => {
    const isThere = async () => {
      const now = await plane.client.volume.show(id)
      return now['os-vol-host-attr:host'] === host && now['os-vol-mig-status-attr:migstat'] === 'success'
    }
    await until(`the volume is at ${host}`, 60_000, isThere)
  }
  await type(plane, 'openstack', 'volume', 'migrate', '--host', lmb, 'data')
  await migrated(lmb)
  const shown = await openstack('volume', 'show', 'data')
  assert.equal(shown['id'], id)
  assert.equal(shown['status'], 'in-use')
  assert.equal(shown['os-vol-host-attr:host'], lmb)

  await type(plane, 'cinder', 'migrate', id, lma)
  await migrated(lma)
  const table = await type(plane, 'cinder', 'show', id)
  assert.equal(property(table, 'os-vol-host-attr:host'), lma)
  assert.equal(property(table, 'os-vol-mig-status-attr:migstat'), 'success')
  assert.equal(property(table, 'status'), 'in-use')
  assert.equal(property(table, 'id'), id)
  const novaTable = await type(plane, 'nova', 'show', 'ubuntu-instance')
  const attached = JSON.parse(property(novaTable, 'os-extended-volumes:volumes_attached') ?? '[]') as {
    id: string
  }[]
  assert.deepEqual(
    attached.map((a) => a.id),
    [id],
  )
  assert.equal(property(novaTable, 'status'), 'ACTIVE')
  assert.deepEqual((await plane.client.volume.show(id)).attachments, before.attachments)

  const refused = await type(plane, 'cinder', 'migrate', id, `${hostname()}@nowhere#pool`).catch(
    (e: unknown) => String(e),
  )
  assert.match(refused, /There is no backend 'nowhere'. There are: cinder-lma, cinder-lmb/)
})
