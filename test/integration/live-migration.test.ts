import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import type { SimulatedComputeAgent } from '@volant/agent/simulated/compute.ts'
import { openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'
import { principals } from './volume-rig.ts'

let rig: ComputeRig
const hostOf = (name: string): SimulatedComputeAgent => {
  const agent = rig.hosts.get(name)
  assert.ok(agent, `no host ${name}`)
  return agent
}

before(async () => {
  rig = await openComputeRig({ hosts: ['compute-1', 'compute-2', 'compute-3'] })
})
after(() => rig.stop())
afterEach(() => {
  rig.faults.before = () => {}
  for (const agent of rig.hosts.values()) agent.holdMigrations(false)
})

/** A server that boots from a volume: it has no disk of its own on its host. */
const bootFromVolume = (fields: Record<string, unknown> = {}): Promise<string> =>
  rig.boot(
    {
      imageRef: '',
      availability_zone: undefined,
      block_device_mapping_v2: [
        {
          boot_index: 0,
          uuid: probeImage,
          source_type: 'image',
          destination_type: 'volume',
          volume_size: 1,
          delete_on_termination: true,
        },
      ],
      ...fields,
    },
    'admin',
  )

const show = async (id: string): Promise<Record<string, unknown>> =>
  (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).body.server

const migrate = (
  id: string,
  host: string | null = null,
  more: Record<string, unknown> = {},
  version = '2.92',
) =>
  rig.call('POST', `/servers/${id}/action`, {
    as: 'admin',
    version,
    body: { 'os-migrateLive': { host, block_migration: 'auto', ...more } },
  })

/** A server, and another host than its own. */
async function serverAndOther(fields: Record<string, unknown> = {}) {
  const id = await bootFromVolume(fields)
  const from = (await show(id))['OS-EXT-SRV-ATTR:host'] as string
  const others = [...rig.hosts.keys()].filter((name) => name !== from)
  return { id, from, to: others[0] as string, third: others[1] as string }
}

const removed = async (id: string): Promise<void> => {
  await rig.call('DELETE', `/servers/${id}`, { as: 'admin' })
  await rig.until(
    'deleted',
    async () => (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).status === 404,
  )
}

/** Its migration stands still in its copy. */
async function underWay(to: string, id: string, from: string): Promise<number> {
  hostOf(from).holdMigrations(true)
  const asked = await migrate(id, to)
  assert.equal(asked.status, 202, JSON.stringify(asked.body))
  await rig.until('copying', () => hostOf(from).migrationPhase(id) === 'copying')
  await rig.until('running', async () => {
    const { migrations } = (await rig.call('GET', `/servers/${id}/migrations`, { as: 'admin' })).body
    return migrations[0]?.status === 'running' && migrations[0].memory_total_bytes > 0
  })
  const { migrations } = (await rig.call('GET', `/servers/${id}/migrations`, { as: 'admin' })).body
  return migrations[0].id as number
}

test('a server goes to the host that was asked for, and to one that the scheduler chooses', async () => {
  const { id, from, to } = await serverAndOther()
  const asked = await migrate(id, to)
  assert.equal(asked.status, 202, JSON.stringify(asked.body))
  const arrived = await rig.settle(id, 'ACTIVE')
  assert.equal(arrived?.['OS-EXT-SRV-ATTR:host'], to)
  assert.equal((await hostOf(to).guestStatus(id)).state, 'running')
  assert.equal((await hostOf(from).guestStatus(id)).state, 'absent')
  const { instanceActions } = (await rig.call('GET', `/servers/${id}/os-instance-actions`, { as: 'admin' }))
    .body
  assert.equal(instanceActions[0].action, 'live-migration')
  assert.equal(instanceActions[0].message, null)

  assert.equal((await migrate(id)).status, 202)
  const again = await rig.settle(id, 'ACTIVE')
  assert.notEqual(again?.['OS-EXT-SRV-ATTR:host'], to)
  const { migrations } = (await rig.call('GET', '/os-migrations', { as: 'admin' })).body
  const own = migrations.filter((one: { instance_uuid: string }) => one.instance_uuid === id)
  assert.deepEqual(
    own.map((one: Record<string, unknown>) => [one['status'], one['migration_type']]),
    [
      ['completed', 'live-migration'],
      ['completed', 'live-migration'],
    ],
  )
  await removed(id)
})

test('a paused server stays paused', async () => {
  const { id, to } = await serverAndOther()
  await rig.call('POST', `/servers/${id}/action`, { as: 'admin', body: { pause: null } })
  await rig.settle(id, 'PAUSED')
  assert.equal((await migrate(id, to)).status, 202)
  const arrived = await rig.settle(id, 'PAUSED')
  assert.equal(arrived?.['OS-EXT-SRV-ATTR:host'], to)
  assert.equal((await hostOf(to).guestStatus(id)).state, 'paused')
  await removed(id)
})

test('what can not be done is refused with its reason, and changes nothing', async () => {
  const { id, from, to } = await serverAndOther()
  const refused = async (
    what: string,
    expected: { status: number; text: RegExp },
    ask: () => ReturnType<typeof migrate>,
  ) => {
    const { status, body } = await ask()
    assert.equal(status, expected.status, `${what}: ${JSON.stringify(body)}`)
    const [fault] = Object.values((body ?? {}) as Record<string, { message: string }>)
    assert.match(fault?.message ?? '', expected.text, what)
    const now = await show(id)
    assert.deepEqual([now['OS-EXT-SRV-ATTR:host'], now['OS-EXT-STS:task_state']], [from, null], what)
  }
  const at = (status: number, text: RegExp) => ({ status, text })
  await refused('same host', at(400, /Unable to migrate instance .* to current host/), () =>
    migrate(id, from),
  )
  await refused('unknown host', at(400, /Compute host nowhere could not be found/), () =>
    migrate(id, 'nowhere'),
  )
  await refused('block migration', at(400, /Block migration can not be used with shared storage/), () =>
    migrate(id, to, { block_migration: true }),
  )
  await refused('no member', at(403, /Policy doesn't allow/), () =>
    rig.call('POST', `/servers/${id}/action`, {
      body: { 'os-migrateLive': { host: null, block_migration: 'auto' } },
    }),
  )
  await refused('force without a host', at(400, /Can't force to a non-provided destination/), () =>
    migrate(id, null, { force: true }, '2.30'),
  )
  const services = (await rig.call('GET', '/os-services', { as: 'admin' })).body.services as Record<
    string,
    string
  >[]
  const service = services.find(({ host, binary }) => host === to && binary === 'nova-compute')?.['id']
  const change = (body: object) => rig.call('PUT', `/os-services/${service}`, { as: 'admin', body })
  await change({ status: 'disabled', disabled_reason: 'new memory' })
  await refused('disabled', at(400, /No valid host was found\. \S+ is disabled: new memory/), () =>
    migrate(id, to),
  )
  await change({ status: 'enabled' })
  await change({ forced_down: true })
  await refused('down', at(400, /No valid host was found\. \S+ is down/), () => migrate(id, to))
  await change({ forced_down: false })
  const source = services.find(({ host, binary }) => host !== to && binary === 'nova-compute')?.['id']
  const changeSource = (body: object) => rig.call('PUT', `/os-services/${source}`, { as: 'admin', body })
  await changeSource({ forced_down: true })
  await refused(
    'its own host down',
    at(400, /is unavailable at this time\. Its servers can be evacuated/),
    () => migrate(id, to),
  )
  await changeSource({ forced_down: false })

  const facts = (name: string, host: SimulatedComputeAgent, changed: object) => {
    const told = host.facts.bind(host)
    host.facts = async () => ({ ...(await told()), ...changed })
    return { name, undo: () => void (host.facts = told) }
  }
  for (const [changed, text] of [
    [{ freeMemoryMiB: 100 }, /too little free memory now: 512 MiB are needed, 100 MiB are free/],
    [{ qemuVersion: '6.2.0' }, /has QEMU 6\.2\.0; the guest comes from QEMU 7\.2/],
    [{ accelerator: 'kvm' }, /runs guests with kvm, and this one runs with tcg/],
    [{ machines: ['pc-i440fx-9.9'] }, /has no machine type pc-i440fx-7\.2/],
  ] as const) {
    const { undo } = facts('x', hostOf(to), changed)
    await refused(JSON.stringify(changed), at(400, text), () => migrate(id, to))
    undo()
  }
  await rig.call('POST', `/servers/${id}/action`, { as: 'admin', body: { 'os-stop': null } })
  await rig.settle(id, 'SHUTOFF')
  await refused(
    'stopped',
    at(409, /Cannot 'os-migrateLive' instance .* while it is in vm_state stopped/),
    () => migrate(id, to),
  )
  await removed(id)
  assert.equal((await migrate(id, to)).status, 404)
})

test('each microversion has its own form', async () => {
  const { id, to } = await serverAndOther()
  const body = (inner: object) => ({ 'os-migrateLive': inner })
  const ask = (version: string, inner: object) =>
    rig.call('POST', `/servers/${id}/action`, { as: 'admin', version, body: body(inner) })
  for (const [version, inner] of [
    ['2.1', { host: to, block_migration: 'auto', disk_over_commit: false }],
    ['2.1', { host: to, block_migration: false }],
    ['2.25', { host: to, block_migration: 'auto', disk_over_commit: false }],
    ['2.25', { host: to, block_migration: 'auto', force: true }],
    ['2.68', { host: to, block_migration: 'auto', force: true }],
    ['2.68', { block_migration: 'auto' }],
    ['2.68', { host: 'a b', block_migration: 'auto' }],
  ] as const) {
    assert.equal((await ask(version, inner)).status, 400, `${version} ${JSON.stringify(inner)}`)
  }
  for (const [version, inner] of [
    ['2.1', { host: null, block_migration: false, disk_over_commit: false }],
    ['2.25', { host: null, block_migration: 'auto' }],
    ['2.30', { host: null, block_migration: 'auto', force: false }],
  ] as const) {
    const { status } = await ask(version, inner)
    assert.equal(status, 202, `${version} ${JSON.stringify(inner)}`)
    await rig.settle(id, 'ACTIVE')
  }
  await removed(id)
})

test('while it is under way it is shown, nothing else is done with its server or volumes, and it can be given up', async () => {
  const { id, from, to, third } = await serverAndOther()
  const [attached] = await rig.world.records.attachments.ofServer(id)
  const volumeId = attached?.volumeId as string
  const number = await underWay(to, id, from)
  assert.equal((await show(id))['status'], 'MIGRATING')
  assert.equal((await migrate(id, third)).status, 409)
  const conflict = async (what: string, asked: Promise<{ status: number; body: unknown }>) => {
    const { status, body } = await asked
    assert.ok(status === 409 || status === 400, `${what}: ${status} ${JSON.stringify(body)}`)
    return JSON.stringify(body)
  }
  const free = await rig.volume()
  const attach = rig.call('POST', `/servers/${id}/os-volume_attachments`, {
    as: 'admin',
    body: { volumeAttachment: { volumeId: free } },
  })
  assert.match(await conflict('attach', attach), /task_state migrating/)
  assert.match(
    await conflict(
      'stop',
      rig.call('POST', `/servers/${id}/action`, { as: 'admin', body: { 'os-stop': null } }),
    ),
    /task_state migrating/,
  )
  const project = principals['admin']?.projectId
  const onVolume = (body: object) =>
    rig.call('POST', `/volume/v3/${project}/volumes/${volumeId}/action`, { as: 'admin', body })
  assert.match(
    await conflict('extend', onVolume({ 'os-extend': { new_size: 2 } })),
    /live-migrate/,
    'it is said what holds the volume',
  )
  const snapshot = rig.call('POST', `/volume/v3/${project}/snapshots`, {
    as: 'admin',
    body: { snapshot: { volume_id: volumeId, force: true } },
  })
  assert.match(await conflict('snapshot', snapshot), /live-migrate/)

  const path = `/servers/${id}/migrations/${number}`
  assert.equal((await rig.call('DELETE', path, { as: 'admin', version: '2.23' })).status, 404)
  assert.equal((await rig.call('DELETE', path, {})).status, 403)
  assert.equal((await rig.call('DELETE', `/servers/${id}/migrations/999`, { as: 'admin' })).status, 404)
  const given = await rig.call('DELETE', path, { as: 'admin', version: '2.24' })
  assert.equal(given.status, 202, JSON.stringify(given.body))
  const now = await rig.settle(id, 'ACTIVE')
  assert.equal(now?.['OS-EXT-SRV-ATTR:host'], from)
  assert.equal((await hostOf(from).guestStatus(id)).state, 'running')
  assert.equal((await hostOf(to).guestStatus(id)).state, 'absent')
  const again = await rig.call('DELETE', path, { as: 'admin' })
  assert.equal(again.status, 409)
  assert.match(again.body.conflictingRequest.message, /Cannot 'abort live migration' instance/)
  const { migrations } = (await rig.call('GET', `/os-migrations?instance_uuid=${id}`, { as: 'admin' })).body
  assert.equal(migrations[0].status, 'cancelled')
  const { instanceActions } = (await rig.call('GET', `/servers/${id}/os-instance-actions`, { as: 'admin' }))
    .body
  assert.deepEqual(
    instanceActions.slice(0, 2).map(({ action }: { action: string }) => action),
    ['live_migration_cancel', 'live-migration'],
  )
  await removed(id)
})

test('a forced one may let the guest stand still for as long as it takes', async () => {
  const { id, from, to } = await serverAndOther()
  const number = await underWay(to, id, from)
  const path = `/servers/${id}/migrations/${number}/action`
  const force = (body: unknown, version = '2.92') => rig.call('POST', path, { as: 'admin', body, version })
  assert.equal((await force({ force_complete: null }, '2.21')).status, 404)
  assert.equal((await force({ force_complete: {} })).status, 400)
  assert.ok((hostOf(from).limitsOf(id)?.downtimeMs ?? 0) <= 500)
  assert.equal((await force({ force_complete: null })).status, 202)
  await rig.until('forced', () => (hostOf(from).limitsOf(id)?.downtimeMs ?? 0) > 1_000_000)
  hostOf(from).advanceMigration(id)
  const now = await rig.settle(id, 'ACTIVE')
  assert.equal(now?.['OS-EXT-SRV-ATTR:host'], to)
  assert.equal((await force({ force_complete: null })).status, 409)
  await removed(id)
})

test('a volume that something else works on keeps its server where it is', async () => {
  const { id, from, to } = await serverAndOther()
  const [attached] = await rig.world.records.attachments.ofServer(id)
  const volumeId = attached?.volumeId as string
  await rig.world.records.attachments.update(attached?.id as string, { status: 'detaching' })
  const refused = await migrate(id, to)
  assert.equal(refused.status, 409)
  assert.match(refused.body.conflictingRequest.message, new RegExp(`Volume ${volumeId} .* is detaching`))
  await rig.world.records.attachments.update(attached?.id as string, { status: 'attached' })
  assert.equal((await show(id))['OS-EXT-SRV-ATTR:host'], from)
  await removed(id)
})

test('a server that is deleted while it is migrated is gone from both hosts', async () => {
  const { id, from, to } = await serverAndOther()
  await underWay(to, id, from)
  await removed(id)
  assert.equal((await hostOf(from).guestStatus(id)).state, 'absent')
  assert.equal((await hostOf(to).guestStatus(id)).state, 'absent')
})
