import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { aggregateUuid, openOntapRig, type OntapReply, type OntapRig } from './ontap-rig.ts'

let rig: OntapRig
let path = ''
beforeEach(async () => {
  rig = await openOntapRig()
  path = `/api/storage/volumes/${rig.world.lma.id}`
})
afterEach(() => rig.stop())

const patch = (body: unknown, query = '') => rig.call('PATCH', path + query, { body })
const refusal = ({ status, body }: OntapReply) => [status, body.error?.code, body.error?.target]
const destination = 'movement.destination_aggregate.name'
const started = () => rig.wishes.filter(([wish]) => wish === 'start').map(([, request]) => request)

describe('a move begins', () => {
  test('by the name of its destination: a job, and the movement is shown', async () => {
    const begun = await patch({ movement: { destination_aggregate: { name: 'aggr2' } } })
    assert.equal(begun.status, 202)
    const href = begun.body.job._links.self.href
    const job = (await rig.call('GET', href)).body
    assert.equal(job.description, `PATCH ${path}`)
    assert.ok(['queued', 'running'].includes(job.state), job.state)
    const { movement } = (await rig.call('GET', `${path}?fields=movement`)).body
    assert.deepEqual(
      [movement.state, movement.percent_complete, movement.cutover_window, movement.destination_aggregate],
      ['replicating', 41, 30, { name: 'aggr2', uuid: aggregateUuid('aggr2') }],
    )
    assert.ok(Date.parse(movement.start_time) > 0)
    await rig.endMove()
    assert.equal((await rig.call('GET', href)).body.state, 'success')
    const ended = (await rig.call('GET', `${path}?fields=movement.state,movement.percent_complete`)).body
    assert.deepEqual(ended.movement, { state: 'success', percent_complete: 100 })
  })

  test('by UUID, with window and action; a client that waits long enough gets 200', async () => {
    const movement = {
      destination_aggregate: { uuid: aggregateUuid('aggr2') },
      cutover_window: 120,
      cutover_action: 'abort_on_failure',
      tiering_policy: 'none',
    }
    const waiting = patch({ movement }, '?return_timeout=60')
    while (started().length === 0) await new Promise(setImmediate)
    await rig.endMove()
    assert.equal((await waiting).status, 200)
    const flexvolId = rig.world.lma.id
    assert.deepEqual(started(), [
      { flexvolId, aggregate: 'aggr2', cutoverWindowSeconds: 120, cutoverAction: 'abort_on_failure' },
    ])
  })

  for (const state of ['wait', 'cutover_wait']) {
    test(`with its cutovers held, by the state ${state}, on the collection with a query`, async () => {
      const body = { [destination]: 'aggr2', 'movement.state': state, 'encryption.enabled': 'false' }
      const query = '/api//storage/volumes/?name=cinder_flexvol_OSTK02'
      assert.equal((await rig.call('PATCH', query, { body })).status, 202)
      assert.deepEqual(started(), [
        { flexvolId: rig.world.lma.id, aggregate: 'aggr2', cutoverAction: 'wait' },
      ])
    })
  }

  test('paused', async () => {
    assert.equal((await patch({ [destination]: 'aggr2', 'movement.state': 'paused' })).status, 202)
    assert.deepEqual(
      rig.wishes.map(([wish]) => wish),
      ['start', 'pause'],
    )
  })
})

test('validate_only reports every reason at once, and changes nothing', async () => {
  for (const [query, body] of [
    ['?validate_only=true', { [destination]: 'aggr2' }],
    ['', { [destination]: 'aggr2', validate_only: 'true' }],
  ] as const) {
    const fine = await patch(body, query)
    assert.deepEqual([fine.status, fine.body], [200, {}])
  }
  assert.deepEqual(rig.wishes, [])
  await patch({ [destination]: 'aggr2' })
  const both = await patch({ [destination]: 'aggr1' }, '?validate_only=true')
  assert.deepEqual(refusal(both), [409, '8', 'movement.destination_aggregate'])
  assert.equal(both.body.error.message, 'It is on aggr1 already. It is moving.')
  assert.deepEqual(
    both.body.error.arguments.map(({ code }: { code: string }) => code),
    ['8', '13107406'],
  )
  assert.equal(started().length, 1)
})

describe('a move under way', () => {
  const wishes: [body: object, expected: unknown[]][] = [
    [{ 'movement.state': 'paused' }, ['pause']],
    [{ 'movement.state': 'replicating' }, ['resume']],
    [{ 'movement.state': 'aborted' }, ['abort']],
    [{ 'movement.state': 'cutover' }, ['trigger']],
    [{ 'movement.state': 'cutover_wait' }, ['hold']],
    [{ 'movement.state': 'wait' }, ['hold']],
    [{ movement: { cutover_window: 300 } }, ['modify', { cutoverWindowSeconds: 300 }]],
    [{ movement: { cutover_window: '30' } }, ['modify', { cutoverWindowSeconds: 30 }]],
    [{ movement: { cutover_action: 'defer_on_failure' } }, ['modify', { cutoverAction: 'defer_on_failure' }]],
  ]
  for (const [body, [wish, ...given]] of wishes) {
    test(`is asked by ${JSON.stringify(body)}; without one that is refused`, async () => {
      assert.deepEqual(refusal(await patch(body)), [409, '8', 'movement'])
      await patch({ [destination]: 'aggr2' })
      assert.equal((await patch(body)).status, 200)
      assert.deepEqual(rig.wishes.slice(1), [[wish, rig.world.lma.id, ...given]])
    })
  }

  test('excludes another', async () => {
    await patch({ [destination]: 'aggr2' })
    const again = await patch({ [destination]: 'aggr2' })
    assert.deepEqual(refusal(again), [409, '13107406', 'movement.destination_aggregate'])
  })
})

describe('refused, and nothing begins', () => {
  const cases: [what: string, body: unknown, status: number, code: string, target: string | undefined][] = [
    ['an unknown aggregate', { [destination]: 'aggr9' }, 400, '787140', 'movement.destination_aggregate'],
    [
      'an unknown aggregate by UUID',
      { 'movement.destination_aggregate.uuid': 'x' },
      400,
      '787140',
      'movement.destination_aggregate.uuid',
    ],
    ['the same aggregate', { [destination]: 'aggr1' }, 409, '8', 'movement.destination_aggregate'],
    [
      'no object',
      { 'movement.destination_aggregate': 'aggr2' },
      400,
      '262197',
      'movement.destination_aggregate',
    ],
    [
      'a short window',
      { [destination]: 'aggr2', 'movement.cutover_window': 29 },
      400,
      '262197',
      'movement.cutover_window',
    ],
    [
      'a long window',
      { [destination]: 'aggr2', 'movement.cutover_window': 301 },
      400,
      '262197',
      'movement.cutover_window',
    ],
    ['a window of no kind', { 'movement.cutover_window': 'long' }, 400, '262197', 'movement.cutover_window'],
    ['an unknown state', { 'movement.state': 'sideways' }, 400, '262197', 'movement.state'],
    [
      'a start that is an end',
      { [destination]: 'aggr2', 'movement.state': 'aborted' },
      400,
      '262197',
      'movement.state',
    ],
    [
      'an unknown action',
      { [destination]: 'aggr2', 'movement.cutover_action': 'force' },
      400,
      '262197',
      'movement.cutover_action',
    ],
    ['an unknown field', { movement: { speed: 1 } }, 400, '262179', 'movement.speed'],
    ['a percentage', { 'movement.percent_complete': 100 }, 400, '262196', 'movement.percent_complete'],
    ['a move and a size', { [destination]: 'aggr2', size: '1GB' }, 400, '262186', 'size'],
    [
      'encryption',
      { [destination]: 'aggr2', 'encryption.enabled': 'true' },
      400,
      '262197',
      'encryption.enabled',
    ],
    ['a list', [], 400, '2', undefined],
    ['a text', 'movement', 400, '2', undefined],
    ['no JSON', undefined, 400, '2', undefined],
  ]
  for (const [what, body, status, code, target] of cases) {
    test(what, async () => {
      const answer =
        body === undefined
          ? await rig.app
              .inject({
                method: 'PATCH',
                url: path,
                headers: {
                  authorization: `Basic ${Buffer.from('admin:the password').toString('base64')}`,
                  'content-type': 'application/json',
                },
                payload: '{"movement',
              })
              .then((a) => ({ status: a.statusCode, headers: {}, body: a.json() }))
          : await patch(body)
      assert.deepEqual(refusal(answer), [status, code, target])
      assert.deepEqual(rig.wishes, [])
    })
  }

  test('a request on the collection that names no volume, or none that is there', async () => {
    const body = { [destination]: 'aggr2' }
    const all = await rig.call('PATCH', '/api/storage/volumes', { body })
    assert.deepEqual(refusal(all), [400, '2', undefined])
    const none = await rig.call('PATCH', '/api/storage/volumes?name=nothing', { body })
    assert.deepEqual(refusal(none), [404, '4', undefined])
    assert.deepEqual(rig.wishes, [])
  })

  test('two volumes of which one cannot move: neither does', async () => {
    const made = { name: 'on2', svm: { name: 'svm_cinder-lma' }, aggregates: [{ name: 'aggr2' }] }
    await rig.call('POST', '/api/storage/volumes?return_timeout=60', { body: made })
    const both = await rig.call('PATCH', '/api/storage/volumes?name=*', { body: { [destination]: 'aggr2' } })
    assert.equal(both.status, 409)
    assert.deepEqual(rig.wishes, [])
  })
})

test('a job is paused, resumed and cancelled', async () => {
  const { job } = (await patch({ [destination]: 'aggr2' })).body
  const href = job._links.self.href
  const steer = (action: string) => rig.call('PATCH', `${href}?action=${action}`)
  assert.equal((await steer('pause')).status, 200)
  // The answer says that the wish is on record; the operation follows between two steps.
  for (const end = Date.now() + 30_000; ; await sleep(5)) {
    const { state } = (await rig.call('GET', href)).body
    if (state === 'paused') break
    assert.ok(Date.now() < end, `the job is ${state}, not paused`)
  }
  assert.equal((await steer('resume')).status, 200)
  assert.deepEqual(refusal(await steer('restart')), [400, '262197', 'action'])
  assert.equal((await steer('cancel')).status, 200)
  await rig.executor.ended(job.uuid)
  const ended = (await rig.call('GET', href)).body
  assert.deepEqual([ended.state, ended.code, ended.error.code], ['failure', 8, '8'])
  assert.deepEqual(refusal(await steer('cancel')), [409, '8', undefined])
})
