import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError, latencyBoundsNs } from '@volant/contract'
import type { DeviceLatency, DiskLatency } from '@volant/contract'
import type { Copy } from '../domain/volume.ts'
import { defaultCopySettings, type CopySettings } from '../domain/copy-settings.ts'
import type { CopySeen, CopyToPace } from '../ports/copy-pace.ts'
import { createCopyGovernor } from './copy-governor.ts'

const mib = 1024 * 1024

interface Client {
  volumeId: string
  /** Requests in each look, and how long each takes in milliseconds. */
  perLook: number
  ms: number
}

/** A governor on a clock of its own, beside clients whose requests the test decides. */
function rig(options: { settings?: Partial<CopySettings>; clients?: Client[]; others?: Client[] } = {}) {
  const { clients = [], others = [] } = options
  const all = [...clients, ...others]
  const counts = new Map(all.map(({ volumeId }) => [volumeId, latencyBoundsNs.map(() => 0).concat(0)]))
  let now = 1000
  let failure: Error | undefined
  const none = { boundsNs: [...latencyBoundsNs], counts: latencyBoundsNs.map(() => 0).concat(0) }
  const latencyOf = (volumeId: string): DeviceLatency => ({
    since: 'one',
    reads: none,
    writes: { boundsNs: [...latencyBoundsNs], counts: [...(counts.get(volumeId) ?? [])] },
    flushes: none,
  })
  const tick = (ms: number): void => {
    now += ms
    for (const { volumeId, perLook, ms: took } of all) {
      const own = counts.get(volumeId) ?? []
      const bin = latencyBoundsNs.findIndex((bound) => took * 1e6 < bound)
      own[bin] = (own[bin] ?? 0) + (perLook * ms) / 250
    }
  }
  const governor = createCopyGovernor({
    attachments: {
      ofVolume: async (volumeId) =>
        clients
          .filter((client) => client.volumeId === volumeId)
          .map(() => ({ host: 'h', serverId: 's', shareId: null }) as never),
    },
    felt: {
      at: async () => others.map(({ volumeId }) => ({ volumeId, host: 'h', serverId: 's', shareId: null })),
    },
    agents: {
      compute: () =>
        ({
          guestLatency: async () => {
            if (failure !== undefined) throw failure
            return all.map(({ volumeId }) => ({
              ...latencyOf(volumeId),
              volumeId,
              attachmentId: volumeId,
            })) as DiskLatency[]
          },
        }) as never,
      shares: () => {
        throw new DomainError('unavailable', 'none')
      },
    },
    settings: { ...defaultCopySettings, ...options.settings },
    clock: { now: () => new Date(now) },
    earlier: async () => undefined,
    monotonic: () => now,
    pause: async (ms) => tick(ms),
  })
  const copyOf = (id: string, control: Partial<CopyToPace['control']> = {}, node = 'n1'): CopyToPace => ({
    id,
    control: { paused: false, rate: null, pace: null, priority: null, ...control },
    from: { node, aggregate: 'a' } as Copy,
    to: { node: 'n2', aggregate: 'b' } as Copy,
    volumeId: clients[0]?.volumeId ?? null,
  })
  let done = 0
  const looks = async (copy: CopyToPace, count: number, seen: Partial<CopySeen> = {}) => {
    let paced = await governor.at(copy, { doneBytes: done, ...seen })
    for (let i = 0; i < count; i += 1) {
      tick(250)
      done += 100 * mib
      paced = await governor.at(copy, { doneBytes: done, ...seen })
    }
    return paced
  }
  return {
    governor,
    copyOf,
    looks,
    now: () => now,
    pass: tick,
    fail: (error: Error | undefined) => void (failure = error),
  }
}

const own = (): Client => ({ volumeId: 'v', perLook: 100, ms: 1 })

test('a client that waits too long slows its copy, and the reason says so; one that rests lets it go', async () => {
  const client = own()
  const { copyOf, looks } = rig({ clients: [client] })
  const copy = copyOf('op', { pace: '5ms' })
  const before = await looks(copy, 8)
  client.ms = 20
  const slowed = await looks(copy, 3)
  assert.ok(slowed.rate > 0 && slowed.rate < (before.rate || Infinity) / 2)
  assert.equal(slowed.view.limitedBy, 'latency')
  assert.match(slowed.view.reason, /^the p99 of its client is \d+ ms, its bound 5 ms/)
  assert.equal((await looks(copy, 20)).rate, defaultCopySettings.floorBps, 'no further than its floor')
  client.perLook = 0
  const free = await looks(copy, 16)
  assert.equal(free.rate, 0)
  assert.match(free.view.reason, /^nobody waits for these disks/)
})

test('the client of another volume on the same disks is felt, too, and is named', async () => {
  const other = { volumeId: 'w', perLook: 100, ms: 20 }
  const { copyOf, looks } = rig({ clients: [own()], others: [other] })
  const slowed = await looks(copyOf('op', { pace: '5ms' }), 8)
  assert.match(slowed.view.reason, /the client of volume w is 2\d ms/)
})

test('a client whose latency nobody knows gets a fixed rate beside it, and that is said', async () => {
  const { copyOf, looks, fail } = rig({ clients: [own()] })
  fail(new DomainError('unavailable', 'the agent is away'))
  const blind = await looks(copyOf('op'), 2)
  assert.equal(blind.rate, defaultCopySettings.blindBps)
  assert.match(blind.view.reason, /can't be found out \(the agent is away\): a fixed rate/)
  fail(new DomainError('notFound', 'it does not run'))
  assert.equal((await looks(copyOf('op'), 12)).rate, 0, 'a guest that does not run waits for nothing')
})

test('after a restart a copy begins at its floor, until it is known what its client waits for without it', async () => {
  const { copyOf, looks } = rig({ clients: [own()] })
  const copy = copyOf('op', { pace: '2x' })
  const first = await looks(copy, 2)
  assert.equal(first.rate, defaultCopySettings.floorBps)
  assert.match(first.view.reason, /is being measured/)
  const later = await looks(copy, 12)
  assert.ok(later.rate === 0 || later.rate > defaultCopySettings.floorBps)
  assert.notEqual(later.view.baselineMs, null)
})

test('a rate is an upper bound in addition, and a fixed rate and full ask nobody', async () => {
  const client = { ...own(), ms: 100 }
  const { copyOf, looks } = rig({ clients: [client] })
  assert.equal((await looks(copyOf('a', { pace: 'full' }), 4)).rate, 0)
  assert.equal((await looks(copyOf('a', { pace: 'full', rate: 5 * mib }), 4)).rate, 5 * mib)
  assert.equal((await looks(copyOf('b', { pace: '50M' }), 4)).rate, 50 * mib)
  assert.equal((await looks(copyOf('b', { pace: '50M', rate: mib }), 4)).rate, mib)
  const bounded = await looks(copyOf('c', { pace: '5ms', rate: mib }), 4)
  assert.equal(bounded.rate, mib, 'also below the floor: somebody wants it so')
  assert.equal(bounded.view.limitedBy, 'rate')
})

test('what the copies of a node have together is shared by priority', async () => {
  const { copyOf, looks } = rig({ settings: { nodeBudgetBps: 90 * mib } })
  const [high, low] = [
    copyOf('high', { priority: 'high', pace: 'full' }),
    copyOf('low', { priority: 'low', pace: 'full' }),
  ]
  for (let i = 0; i < 12; i += 1) {
    await looks(high, 1)
    await looks(low, 1)
  }
  const [one, other] = [await looks(high, 1), await looks(low, 1)]
  assert.equal(Math.round(one.rate / mib), 72)
  assert.equal(Math.round(other.rate / mib), 18)
  assert.match(other.view.reason, /copies of node n1 have 90 MiB\/s together, and are 2/)
})

test('a copy that its client outruns does not go below what outruns that one; a client that is held back is not asked', async () => {
  const client = { ...own(), ms: 50 }
  const { copyOf, looks } = rig({ clients: [client] })
  const copy = copyOf('op', { pace: '5ms' })
  const raised = await looks(copy, 12, { leastBps: 40 * mib })
  assert.equal(raised.rate, 40 * mib)
  assert.match(raised.view.reason, /does not go below 40 MiB\/s, so as to outrun/)
  const shaped = await looks(copy, 16, { leastBps: 40 * mib, isShaped: true })
  assert.equal(shaped.rate, 0)
  assert.match(shaped.view.reason, /held back/)
})

test('the baseline is taken before the copy, and not where its client is idle for long', async () => {
  const idle = rig({ clients: [{ ...own(), perLook: 0 }] })
  assert.equal(await idle.governor.begin(idle.copyOf('op')), 0)
  const detached = rig()
  assert.equal(await detached.governor.begin(detached.copyOf('op', { rate: 7 })), 7)
})

test('that nobody works on the disks is not waited for again by the next of many small copies', async () => {
  const others = [{ volumeId: 'o', perLook: 0, ms: 1 }]
  const { governor, copyOf, looks, now } = rig({ others })
  const waited = async (id: string): Promise<number> => {
    const begun = now()
    assert.equal(await governor.begin(copyOf(id)), 0)
    return now() - begun
  }
  assert.equal(await waited('one'), 300)
  await looks(copyOf('one'), 2)
  governor.end('one')
  assert.equal(await waited('two'), 0)
  await looks(copyOf('two'), 2)
  Object.assign(others[0] ?? {}, { perLook: 100 })
  await looks(copyOf('two'), 1)
  governor.end('two')
  assert.ok((await governor.begin(copyOf('three'))) > 0, 'somebody works now')
})

test('the next copy between the same places begins near what the latest one had', async () => {
  const { governor, copyOf, looks } = rig({ clients: [own()] })
  const first = copyOf('one')
  const begun = await governor.begin(first)
  assert.equal(begun, defaultCopySettings.floorBps * 8)
  await looks(first, 40)
  // At its end it waits for its cutover.
  await looks(first, 3, { doneBytes: 4000 * mib })
  governor.end('one')
  const [again, elsewhere] = [
    copyOf('two'),
    { ...copyOf('three'), to: { node: 'n3', aggregate: 'c' } as Copy },
  ]
  const next = await governor.begin(again)
  assert.ok(next > begun * 2)
  assert.ok(Number.isInteger(next), `${next}: QEMU refuses what is no integer`)
  governor.end('two')
  const back = { ...copyOf('back'), from: again.to, to: again.from }
  assert.equal(await governor.begin(back), next)
  governor.end('back')
  assert.equal(await governor.begin(elsewhere), begun)
})

test('a client whose latency is known, and that works, is waited for a moment only; one that rests for longer', async () => {
  const client = own()
  const { governor, copyOf, looks, now } = rig({ clients: [client] })
  const waited = async (id: string): Promise<[ms: number, bps: number]> => {
    const begun = now()
    const bps = await governor.begin(copyOf(id))
    await looks(copyOf(id), 2)
    governor.end(id)
    return [now() - begun - 500, bps]
  }
  const [measured] = await waited('one')
  assert.ok(measured > 300, `${measured} ms`)
  const [ms, bps] = await waited('two')
  assert.equal(ms, 50)
  assert.ok(bps > 0, 'it is seen that it works')
  client.perLook = 0
  assert.deepEqual(await waited('three'), [300, 0])
})

test('what was learned of a client and of a place is forgotten while nothing is copied, too', async () => {
  const client = own()
  const { governor, copyOf, looks, pass } = rig({ clients: [client] })
  const begun = await governor.begin(copyOf('one'))
  await looks(copyOf('one'), 40)
  governor.end('one')
  Object.assign(client, { ms: 30 })
  pass(11 * 60_000)
  assert.equal(await governor.begin(copyOf('two')), begun, 'as the first one between these places')
  const { view } = await looks(copyOf('two'), 1)
  assert.ok(
    (view.baselineMs ?? 0) > 10,
    `the baseline is ${view.baselineMs} ms, and the client waits for 30 now`,
  )
})

test('the record of a long copy stays small', async () => {
  const { copyOf, looks } = rig({ clients: [own()] })
  const { view } = await looks(copyOf('op'), 2000)
  assert.ok(view.series.points.length > 30 && view.series.points.length <= 120)
  assert.ok(view.series.everySeconds > 1)
})
