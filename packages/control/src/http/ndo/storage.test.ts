/** `/ndo/v1/aggregates`, `flexvols`, `moves` and `vacates` over real HTTP messages, on a small cluster in memory. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import type { Move, MovePlan } from '@volant/contract/ndo/move.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { VacatePlan } from '@volant/contract/ndo/vacate.ts'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import pino from 'pino'
import { createAggregateAdministration } from '../../app/aggregate-administration.ts'
import { createFlexVolAdministration } from '../../app/flexvol-administration.ts'
import { createMoveAdministration } from '../../app/move-administration.ts'
import { operationEngine } from '../../app/operation-engine.ts'
import { createOperations } from '../../app/operation.ts'
import { createShareAdministration } from '../../app/share-administration.ts'
import { createVacates } from '../../app/vacate.ts'
import type { FlexVolMove } from '../../domain/flexvol-move.ts'
import type { Principal } from '../../domain/principal.ts'
import type { Share } from '../../domain/share.ts'
import { gib } from '../../domain/volume.ts'
import { vacateAggregate } from '../../operations/vacate-aggregate.ts'
import type { FlexVolMoves, Movement } from '../../ports/flexvol-moves.ts'
import { vacateRig } from '../../testing/vacate.ts'
import { buildServer } from '../server.ts'
import { ndoService } from './service.ts'

const admin: Principal = {
  userId: 'u',
  userName: 'admin',
  userDomainId: 'default',
  projectId: 'p',
  projectName: 'admin',
  roles: ['admin', 'member', 'reader'],
  systemScope: false,
  expiresAt: Infinity,
}

const unused = <T>(): T => ({}) as T

async function serve(t: TestContext) {
  const rig = vacateRig(['one', 'two', 'three'])
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'o',
    operations: [bind(vacateAggregate, rig.ports)],
    policy: hurriedPolicy,
  })
  await executor.begin()
  t.after(() => executor.stop())
  const flexvol = rig.named('one')
  const ended: FlexVolMove = {
    id: 'move-0',
    flexvolId: flexvol.id,
    from: { node: 'n1', aggregate: 'a' },
    to: { node: 'n1', aggregate: 'old' },
    cutoverWindowSeconds: 30,
    cutoverAction: 'retry_on_failure',
    cutover: 'automatic',
    state: 'succeeded',
    startedAt: '2026-11-22T09:00:00.000Z',
    endedAt: '2026-11-22T09:01:00.000Z',
  }
  const going: FlexVolMove = { ...ended, id: 'move-1', state: 'running', endedAt: null }
  const movement: Movement = {
    move: going,
    state: 'replicating',
    percentComplete: 42,
    progress: null,
    reason: null,
  }
  const wishes: unknown[][] = []
  const wish =
    (name: string) =>
    async (...args: unknown[]): Promise<void> => {
      wishes.push([name, ...args])
    }
  const moves = {
    ...rig.ports.moves,
    movements: async () => new Map([[flexvol.id, movement]]),
    movementOf: async (id: string) => (id === flexvol.id ? movement : undefined),
    images: async () => [],
    ...Object.fromEntries(
      ['modify', 'trigger', 'hold', 'pause', 'resume', 'abort'].map((name) => [name, wish(name)]),
    ),
  } as unknown as FlexVolMoves
  const flexvols = {
    ...rig.ports.flexvols,
    find: async (id: string) => rig.flexvols.get(id),
    get: async (id: string) => {
      const found = rig.flexvols.get(id)
      if (found === undefined) throw new DomainError('notFound', `FlexVol ${id} could not be found.`)
      return found
    },
    countVolumes: async () => 3,
  }
  const records = { find: async (id: string) => [ended, going].find((one) => one.id === id) }
  const list = async () => [going, ended]
  const shares = { find: async (id: string) => ({ id, name: 'docs' }) as Share }
  const engine = operationEngine(() => executor, new MemoryStore())
  const operations = createOperations({
    executor,
    volumes: { find: async () => undefined },
    flexvols,
    snapshots: { find: async () => undefined },
    moves: records,
    shares,
    serverName: async () => null,
    serverHosts: async () => null,
    undoableUntil: async () => null,
    pace: '2x',
    host: 'h',
  })
  const service = ndoService({
    tokens: { verify: async (token) => ({ ...admin, roles: token === 'admin' ? admin.roles : ['member'] }) },
    operations,
    migrations: unused(),
    undos: unused(),
    status: unused(),
    sweeps: unused(),
    storage: {
      aggregates: createAggregateAdministration({ ...rig.ports.aggregates, ...unused() }),
      flexvols: createFlexVolAdministration({
        application: unused(),
        flexvols,
        snapshots: { ofFlexVol: async () => [] },
        moves,
        backend: rig.ports.backend,
        shares,
        host: 'h',
      }),
      moves: createMoveAdministration({
        moves,
        records: { ...records, list },
        flexvols,
        shares,
        engine,
        host: 'h',
      }),
      vacates: createVacates({ ports: rig.ports, engine, rate: 0 }),
      shares: createShareAdministration(unused()),
    },
    plans: unused(),
  })
  const app = await buildServer({ log: pino({ level: 'silent' }), services: [service] })
  t.after(() => app.close())
  const call = async (method: 'GET' | 'POST' | 'DELETE', path: string, payload?: object, token = 'admin') => {
    const headers = { 'x-auth-token': token }
    const answer = await app.inject({ method, url: `/ndo/v1${path}`, headers, ...(payload && { payload }) })
    return { status: answer.statusCode, body: answer.json() as Record<string, unknown> }
  }
  return { rig, executor, call, wishes, flexvol }
}

test('FlexVols are shown with their pool, counts, and the move under way', async (t) => {
  const { call, flexvol, rig } = await serve(t)
  const { body } = await call('GET', `/flexvols/${flexvol.id}`)
  assert.deepEqual(body['flexvol'] as FlexVol, {
    id: flexvol.id,
    cluster: 'c',
    name: 'one',
    host: 'h@c#127.0.0.1:/one',
    share: null,
    node: 'n1',
    aggregate: 'old',
    size_bytes: null,
    used_bytes: gib,
    volumes: 3,
    snapshots: 0,
    move: { id: 'move-1', state: 'replicating', percent: 42, to: 'old@n1' },
  })
  assert.equal(((await call('GET', '/flexvols')).body['flexvols'] as FlexVol[]).length, 3)
  rig.flexvols.set(flexvol.id, { ...flexvol, shareId: 'share-1', lif: 'fd00::49' })
  const shown = (await call('GET', `/flexvols/${flexvol.id}`)).body['flexvol'] as FlexVol
  assert.deepEqual([shown.host, shown.volumes], [null, 0], 'a share is no pool, and its content no volume')
  assert.deepEqual(shown.share, { id: 'share-1', name: 'docs', export_location: '[fd00::49]:/one' })
  const [move] = (await call('GET', '/moves')).body['moves'] as Move[]
  assert.deepEqual(move?.flexvol, {
    id: flexvol.id,
    name: 'one',
    host: null,
    share: { id: 'share-1', name: 'docs' },
  })
  assert.equal((await call('GET', '/flexvols/nothing')).status, 404)
})

test('moves: the plan, the history, and each wish for the one under way; none for one that has ended', async (t) => {
  const { call, wishes, flexvol } = await serve(t)
  const planned = await call('POST', '/moves', { flexvol: flexvol.id, aggregate: 'a', dry_run: true })
  assert.deepEqual([planned.status, (planned.body['plan'] as MovePlan).flexvol.name], [200, 'one'])
  const { moves } = (await call('GET', '/moves?limit=5')).body as { moves: Move[] }
  assert.deepEqual(
    moves.map((move) => [move.id, move.state, move.percent, move.from, move.to]),
    [
      ['move-1', 'replicating', 42, 'a@n1', 'old@n1'],
      ['move-0', 'success', 100, 'a@n1', 'old@n1'],
    ],
  )
  const asked = [
    ['modify', { cutover_window: 60 }],
    ['trigger', undefined],
    ['hold', undefined],
    ['pause', undefined],
    ['resume', undefined],
    ['cancel', undefined],
  ] as const
  for (const [name, body] of asked) {
    assert.equal((await call('POST', `/moves/move-1/${name}`, body)).status, 202, name)
    const late = await call('POST', `/moves/move-0/${name}`, body)
    assert.deepEqual([late.status, (late.body['error'] as { code: string }).code], [409, 'conflict'], name)
    assert.equal((await call('POST', `/moves/nothing/${name}`, body)).status, 404, name)
  }
  assert.deepEqual(wishes, [
    ['modify', flexvol.id, { cutoverWindowSeconds: 60 }],
    ...['trigger', 'hold', 'pause', 'resume', 'abort'].map((name) => [name, flexvol.id]),
  ])
})

test('what is malformed is a 400 with the field, and nothing begins; who is no administrator gets a 403', async (t) => {
  const { call, rig, wishes, flexvol } = await serve(t)
  const move = { flexvol: flexvol.id, aggregate: 'a' }
  const malformed: [string, object][] = [
    ['/moves', {}],
    ['/moves', { ...move, cutover_window: 29 }],
    ['/moves', { ...move, cutover_window: 301 }],
    ['/moves', { ...move, cutover_action: 'never' }],
    ['/moves', { ...move, rate: -1 }],
    ['/moves', { ...move, speed: 'high' }],
    ['/moves/move-1/modify', {}],
    ['/moves/move-1/modify', { cutover_window: '60' }],
    ['/vacates', {}],
    ['/vacates', { cluster: 'c', aggregate: 'old', to: [] }],
    ['/vacates', { cluster: 'c', aggregate: 'old', node: 'n1' }],
    ['/vacates', { cluster: 'c' }],
    ['/vacates', { cluster: 'c', aggregate: 'old', to: ['old'] }],
    ['/aggregates', { cluster: 'c' }],
    ['/aggregates', { cluster: 'c', name: 'x', filesystem: 'ext4' }],
    ['/flexvols', { cluster: 'c', name: 'x' }],
    [`/flexvols/${flexvol.id}/resize`, { size_bytes: 0 }],
  ]
  for (const [path, body] of malformed) {
    const answer = await call('POST', path, body)
    assert.equal(answer.status, 400, `${path} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`)
  }
  assert.equal((await call('GET', '/moves?limit=many')).status, 400)
  const member: ['GET' | 'POST' | 'DELETE', string, object?][] = [
    ['GET', '/aggregates'],
    ['GET', '/shares'],
    ['GET', '/shares/one'],
    ['POST', '/aggregates', { cluster: 'c', name: 'x' }],
    ['DELETE', '/aggregates/c/a'],
    ['GET', '/flexvols'],
    ['GET', `/flexvols/${flexvol.id}`],
    ['POST', '/flexvols', { cluster: 'c', name: 'x', aggregate: 'a' }],
    ['POST', `/flexvols/${flexvol.id}/resize`, { size_bytes: null }],
    ['DELETE', `/flexvols/${flexvol.id}`],
    ['GET', '/moves'],
    ['GET', '/moves/move-1'],
    ['POST', '/moves', move],
    ['POST', '/moves/move-1/cancel'],
    ['POST', '/moves/move-1/modify', { cutover_window: 60 }],
    ['POST', '/vacates', { cluster: 'c', aggregate: 'old' }],
  ]
  for (const [method, path, body] of member) {
    assert.equal((await call(method, path, body, 'member')).status, 403, `${method} ${path}`)
  }
  assert.deepEqual([rig.started, wishes], [[], []])
})

test('a vacate: its plan changes nothing; it moves everything, as one operation with the progress of all', async (t) => {
  const { call, rig, executor } = await serve(t)
  const wish = { cluster: 'c', aggregate: 'old' }
  const { plan } = (await call('POST', '/vacates', { ...wish, dry_run: true })).body as { plan: VacatePlan }
  assert.deepEqual(
    plan.moves.map((move) => [move.flexvol.name, move.to, move.bytes / gib]),
    [
      ['three', 'a@n1', 3],
      ['two', 'a@n1', 2],
      ['one', 'a@n1', 1],
    ],
  )
  assert.deepEqual([plan.ok, plan.aggregates, plan.estimate.bytes / gib], [true, ['old@n1'], 6])
  assert.deepEqual(rig.started, [])

  const started = await call('POST', '/vacates', wish)
  assert.equal(started.status, 202)
  const { id, resource } = started.body['operation'] as Operation
  assert.deepEqual(resource, { type: 'aggregate', id: 'c/old', name: 'c/old' })
  await executor.ended(id)
  const shown = (await call('GET', `/operations/${id}`)).body['operation'] as Operation
  assert.equal(shown.state, 'succeeded')
  assert.deepEqual(shown.progress.flexvols, { total: 3, moved: 3, moving: 0, waiting: 0, stuck: 0 })
  assert.equal(shown.progress.images?.moved, 6)
  assert.equal(shown.client_pause_ms, 1.5)
  assert.deepEqual(rig.at('old'), [])
})

test('a vacate is refused: no such thing (404), nothing can move (409), one is under way (409); the reasons are told', async (t) => {
  const { call, rig, executor } = await serve(t)
  const code = async (body: object): Promise<[number, string]> => {
    const answer = await call('POST', '/vacates', body)
    return [answer.status, (answer.body['error'] as { message: string } | undefined)?.message ?? '']
  }
  const [status, message] = await code({ cluster: 'c', aggregate: 'new' })
  assert.equal(status, 404)
  assert.match(message, /It has: old, a, b/)
  assert.equal((await code({ cluster: 'x', aggregate: 'old' }))[0], 404)
  assert.equal((await code({ cluster: 'c', node: 'n2' }))[0], 404)
  assert.equal((await code({ cluster: 'c', aggregate: 'old', to: ['x'] }))[0], 404)
  const [whole, why] = await code({ cluster: 'c', node: 'n1' })
  assert.equal(whole, 409)
  assert.match(why, /Nothing of old@n1, a@n1, b@n1 can move.*no aggregate besides/)
  assert.deepEqual(rig.started, [])

  assert.equal((await code({ cluster: 'c', aggregate: 'old' }))[0], 202)
  const [again, held] = await code({ cluster: 'c', aggregate: 'old' })
  assert.equal(again, 409)
  assert.match(held, /aggregate\/c\/old|aggregate\.vacate/)
  const { runs } = await executor.list({ limit: 10 })
  await executor.ended(runs[0]?.id ?? '')
})
