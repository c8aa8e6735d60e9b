import assert from 'node:assert/strict'
import { after, beforeEach, test } from 'node:test'
import type { DomainError, HypervisorFacts } from '@volant/contract'
import { computeServiceRecords } from '../db/repositories/compute-service.ts'
import { serverGroupRecords } from '../db/repositories/server-group.ts'
import { serverMigrationRecords } from '../db/repositories/server-migration.ts'
import { serverRecords } from '../db/repositories/server.ts'
import { openMemoryDatabase } from '../testing/database.ts'
import type { ServerGroupPolicy } from '../domain/server-group.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import type { Server } from '../domain/server.ts'
import type { Topology } from '../domain/topology.ts'
import type { HostView } from '../ports/hosts.ts'
import { buildingServer } from '../testing/servers.ts'
import { createScheduler, type Scheduler } from './scheduler.ts'

const now = new Date('2026-11-22T10:00:00.000Z')
const topology: Topology = {
  host: 'h',
  availabilityZone: 'nova',
  clusters: [],
  computeHosts: [
    { name: 'a', machine: 'm', vcpus: 4, memoryMiB: 2048 },
    { name: 'b', machine: 'm', vcpus: 4, memoryMiB: 1024 },
    { name: 'c', machine: 'm', vcpus: 4, memoryMiB: 4096, availabilityZone: 'east' },
  ],
}

type Db = Awaited<ReturnType<typeof openMemoryDatabase>>
const open: Db[] = []
after(async () => {
  for (const db of open) await db.destroy()
})

let db: Db
let servers: ReturnType<typeof serverRecords>
let migrations: ReturnType<typeof serverMigrationRecords>
let groups: ReturnType<typeof serverGroupRecords>
let services: ReturnType<typeof computeServiceRecords>
let scheduler: Scheduler
/** Hosts that do not answer; what a new look at them finds. */
let silent: Set<string>
let returning: () => void
let facts: Map<string, HypervisorFacts>

beforeEach(async () => {
  db = await openMemoryDatabase()
  open.push(db)
  servers = serverRecords(db)
  migrations = serverMigrationRecords(db)
  groups = serverGroupRecords(db)
  services = computeServiceRecords(db)
  silent = new Set()
  facts = new Map()
  returning = () => {}
  for (const { name } of topology.computeHosts) {
    await services.ensure({
      id: `service-${name}`,
      host: name,
      binary: 'nova-compute',
      hypervisorId: name,
      disabled: false,
      disabledReason: null,
      forcedDown: false,
      createdAt: now.toISOString(),
      updatedAt: now.toISOString(),
    })
  }
  const view = (host: string): HostView => ({
    host,
    answers: !silent.has(host),
    facts: facts.get(host),
    guests: new Map(),
    seenAt: now,
  })
  scheduler = createScheduler({
    servers,
    services,
    migrations,
    groups,
    hosts: { list: () => topology.computeHosts.map(({ name }) => view(name)), find: view },
    refresh: async () => returning(),
    topology,
    now: () => now,
  })
})

let count = 0
const id = (): string => `00000000-0000-4000-8000-${String((count += 1)).padStart(12, '0')}`

/** A server of 512 MiB, on a host or building. */
async function server(host: string | null, fields: Partial<Server> = {}, groupId?: string): Promise<string> {
  const [made] = await servers.create([buildingServer({ id: id(), host, ...fields })], groupId)
  return (made as Server).id
}

async function group(policy: ServerGroupPolicy, maxServerPerHost?: number): Promise<string> {
  const groupId = id()
  await groups.create({
    id: groupId,
    projectId: 'p',
    userId: 'u',
    name: 'g',
    policy,
    rules: maxServerPerHost === undefined ? {} : { maxServerPerHost },
    createdAt: now.toISOString(),
  })
  return groupId
}

/** Holds room for the server, as those who move it do. */
async function reserve(
  serverId: string,
  host: string,
  fields: Partial<ServerMigration> = {},
): Promise<string> {
  const { flavor } = buildingServer()
  const made = await migrations.create({
    id: id(),
    serverId,
    kind: 'live-migration',
    status: 'preparing',
    sourceHost: 'a',
    destHost: host,
    oldFlavor: { ...flavor, id: '1' },
    newFlavor: { ...flavor, id: '1' },
    wasRunning: true,
    heads: {},
    vcpus: flavor.vcpus,
    memoryMib: flavor.memoryMib,
    reserves: host,
    operationId: null,
    userId: 'u',
    projectId: 'p',
    memoryTotal: null,
    memoryProcessed: null,
    memoryRemaining: null,
    downtimeMs: null,
    message: null,
    createdAt: now.toISOString(),
    updatedAt: now.toISOString(),
    ...fields,
  } as Omit<ServerMigration, 'number'>)
  return made.id
}

const refusals = async (serverId: string, more: object = {}): Promise<Record<string, string | null>> =>
  Object.fromEntries(
    (await scheduler.candidates({ serverId, ...more })).map(({ host, refusal }) => [host, refusal]),
  )
const choose = (serverId: string, more: object = {}) =>
  scheduler.choose({ serverId, ...more }, async () => {})
const refused = (words: RegExp) => (error: DomainError) => {
  assert.equal(error.code, 'invalid')
  assert.match(error.message, words)
  return true
}

test('every other host is a candidate with its reason, and choosing takes the best', async () => {
  const one = await server('a')
  assert.deepEqual(await refusals(one), { b: null, c: null })
  assert.equal(await choose(one), 'c', 'it has the most free memory')
  await services.update('service-c', { disabled: true, disabledReason: 'fan', updatedAt: '' })
  await services.update('service-b', { forcedDown: true, updatedAt: '' })
  assert.deepEqual(await refusals(one), {
    b: 'is down: an administrator forced it down',
    c: 'is disabled: fan',
  })
  await assert.rejects(
    choose(one),
    refused(/^No valid host was found\. b is down: .* forced it down\. c is disabled: fan\.$/),
  )
  await assert.rejects(
    choose(one, { host: 'c' }),
    refused(/^No valid host was found\. c is disabled: fan\.$/),
  )
})

test('room that is held for those on their way is not given out twice, also at the same moment', async () => {
  const first = await server('a')
  const second = await server('a')
  const third = await server('a')
  const among = ['b']
  const store = (serverId: string) => async (host: string) => void (await reserve(serverId, host))
  const results = await Promise.allSettled(
    [first, second, third].map((serverId) => scheduler.choose({ serverId, among }, store(serverId))),
  )
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected'],
  )
  assert.match(
    (await refusals(third))['b'] ?? '',
    /too little memory: 512 MiB are needed, 0 of 1024 MiB are free/,
  )
})

test('what is held is free again when its migration holds it no longer', async () => {
  const [one, other] = [await server('a'), await server('a')]
  await server('b')
  const held = await reserve(other, 'b')
  assert.match((await refusals(one))['b'] ?? '', /too little memory/)
  await migrations.update(held, { reserves: null, status: 'error' })
  assert.equal((await refusals(one))['b'], null)
})

test('a resized server has its new flavor where it is, and its old one where it came from until it is confirmed', async () => {
  const big = { ...buildingServer().flavor, memoryMib: 1024 }
  const resized = await server('b', { flavor: big })
  const held = await reserve(resized, 'a', { kind: 'resize', status: 'finished', memoryMib: 512 })
  const one = await server('c')
  const free = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      (await scheduler.candidates({ serverId: one })).map((each) => [each.host, each.freeMemoryMib]),
    )
  assert.deepEqual(await free(), { a: 1536, b: 0 })
  await migrations.update(held, { reserves: null, status: 'confirmed' })
  assert.deepEqual(await free(), { a: 2048, b: 0 })
  // A new flavor is what must fit.
  const more = await refusals(one, { flavor: { vcpus: 1, memoryMib: 2049 } })
  assert.match(more['a'] ?? '', /2049 MiB are needed, 2048 of 2048 MiB are free/)
})

test('a server that was made in a zone by name stays in it; others go anywhere', async () => {
  const bound = await server('a', { pinnedZone: 'nova' })
  assert.deepEqual(await refusals(bound), {
    b: null,
    c: 'is in availability zone east, and the server belongs in nova',
  })
  assert.equal(await choose(bound), 'b')
  assert.equal(await choose(await server('a')), 'c')
})

test('groups hold wherever a server goes, and one on its way is at both ends', async () => {
  const apart = await group('anti-affinity')
  const [one, other] = [await server('a', {}, apart), await server('b', {}, apart)]
  assert.match((await refusals(one))['b'] ?? '', new RegExp(`has server ${other} of server group 'g'`))
  assert.equal(await choose(one), 'c')
  await reserve(other, 'c')
  assert.match((await refusals(one))['c'] ?? '', new RegExp(`has server ${other} of`))
  await assert.rejects(choose(one), refused(/b has server .* c has server/))
  await servers.update(other, { deletedAt: now.toISOString() })
  assert.deepEqual(await refusals(one), { b: null, c: null }, 'the deleted one has left the group')

  const together = await group('affinity')
  const [left] = [await server('a', {}, together), await server('a', {}, together)]
  assert.match((await refusals(left))['b'] ?? '', /is not where server group 'g' \(affinity\) is: a/)
  await services.update('service-a', { forcedDown: true, updatedAt: '' })
  assert.equal((await refusals(left))['b'], null, 'all have to leave a host that is down')
  await services.update('service-a', { forcedDown: false, disabled: true, updatedAt: '' })
  assert.equal(await choose(left), 'c', 'and one that is disabled')
  await servers.update(left, { host: 'c' })
  const [next] = (await servers.onHost('a')).filter(({ id: other }) => other !== one)
  assert.deepEqual(await refusals(next?.id ?? ''), {
    b: "is not where server group 'g' (affinity) is: c",
    c: null,
  })
  await services.update('service-a', { disabled: false, updatedAt: '' })
  await servers.update(left, { host: 'a' })
  await groups.remove(together)
  assert.equal((await refusals(left))['c'], null)
})

test('servers of a group are placed by it, one after the other', async () => {
  const two = await group('anti-affinity', 2)
  const places: (string | undefined)[] = []
  for (let i = 0; i < 7; i += 1) places.push(await scheduler.place(await server(null, {}, two), {}))
  assert.deepEqual(places.toSorted(), ['a', 'a', 'b', 'b', 'c', 'c', undefined])
})

test('soft policies spread, and affinity keeps together though others have more room', async () => {
  const soft = await group('soft-anti-affinity')
  const spread: (string | undefined)[] = []
  for (let i = 0; i < 2; i += 1) spread.push(await scheduler.place(await server(null, {}, soft), {}))
  assert.equal(new Set(spread).size, 2)
  const near = await group('affinity')
  const first = await scheduler.place(await server(null, {}, near), { host: 'a' })
  assert.equal(first, 'a')
  assert.equal(await scheduler.place(await server(null, {}, near), {}), 'a')
})

test('who names a host is told why it is none', async () => {
  const one = await server('a')
  await assert.rejects(
    choose(one, { host: 'a' }),
    refused(new RegExp(`Unable to migrate instance \\(${one}\\) to current host \\(a\\)`)),
  )
  await assert.rejects(choose(one, { host: 'z' }), refused(/Compute host z could not be found\./))
  await services.update('service-b', { disabled: true, updatedAt: '' })
  await assert.rejects(scheduler.place(await server(null), { host: 'b' }), {
    code: 'noCapacity',
    message: 'No valid host was found. b is disabled.',
  })
  assert.equal((await servers.onHost('b')).length, 0)
})

test('hosts that are left out are not chosen, and an agent that has only just come back is', async () => {
  const one = await server('a')
  assert.equal(await choose(one, { except: ['c'] }), 'b')
  assert.equal(await choose(one, { among: ['b'] }), 'b')
  assert.equal((await refusals(one, { among: ['b'] }))['c'], 'is not among the hosts to choose from')
  // Up still, for it answered a moment ago.
  facts.set('c', { vcpus: 4, memoryMiB: 4096 } as HypervisorFacts)
  silent = new Set(['b', 'c'])
  assert.equal((await refusals(one))['c'], 'does not answer now')
  returning = () => silent.delete('b')
  assert.match((await refusals(one))['b'] ?? '', /is down: its agent does not answer/)
  assert.equal(await choose(one), 'b')
})
