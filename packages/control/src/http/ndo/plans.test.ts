/** `/ndo/v1/plans` and `/ndo/v1/hosts` over real HTTP messages. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import type { PlanRequest } from '@volant/contract/ndo/plan.ts'
import { pino } from 'pino'
import type { HostPlans } from '../../app/host-plan.ts'
import type { Operations } from '../../app/operation.ts'
import { buildServer } from '../server.ts'
import { ndoService } from './service.ts'

test('a plan is shown with 200, begun with 202; what makes no sense is 400, and asked of nobody', async (t) => {
  const asked: [string, PlanRequest][] = []
  const kindsAsked = (): string[] => asked.map(([what]) => what)
  const plans = {
    plan: async (_principal: unknown, request: PlanRequest) => {
      asked.push(['plan', request])
      if (request.host === 'busy') throw new DomainError('conflict', 'it is being drained by operation 7')
      return { kind: request.kind }
    },
    start: async (_principal: unknown, request: PlanRequest) => {
      asked.push(['start', request])
      return { operationId: 'op', plan: { kind: request.kind } }
    },
    hosts: async () => [{ name: 'compute-1' }],
  } as unknown as HostPlans
  const operations = {
    show: async (_principal: unknown, id: string) => ({ id }),
    list: async (_principal: unknown, { kind }: { kind: string }) => ({
      operations: [{ kind, created_at: kind === 'host.drain' ? '1' : '2' }],
    }),
  } as unknown as Operations
  const unused = undefined as never
  const service = ndoService({
    tokens: { verify: async () => ({}) as never },
    operations,
    migrations: unused,
    undos: unused,
    status: unused,
    sweeps: unused,
    storage: unused,
    plans,
  })
  const app = await buildServer({ log: pino({ level: 'silent' }), services: [service] })
  t.after(() => app.close())
  const call = async (method: 'GET' | 'POST', path: string, payload?: object) => {
    const answer = await app.inject({
      method,
      url: `/ndo/v1${path}`,
      headers: { 'x-auth-token': 'admin' },
      ...(payload && { payload }),
    })
    return { status: answer.statusCode, body: answer.json() as Record<string, unknown> }
  }
  const drain = { kind: 'drain', host: 'compute-1' }
  for (const body of [
    {},
    { kind: 'drain' },
    { kind: 'empty', host: 'compute-1' },
    { ...drain, policy: 'gentle' },
    { ...drain, parallel: 0 },
    { ...drain, parallel: 33 },
    { ...drain, parallel: '2' },
    { ...drain, to: [] },
    { ...drain, to: 'compute-2' },
    { ...drain, rate: -1 },
    { ...drain, host: '' },
    { ...drain, dry_run: 'yes' },
    { ...drain, force: true },
  ]) {
    const { status, body: answer } = await call('POST', '/plans', body)
    assert.equal(status, 400, `${JSON.stringify(body)}: ${JSON.stringify(answer)}`)
  }
  assert.deepEqual(kindsAsked(), [])
  const shown = await call('POST', '/plans', { ...drain, dry_run: true })
  assert.deepEqual([shown.status, shown.body], [200, { plan: { kind: 'drain' } }])
  const begun = await call('POST', '/plans', { ...drain, policy: 'cold', parallel: 4, to: ['compute-2'] })
  assert.deepEqual([begun.status, begun.body], [202, { operation: { id: 'op' }, plan: { kind: 'drain' } }])
  assert.deepEqual(kindsAsked(), ['plan', 'start'])
  const busy = await call('POST', '/plans', { ...drain, host: 'busy', dry_run: true })
  assert.deepEqual(
    [busy.status, busy.body],
    [409, { error: { code: 'conflict', status: 409, message: 'it is being drained by operation 7' } }],
  )
  assert.deepEqual((await call('GET', '/hosts')).body, { hosts: [{ name: 'compute-1' }] })
  const { plans: listed } = (await call('GET', '/plans')).body as { plans: { kind: string }[] }
  assert.deepEqual(listed.map(({ kind }) => kind).slice(-1), ['host.drain'], 'newest first')
})
