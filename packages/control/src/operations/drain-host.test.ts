/** A drain, carried out by an engine over servers and parts in memory. One file, over 400 lines: one rig, and everything that may come between. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { bind, Executor, MemoryStore, type RunRecord } from '@volant/saga'
import { hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import { drainedReason, notEmptyReason } from '../domain/host-drain.ts'
import { countsOf, type HostProgress } from '../domain/host-progress.ts'
import { hostRig, type HostRig } from '../testing/hosts.ts'
import { drainHost, type DrainHostInput } from './drain-host.ts'
import { restorePlaces, restoreWorks } from './host-facts.ts'
import { restoreHost, type RestoreHostInput } from './restore-host.ts'

const by = { userId: 'u', projectId: 'p' }
const drain: DrainHostInput = { host: 'compute-1', policy: 'live', parallel: 2, to: null, by }

/** Each control plane is an executor on the same store. */
async function planes(t: TestContext, rig: HostRig) {
  const store = new MemoryStore()
  const plane = async (): Promise<Executor> => {
    const own: Executor = new Executor({
      store,
      owner: crypto.randomUUID(),
      operations: [bind(drainHost, ports()), bind(restoreHost, ports())],
      policy: hurriedPolicy,
    })
    function ports() {
      const get = async (id: string) => rig.parts.find((one) => one.id === id) ?? own.get(id)
      return { ...rig.ports, engine: { ...rig.ports.engine, get } }
    }
    t.after(() => own.stop())
    await own.begin()
    return own
  }
  let now = await plane()
  return {
    drain: async (changes: Partial<DrainHostInput> = {}) =>
      (await now.start(drainHost, { ...drain, ...changes })).id,
    restore: async (changes: Partial<RestoreHostInput> = {}) =>
      (await now.start(restoreHost, { host: 'compute-1', parallel: 2, by, ...changes })).id,
    ended: (id: string) => now.ended(id),
    engine: () => now,
    progress: async (id: string) => (await now.get(id)).progress as HostProgress,
    async crash() {
      now.abandon()
      now = await plane()
    },
  }
}

test('every server leaves in its own way, so many at a time, the largest first; the host says that it is empty', async (t) => {
  const rig = hostRig()
  for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) rig.add(name, { memoryMib: 256 * (i + 1) })
  rig.add('cold', { metadata: { 'volant:drain': 'cold' } })
  rig.add('off', { vmState: 'stopped' })
  rig.add('held', { vmState: 'paused', metadata: { 'volant:drain': 'stop' } })
  const { drain, ended, progress } = await planes(t, rig)
  const id = await drain()
  assert.equal((await ended(id)).state, 'succeeded')
  assert.deepEqual(rig.on('compute-1'), [])
  assert.equal(rig.most, 2)
  const ways = Object.fromEntries(rig.started.map(({ serverId, way }) => [serverId.slice(3), way]))
  assert.deepEqual(ways, {
    a: 'live',
    b: 'live',
    c: 'live',
    d: 'live',
    cold: 'cold',
    off: 'cold',
    held: 'live',
  })
  assert.deepEqual(
    rig.started.slice(0, 2).map(({ serverId }) => serverId),
    ['id-d', 'id-c'],
  )
  const seen = await progress(id)
  assert.deepEqual(countsOf(seen.servers), { total: 7, done: 7, moving: 0, waiting: 0, stays: 0 })
  assert.equal(seen.note, 'compute-1 is empty and safe to switch off')
  assert.equal(rig.services.get('compute-1')?.disabledReason, drainedReason(id))
  for (const { broughtTo, home } of rig.drained.values()) {
    assert.deepEqual([home, broughtTo !== 'compute-1'], ['compute-1', true])
  }
})

test('a server that has left makes room for the next while what it left behind is tidied up; the end waits for that', async (t) => {
  const rig = hostRig(['compute-1', 'compute-2'])
  for (const name of ['a', 'b']) rig.add(name)
  rig.looks = 1e9
  const { drain, ended } = await planes(t, rig)
  const id = await drain({ parallel: 1 })
  await until('one is under way', () => rig.started.length === 1)
  const [first] = rig.parts as [RunRecord]
  const { serverId } = rig.started[0] as { serverId: string }
  first.step = 'retireSource'
  rig.set(serverId.slice(3), { host: 'compute-2', taskState: 'migrating' })
  await until('the next is under way', () => rig.started.length === 2)
  assert.equal(first.endedAt, null)
  rig.looks = 1
  assert.equal((await ended(id)).state, 'succeeded')
  assert.notEqual(first.endedAt, null)
})

test('what is to be stopped is stopped; what is held stays, and the host is not empty; each has its reason', async (t) => {
  const rig = hostRig()
  rig.alsoThere = ['storage node lma-01']
  rig.add('still', { metadata: { 'volant:drain': 'stop' } })
  const first = await planes(t, rig)
  const safe = await first.drain()
  assert.equal((await first.ended(safe)).state, 'succeeded')
  assert.equal(
    (await first.progress(safe)).note,
    'nothing runs on compute-1 (stopped there, to be started again by a restore: still); ' +
      'its machine must stay on, for it has storage node lma-01',
  )
  const other = hostRig()
  other.add('goes')
  other.add('held', { metadata: { 'volant:drain': 'hold' } })
  other.add('misspelt', { metadata: { 'volant:drain': 'Live' } })
  other.add('broken', { vmState: 'error' })
  other.add('resized', { vmState: 'resized' })
  const second = await planes(t, other)
  const id = await second.drain()
  const run = await second.ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /^compute-1 is not empty: 4 of its servers stay\./)
  for (const reason of [
    /held stays on compute-1: its policy is hold/,
    /misspelt stays on compute-1: its volant:drain is 'Live'/,
    /broken stays on compute-1: it is in error/,
    /resized stays on compute-1: its resize waits/,
  ]) {
    assert.match(run.failure?.message ?? '', reason)
  }
  assert.deepEqual(other.on('compute-2').concat(other.on('compute-3')), ['goes'])
  assert.equal(other.services.get('compute-1')?.disabledReason, notEmptyReason(id), 'it stays disabled')
})

test('the agents have the last word: what they still find there keeps the host from being called empty', async (t) => {
  const rig = hostRig()
  rig.add('a')
  rig.left = ['the guest of server x is running there']
  const { drain, ended, progress } = await planes(t, rig)
  const id = await drain()
  const run = await ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /not empty: the guest of server x is running there/)
  assert.equal((await progress(id)).note, null)
})

test('what fails for a passing reason is tried again, and it is said why it waits; too often, and it stays', async (t) => {
  const rig = hostRig()
  rig.ports.patience = { attempts: 3, first: 40, longest: 80, busy: 60, noPlace: 20 }
  rig.add('a')
  rig.add('b')
  rig.failing.set('a', { times: 2, class: 'retry', message: 'the network was away' })
  rig.failing.set('b', { times: 9, class: 'retry', message: 'it dirties its memory too fast' })
  const { drain, ended, progress } = await planes(t, rig)
  const id = await drain()
  await until('a waits with its reason', async () =>
    ((await progress(id))?.servers ?? []).some(
      ({ name, fate, reason }) => name === 'a' && fate === 'waiting' && reason === 'the network was away',
    ),
  )
  const run = await ended(id)
  assert.equal(run.state, 'failed')
  assert.match(
    run.failure?.message ?? '',
    /b stays on compute-1: it dirties its memory too fast \(3 attempts\)/,
  )
  assert.deepEqual(rig.on('compute-1'), ['b'])
  assert.equal(rig.drained.has('id-b'), false, 'what did not leave is not known as taken away')
})

test('a destination that refuses a server for good is left out for it, whether at the start or later', async (t) => {
  const rig = hostRig()
  rig.memoryMib.set('compute-2', 8192)
  rig.add('early')
  rig.add('late')
  rig.add('never')
  rig.refusing.set('early', ({ host }) =>
    host === 'compute-2' ? { reason: 'has another processor', passing: false } : null,
  )
  rig.failing.set('late', { times: 9, class: 'final', message: 'no such machine type', at: 'compute-2' })
  rig.refusing.set('never', () => ({ reason: 'lacks a bridge', passing: false }))
  const { drain, ended } = await planes(t, rig)
  const run = await ended(await drain())
  assert.equal(run.state, 'failed')
  assert.deepEqual(rig.on('compute-3').toSorted(), ['early', 'late'])
  assert.match(run.failure?.message ?? '', /never stays .*compute-2 lacks a bridge; compute-3 lacks a bridge/)
})

test('what other operations hold is waited for', async (t) => {
  const rig = hostRig()
  rig.add('a')
  let refusals = 3
  rig.refusing.set('a', () =>
    refusals-- > 0 ? { reason: 'operation 7 holds its volume', passing: true } : null,
  )
  const { drain, ended } = await planes(t, rig)
  assert.equal((await ended(await drain())).state, 'succeeded')
  rig.set('a', { host: 'compute-1' })
  rig.refusing.set('a', () => ({ reason: 'operation 7 holds its volume', passing: true }))
  rig.disable('compute-1', 'maintenance')
  const again = await planes(t, rig)
  const run = await again.ended(await again.drain())
  assert.match(run.failure?.message ?? '', /a stays on compute-1: operation 7 holds its volume/)
  assert.equal(rig.services.get('compute-1')?.disabledReason, 'maintenance', "an operator's reason is his")
})

test('where there is no room for all the rest still goes, and it is said how much is missing', async (t) => {
  const rig = hostRig()
  rig.memoryMib.set('compute-2', 1024)
  rig.memoryMib.set('compute-3', 512)
  rig.add('big', { memoryMib: 1024 })
  rig.add('small', { memoryMib: 512 })
  rig.add('none', { memoryMib: 256 })
  const { drain, ended } = await planes(t, rig)
  const run = await ended(await drain())
  assert.equal(run.state, 'failed')
  assert.deepEqual(rig.on('compute-1'), ['none'])
  assert.match(
    run.failure?.message ?? '',
    /none stays on compute-1: no host can take it: compute-2 has .*256 MiB are needed/,
  )
})

test('room that comes up while others are under way is used', async (t) => {
  const rig = hostRig(['compute-1', 'compute-2'])
  rig.memoryMib.set('compute-2', 1024)
  rig.looks = 20
  rig.add('a', { memoryMib: 1024 })
  rig.add('b', { memoryMib: 512 })
  const { drain, ended } = await planes(t, rig)
  const id = await drain()
  await until('a is under way', () => rig.started.length === 1)
  rig.memoryMib.set('compute-2', 2048)
  assert.equal((await ended(id)).state, 'succeeded')
})

test('groups: affinity goes together to one host, anti-affinity apart', async (t) => {
  const rig = hostRig()
  rig.memoryMib.set('compute-2', 1024)
  rig.memoryMib.set('compute-3', 2048)
  for (const name of ['t1', 't2']) rig.add(name, { memoryMib: 600 })
  rig.groups.set('together', { policy: 'affinity', members: ['t1', 't2'] })
  for (const name of ['x1', 'x2', 'x3']) rig.add(name, { memoryMib: 100 })
  rig.groups.set('apart', { policy: 'anti-affinity', members: ['x1', 'x2', 'x3'] })
  const { drain, ended } = await planes(t, rig)
  const run = await ended(await drain())
  assert.equal(run.state, 'failed')
  assert.deepEqual([rig.get('t1').host, rig.get('t2').host], ['compute-3', 'compute-3'])
  assert.deepEqual(['x1', 'x2', 'x3'].map((name) => rig.get(name).host).toSorted(), [
    'compute-1',
    'compute-2',
    'compute-3',
  ])
  assert.match(run.failure?.message ?? '', /anti-affinity/)
})

test('only to the hosts that were named', async (t) => {
  const rig = hostRig()
  for (const name of ['a', 'b', 'c']) rig.add(name)
  const { drain, ended } = await planes(t, rig)
  assert.equal((await ended(await drain({ to: ['compute-3'] }))).state, 'succeeded')
  assert.deepEqual(rig.on('compute-3').length, 3)
})

test('servers that come, go, are deleted or moved by somebody meanwhile are seen at the next look', async (t) => {
  const rig = hostRig()
  rig.looks = 6
  for (const name of ['a', 'b', 'c', 'd']) rig.add(name, { memoryMib: 512 })
  rig.add('busy', { taskState: 'rebooting', memoryMib: 64 })
  const { drain, ended } = await planes(t, rig)
  const id = await drain({ parallel: 1 })
  await until('the first is under way', () => rig.started.length === 1)
  rig.set('c', { host: 'compute-3' })
  rig.set('d', { deletedAt: '2026-11-22T11:00:00.000Z' })
  rig.add('new', { memoryMib: 128 })
  await until('the second is under way', () => rig.started.length === 2)
  rig.set('busy', { taskState: null })
  assert.equal((await ended(id)).state, 'succeeded')
  assert.deepEqual(rig.on('compute-1'), [])
  const begun = rig.started.map(({ serverId }) => serverId.slice(3)).toSorted()
  assert.deepEqual(begun, ['a', 'b', 'busy', 'new'])
})

test('a server that is deleted between two questions of one look costs the drain nothing', async (t) => {
  const rig = hostRig()
  for (const name of ['a', 'b']) rig.add(name)
  const { onHost } = rig.ports.servers
  let deleted = false
  rig.ports.servers.onHost = async (host) => {
    const found = await onHost(host)
    if (!deleted && host === 'compute-1') rig.set('a', { deletedAt: '2026-11-22T11:00:00.000Z' })
    deleted = true
    return found
  }
  const { drain, ended } = await planes(t, rig)
  assert.equal((await ended(await drain())).state, 'succeeded')
  assert.deepEqual(rig.on('compute-1'), [])
})

test('of two drains that begin at the same moment none leaves its servers without a refuge', async (t) => {
  const rig = hostRig(['compute-1', 'compute-2'])
  rig.add('a')
  rig.disable('compute-2', drainedReason('the other'))
  const { drain, ended } = await planes(t, rig)
  const run = await ended(await drain())
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /every other one has been disabled meanwhile/)
  assert.deepEqual([rig.started.length, rig.services.get('compute-1')?.disabled], [0, false])
  rig.set('a', { metadata: { 'volant:drain': 'stop' } })
  const again = await planes(t, rig)
  assert.equal((await again.ended(await again.drain())).state, 'succeeded', 'it needs none')
})

test('a cancel begins nothing more; what is under way goes back, what has left stays, the host is in use again', async (t) => {
  const rig = hostRig()
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) rig.add(name)
  const { drain, ended, engine } = await planes(t, rig)
  const id = await drain()
  await until('one has left', () => rig.on('compute-1').length < 6)
  rig.looks = 1e9
  await until('others are under way', () => rig.parts.some(({ endedAt }) => endedAt === null))
  await engine().cancel(id)
  assert.equal((await ended(id)).state, 'cancelled')
  const left = 6 - rig.on('compute-1').length
  assert.ok(left > 0 && left < 6)
  assert.deepEqual([rig.services.get('compute-1')?.disabled, rig.drained.size], [false, left])
  assert.ok(rig.parts.every(({ endedAt }) => endedAt !== null))
})

test('what somebody cancels by itself stays; the others go', async (t) => {
  const rig = hostRig()
  rig.looks = 5
  for (const name of ['a', 'b', 'c']) rig.add(name)
  const { drain, ended } = await planes(t, rig)
  const id = await drain()
  await until('one is under way', () => rig.started.length > 0)
  await rig.ports.engine.cancel('part-1')
  const run = await ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /its server\.live-migrate was cancelled \(operation part-1\)/)
  assert.equal(rig.on('compute-1').length, 1)
})

test('pause, resume and rate reach the parts; while it is paused nothing is begun', async (t) => {
  const rig = hostRig()
  rig.looks = 1e9
  for (const name of ['a', 'b', 'c']) rig.add(name)
  const { drain, ended, engine, progress } = await planes(t, rig)
  const id = await drain()
  await until('two are under way', () => rig.started.length === 2)
  await engine().steer(id, { rate: 7 })
  await until('the rate is theirs', () => rig.parts.every(({ control }) => control.rate === 7))
  await engine().pause(id)
  await until('they are paused', () => rig.parts.every(({ control }) => control.paused))
  rig.looks = 1
  assert.equal((await progress(id)).phase, 'paused')
  assert.equal(rig.started.length, 2)
  await engine().resume(id)
  assert.equal((await ended(id)).state, 'succeeded')
  assert.equal(rig.parts[0]?.control.rate, 7, 'also of those that begin later')
})

test('a control plane that dies again and again: each is moved once, and the drain ends by itself', async (t) => {
  const rig = hostRig()
  rig.looks = 3
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  for (const name of names) rig.add(name, { memoryMib: 256 })
  const it = await planes(t, rig)
  const id = await it.drain()
  for (let death = 1; death <= 5; death++) {
    await until(`part ${death} has begun`, () => rig.started.length >= death)
    await it.crash()
  }
  assert.equal((await it.ended(id)).state, 'succeeded')
  assert.deepEqual(rig.on('compute-1'), [])
  assert.deepEqual(
    rig.started.map(({ serverId }) => serverId).toSorted(),
    names.map((name) => `id-${name}`),
  )
  const back = await it.restore()
  for (let death = 1; death <= 3; death++) {
    await until(`part ${death} of the restore has begun`, () => rig.started.length >= names.length + death)
    await it.crash()
  }
  assert.equal((await it.ended(back)).state, 'succeeded')
  assert.deepEqual([rig.on('compute-1').length, rig.drained.size], [names.length, 0])
})

test('a server of a drained host that leaves its refuge too belongs to its home still', async (t) => {
  const rig = hostRig()
  rig.add('a')
  rig.memoryMib.set('compute-2', 8192)
  const { drain, restore, ended } = await planes(t, rig)
  await ended(await drain())
  assert.equal(rig.get('a').host, 'compute-2')
  await ended(await drain({ host: 'compute-2' }))
  assert.equal(rig.get('a').host, 'compute-3')
  assert.equal((await ended(await restore({ host: 'compute-2' }))).state, 'succeeded')
  assert.equal(rig.get('a').host, 'compute-3', 'it is not at home there')
  assert.equal((await ended(await restore())).state, 'succeeded')
  assert.equal(rig.get('a').host, 'compute-1')
})

test('a restore brings back what it may: not who was moved elsewhere or deleted since, nor who has no room', async (t) => {
  const rig = hostRig()
  for (const name of ['a', 'moved', 'deleted', 'big', 'off'])
    rig.add(name, { memoryMib: name === 'big' ? 2048 : 256 })
  rig.set('off', { vmState: 'stopped' })
  rig.add('still', { memoryMib: 256, metadata: { 'volant:drain': 'stop' } })
  const { drain, restore, ended, progress } = await planes(t, rig)
  assert.equal((await ended(await drain())).state, 'succeeded')
  const refuge = rig.get('moved').host
  rig.set('moved', { host: refuge === 'compute-2' ? 'compute-3' : 'compute-2' })
  rig.set('deleted', { deletedAt: '2026-11-22T11:00:00.000Z' })
  rig.memoryMib.set('compute-1', 1024)
  const id = await restore()
  const run = await ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /big stays on compute-\d: compute-1 has too little memory/)
  assert.deepEqual(rig.on('compute-1').toSorted(), ['a', 'off', 'still'])
  assert.deepEqual([rig.get('still').vmState, rig.get('off').vmState], ['active', 'stopped'])
  assert.deepEqual([...rig.drained.keys()], ['id-big'])
  assert.equal(rig.services.get('compute-1')?.disabled, false)
  const fates = Object.fromEntries((await progress(id)).servers.map(({ name, fate }) => [name, fate]))
  assert.deepEqual(fates, { a: 'moved', big: 'stays', off: 'moved', still: 'started' })
  rig.memoryMib.set('compute-1', 4096)
  assert.equal((await ended(await restore())).state, 'succeeded')
  assert.equal(rig.get('big').host, 'compute-1')
})

test('a restore plans with vCPUs as with memory: who has none at home stays, and it is said', async (t) => {
  const rig = hostRig()
  for (const name of ['a', 'b', 'c', 'd', 'e']) rig.add(name, { vcpus: 4 })
  const { drain, ended } = await planes(t, rig)
  assert.equal((await ended(await drain())).state, 'succeeded')
  const { works } = await restoreWorks(rig.ports, 'compute-1')
  const supposing = { host: 'compute-1', disabled: false }
  const places = await restorePlaces(rig.ports, works, 'compute-1', supposing)
  const found = Object.fromEntries([...places].map(([id, place]) => [id.slice(3), place]))
  const home = { to: 'compute-1' }
  const reason = 'compute-1 has 0 vCPUs free after the others, 4 are needed'
  assert.deepEqual(found, { a: home, b: home, c: home, d: home, e: { reason } })
})

test('a cancelled restore: who has come home stays there, the others where they are, and the host is disabled again', async (t) => {
  const rig = hostRig()
  for (const name of ['a', 'b', 'c', 'd']) rig.add(name)
  const { drain, restore, ended, engine } = await planes(t, rig)
  const drained = await drain()
  await ended(drained)
  const id = await restore({ parallel: 1 })
  await until('one is home', () => rig.on('compute-1').length > 0)
  rig.looks = 1e9
  await engine().cancel(id)
  assert.equal((await ended(id)).state, 'cancelled')
  assert.equal(rig.services.get('compute-1')?.disabledReason, drainedReason(drained))
  assert.equal(rig.drained.size, 4 - rig.on('compute-1').length, 'who is away is still known')
})
