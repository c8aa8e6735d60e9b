/** `/ndo/v1/operations` over real HTTP messages, on an engine with a scripted operation. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import { until } from '@volant/contract/testing/until.ts'
import type { HistoryPage, OperationRecord } from '@volant/contract/ndo/history.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { final } from '@volant/saga'
import { bench, flow } from '@volant/saga/testing/flow.ts'
import pino from 'pino'
import { createOperations } from '../../app/operation.ts'
import type { Principal } from '../../domain/principal.ts'
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
  const given = bench()
  const executor = await given.engine()
  t.after(() => given.stop())
  const operations = createOperations({
    executor,
    volumes: { find: async () => undefined },
    flexvols: { find: async () => undefined },
    snapshots: { find: async () => undefined },
    shares: { find: async () => undefined },
    moves: { find: async () => undefined },
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
    storage: unused(),
    plans: unused(),
  })
  const app = await buildServer({ log: pino({ level: 'silent' }), services: [service] })
  t.after(() => app.close())
  const call = async (method: 'GET' | 'POST' | 'PUT', path: string, payload?: object, token = 'admin') => {
    const headers = { 'x-auth-token': token }
    const answer = await app.inject({
      method,
      url: `/ndo/v1/operations${path}`,
      headers,
      ...(payload && { payload }),
    })
    return { status: answer.statusCode, body: answer.json() as Record<string, unknown> }
  }
  return { given, executor, operations, call }
}

const broken = (): never => {
  throw final('still mounted')
}

test('what needs attention shows the step, the reason, and the commands that go on', async (t) => {
  const { given, executor, call } = await serve(t)
  given.ports.script['clear'] = broken
  const { id } = await executor.start(flow, { id: '1' })
  await executor.ended(id)
  const { body } = await call('GET', `/${id}`)
  const { attention, commands } = body['operation'] as Operation
  assert.deepEqual(attention, {
    step: 'clear',
    reason: 'still mounted',
    skip: 'what is not cleared away harms nobody',
    decide: false,
  })
  assert.deepEqual(
    commands,
    ['show', 'resume', 'skip'].map((command) => `volant operations ${command} ${id}`),
  )
  const listed = await call('GET', '?state=needs-attention')
  assert.equal((listed.body['operations'] as Operation[]).length, 1)

  assert.equal((await call('POST', `/${id}/skip`)).status, 202)
  await executor.ended(id)
  const ended = (await call('GET', `/${id}`)).body['operation'] as Operation
  assert.deepEqual([ended.state, ended.attention, ended.commands], ['succeeded', null, []])
})

test('a commit that nobody can tell of is decided by a person', async (t) => {
  const { given, executor, call } = await serve(t)
  given.ports.script['switch'] = broken
  given.ports.script['happened'] = broken
  const { id } = await executor.start(flow, { id: '1' })
  await executor.ended(id)
  const shown = (await call('GET', `/${id}`)).body['operation'] as Operation
  assert.deepEqual([shown.attention?.decide, shown.attention?.skip], [true, null])
  assert.deepEqual(shown.commands.slice(1), [
    `volant operations resume ${id}`,
    `volant operations decide ${id} --happened yes`,
    `volant operations decide ${id} --happened no`,
  ])
  for (const body of [{}, { happened: 'maybe' }, { happened: true, sure: true }]) {
    assert.equal((await call('POST', `/${id}/decide`, body)).status, 400)
  }
  assert.equal((await executor.get(id)).state, 'needs-attention')
  assert.equal((await call('POST', `/${id}/decide`, { happened: false })).status, 202)
  assert.equal((await executor.ended(id)).state, 'failed')
})

test('a command in a wrong state is a 409 that names the state and what is possible', async (t) => {
  const { given, executor, call } = await serve(t)
  given.ports.script['equal'] = () => ({ done: false })
  const { id } = await executor.start(flow, { id: '1' })
  await until('it waits', async () => (await executor.get(id)).state === 'waiting')
  const wrong = [
    ['POST', 'resume', undefined],
    ['POST', 'skip', undefined],
    ['POST', 'decide', { happened: true }],
  ] as const
  for (const [method, command, body] of wrong) {
    const answer = await call(method, `/${id}/${command}`, body)
    const { code, message } = answer.body['error'] as { code: string; message: string }
    assert.deepEqual([answer.status, code], [409, 'conflict'], command)
    assert.match(message, /is waiting at 'equal': .* Possible now: pause, cancel, rate\./)
  }
  assert.equal((await call('POST', `/${id}/cancel`)).status, 202)
  await executor.ended(id)
  const all = [...wrong, ['POST', 'pause', undefined], ['POST', 'cancel', undefined]] as const
  for (const [method, command, body] of all) {
    const answer = await call(method, `/${id}/${command}`, body)
    const { message } = answer.body['error'] as { message: string }
    assert.equal(answer.status, 409, command)
    assert.match(message, /has ended: it is cancelled/)
  }
  assert.equal((await call('PUT', `/${id}/rate`, { bytes_per_second: 5 })).status, 409)
  assert.equal((await call('POST', '/none/skip')).status, 404)
  assert.equal((await call('POST', `/${id}/skip`, undefined, 'member')).status, 403)
})

test('while the database takes no writes a command is a 503 with the reason, and what is known is still shown', async (t) => {
  const { given, executor, call } = await serve(t)
  given.ports.script['equal'] = () => ({ done: false })
  const { id } = await executor.start(flow, { id: '1' })
  const { setControls } = given.store
  given.store.setControls = () =>
    Promise.reject(new DomainError('unavailable', 'The database cannot be used now: its disk is full.'))
  for (const command of ['pause', 'cancel']) {
    const answer = await call('POST', `/${id}/${command}`)
    assert.deepEqual(
      [answer.status, answer.body['error']],
      [
        503,
        { code: 'unavailable', status: 503, message: 'The database cannot be used now: its disk is full.' },
      ],
    )
  }
  assert.equal((await call('GET', `/${id}`)).status, 200)
  given.store.setControls = setControls.bind(given.store)
  assert.equal((await call('POST', `/${id}/cancel`)).status, 202)
  assert.equal((await executor.ended(id)).state, 'cancelled')
})

test('the history of one operation, and of all of them page by page', async (t) => {
  const { given, executor, call } = await serve(t)
  given.ports.script['copy'] = () => ({ bytes: 7 })
  const ids: string[] = []
  for (let i = 0; i < 5; i++) {
    if (i === 4) given.ports.script['equal'] = broken
    const { id } = await executor.start(flow, { id: String(i) })
    await executor.ended(id)
    ids.unshift(id)
    // Of one millisecond they would be ordered by their ids.
    await new Promise((go) => setTimeout(go, 2))
  }
  const get = async (path: string) => {
    const answer = await call('GET', path)
    return { status: answer.status, body: answer.body as unknown as OperationRecord & HistoryPage }
  }
  const one = (await get(`/${ids[0]}/history`)).body
  assert.deepEqual(
    [one.id, one.kind, one.version, one.input, one.state, one.failure?.message],
    [ids[0], 'thing.move', 1, { id: '4' }, 'failed', 'still mounted'],
  )
  assert.deepEqual(
    one.history.map(({ seq }) => seq),
    one.history.map((_, i) => i + 1),
  )
  const copied = one.history.find(({ event, step }) => event === 'done' && step === 'copy')
  assert.deepEqual(copied?.output, { bytes: 7 })
  const failed = one.history.find(({ event }) => event === 'failed')
  assert.deepEqual([failed?.failure?.class, failed?.decision], ['final', 'unwind'])
  assert.equal(one.history.at(-1)?.state, 'failed')

  const seen: string[] = []
  let marker = ''
  for (let pages = 1; ; pages++) {
    const { body } = await get(`/../history?limit=2${marker}`)
    seen.push(...body.records.map(({ id }) => id))
    if (body.next_marker === null) {
      assert.equal(pages, 3)
      break
    }
    marker = `&marker=${body.next_marker}`
  }
  assert.deepEqual(seen, ids)
  const future = new Date(Date.now() + 60_000).toISOString()
  assert.deepEqual((await get(`/../history?since=${future}`)).body.records, [])
  assert.equal((await get('/../history?since=2020-01-01T00:00:00%2B02:00')).body.records.length, 5)
  assert.equal((await get('/../history?since=yesterday')).status, 400)
  assert.equal((await get('/../history?limit=1000')).status, 400)
  assert.equal((await call('GET', `/${ids[0]}/history`, undefined, 'member')).status, 403)
  assert.equal((await call('GET', '/../history', undefined, 'member')).status, 403)
})

test('parts are listed below their parent, not beside it, unless they are asked for or need somebody', async (t) => {
  const { given, executor, operations, call } = await serve(t)
  given.ports.script['equal'] = () => ({ done: false })
  const parent = await executor.start(flow, { id: 'whole' })
  await new Promise((go) => setTimeout(go, 2))
  const part = await executor.start(flow, { id: 'part' }, { parent: parent.id })
  const ids = async (query: string): Promise<string[]> => {
    const { body } = await call('GET', query)
    return (body['operations'] as Operation[]).map(({ id }) => id)
  }
  assert.deepEqual(await ids(''), [parent.id])
  assert.deepEqual(await ids('?parts=false'), [parent.id])
  assert.deepEqual(await ids('?parts=true'), [part.id, parent.id])
  assert.deepEqual(await ids(`?parent=${parent.id}`), [part.id])
  assert.deepEqual(await ids(`?kind=${flow.kind}`), [part.id, parent.id])
  assert.equal((await call('GET', '?parts=yes')).status, 400)
  const shown = (await call('GET', `/${part.id}`)).body['operation'] as Operation
  assert.equal(shown.parent, parent.id)
  assert.deepEqual(
    await operations.counts(),
    { running: 1 },
    'as many as are listed, in the state that is shown',
  )
  given.ports.script['clear'] = broken
  given.ports.script['equal'] = () => ({ done: true })
  assert.equal((await executor.ended(part.id)).state, 'needs-attention')
  assert.ok((await ids('?state=needs-attention')).includes(part.id))
  assert.equal((await executor.ended(parent.id)).state, 'needs-attention')
  assert.deepEqual(await operations.counts(), { 'needs-attention': 2 }, 'the part, too')
})

test('a pace is changed while the operation runs, and what is no pace is refused and changes nothing', async (t) => {
  const { given, executor, call } = await serve(t)
  given.ports.script['equal'] = () => ({ done: false })
  const { id } = await executor.start(flow, { id: '1' })
  const controls = async () => ((await call('GET', `/${id}`)).body['operation'] as Operation).controls
  assert.deepEqual(await controls(), { paused: false, rate_limit: 0, pace: '2x', priority: 'normal' })
  assert.equal((await call('PUT', `/${id}/pace`, { pace: '5 MS', priority: 'low' })).status, 202)
  assert.deepEqual(await controls(), { paused: false, rate_limit: 0, pace: '5ms', priority: 'low' })
  assert.equal((await call('PUT', `/${id}/pace`, { pace: '50MiB/s' })).status, 202)
  assert.deepEqual(await controls(), { paused: false, rate_limit: 0, pace: '50M', priority: 'low' })

  for (const [body, reason] of [
    [{ pace: 'fast' }, /'fast' is not understood: it is none of 2x, 5ms, 50M or full/],
    [{ pace: '0.5x' }, /from 1\.1x to 100x/],
    [{ priority: 'urgent' }, /There are: high, normal, low/],
    [{}, /./],
    [{ pace: 5 }, /./],
    [{ pace: '2x', rate: 5 }, /./],
  ] as const) {
    const { status, body: answer } = await call('PUT', `/${id}/pace`, body)
    assert.equal(status, 400, JSON.stringify(body))
    assert.match((answer['error'] as { message: string }).message, reason)
  }
  assert.equal((await call('PUT', `/${id}/pace`, { pace: '3x' }, 'member')).status, 403)
  assert.equal((await controls()).pace, '50M')
  await executor.cancel(id)
  await executor.ended(id)
  assert.equal((await call('PUT', `/${id}/pace`, { pace: '3x' })).status, 409)
})
