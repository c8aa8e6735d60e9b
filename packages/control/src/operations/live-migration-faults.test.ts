import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Faults } from '@volant/agent/simulated/faults.ts'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore, type RunRecord } from '@volant/saga'
import { hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import { fencedHeadRecords } from '../db/repositories/fenced-head.ts'
import {
  apart,
  assertAtOnePlace,
  atTheDestination,
  atTheSource,
  inOnePlace,
  openLiveMigration,
  type LiveMigrationWorld,
} from '../testing/live-migration.ts'
import type { Machines } from '../testing/world.ts'
import { liveMigrateServer, type LiveMigrateServerPorts } from './live-migrate-server.ts'

async function engineOf(it: LiveMigrationWorld, ports: LiveMigrateServerPorts = it.ports) {
  const operations = [bind(liveMigrateServer, ports)]
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'test',
    operations,
    policy: hurriedPolicy,
  })
  await executor.begin()
  return executor
}

async function carriedOut(it: LiveMigrationWorld, ports?: LiveMigrateServerPorts): Promise<RunRecord> {
  const executor = await engineOf(it, ports)
  const { id } = await executor.start(liveMigrateServer, it.input)
  const run = await executor.ended(id)
  await executor.stop()
  return run
}

type When = 'before' | 'after'
const broken = (): DomainError => new DomainError('unavailable', 'injected')

/** The next call of the method fails: before it does anything, or when it has done its work. */
function failOnce<T extends object>(target: T, method: keyof T, when: When): { struck: boolean } {
  const seen = { struck: false }
  const original = (target[method] as (...args: unknown[]) => Promise<unknown>).bind(target)
  const failing = async (...args: unknown[]): Promise<unknown> => {
    if (seen.struck) return original(...args)
    seen.struck = true
    if (when === 'before') throw broken()
    await original(...args)
    throw broken()
  }
  Object.assign(target, { [method]: failing })
  return seen
}

/** When the guest stands still, and not before. */
function failAtSwitchover(it: LiveMigrationWorld, strike: () => { struck: boolean }): { struck: boolean } {
  const seen = { struck: false }
  const begin = it.source.beginSwitchover.bind(it.source)
  it.source.beginSwitchover = async (...args) => {
    // The volumes change hands beside it.
    const fault = strike()
    Object.defineProperty(seen, 'struck', { get: () => fault.struck })
    await begin(...args)
  }
  return seen
}

interface Case {
  name: string
  machines: Machines
  /** Installs the fault. */
  fault(it: LiveMigrationWorld, when: When): { struck: boolean }
  /** Where the server is afterwards. */
  place(when: When): 'source' | 'destination'
}

const back = (): 'source' => 'source'
const holdersOf = (it: LiveMigrationWorld, host: string) => {
  const agent = it.world.holders.get(it.world.places.machineOfHost(host))
  assert.ok(agent)
  return agent
}
const storageOf = (it: LiveMigrationWorld) => {
  const agent = it.world.nodes.get(it.world.lma.node)
  assert.ok(agent)
  return agent
}
const scripted = (agent: Pick<Faults, 'failNext' | 'pendingFaults'>) => ({
  next(method: string, when: When) {
    agent.failNext(method, broken(), when)
    return {
      get struck() {
        return agent.pendingFaults.length === 0
      },
    }
  },
})

const cases: Case[] = [
  {
    name: 'beginSwitchover',
    machines: apart,
    fault: (it, when) => failOnce(it.source, 'beginSwitchover', when),
    place: back,
  },
  {
    name: 'the hand-over at the storage',
    machines: apart,
    fault: (it, when) => failAtSwitchover(it, () => scripted(storageOf(it)).next('handOverExport', when)),
    place: back,
  },
  {
    name: 'the fence at the storage',
    machines: atTheDestination,
    fault: (it, when) => failAtSwitchover(it, () => scripted(storageOf(it)).next('ensureNoExport', when)),
    place: back,
  },
  {
    name: 'the fence of a local image',
    machines: inOnePlace,
    fault: (it, when) =>
      failAtSwitchover(it, () => scripted(holdersOf(it, 'compute-1')).next('ensureReleased', when)),
    place: back,
  },
  {
    name: 'the export for the destination',
    machines: atTheSource,
    fault: (it, when) => failAtSwitchover(it, () => scripted(storageOf(it)).next('ensureExport', when)),
    place: back,
  },
  {
    name: "the destination's head",
    machines: atTheDestination,
    fault: (it, when) =>
      failAtSwitchover(it, () => scripted(holdersOf(it, 'compute-2')).next('ensureHolder', when)),
    place: back,
  },
  {
    name: 'continueMigration',
    machines: apart,
    fault: (it, when) => failOnce(it.source, 'continueMigration', when),
    place: back,
  },
  {
    name: 'awaitIncoming',
    machines: inOnePlace,
    fault: (it, when) => failOnce(it.destination, 'awaitIncoming', when),
    place: back,
  },
  {
    name: 'the commit',
    machines: apart,
    fault: (it, when) => failOnce(it.ports.moves, 'arrive', when),
    place: (when) => (when === 'before' ? 'source' : 'destination'),
  },
  {
    name: 'ensureArrived',
    machines: inOnePlace,
    fault: (it, when) => failOnce(it.destination, 'ensureArrived', when),
    place: () => 'destination',
  },
]

for (const { name, machines, fault, place } of cases) {
  for (const when of ['before', 'after'] as const) {
    const what = when === 'before' ? 'fails' : 'is done, and its answer lost'
    test(`the switchover: ${name} ${what}; the server is at the ${place(when)} alone`, async () => {
      const it = await openLiveMigration(machines)
      const struck = fault(it, when)
      const run = await carriedOut(it)
      assert.ok(struck.struck, 'the fault struck')
      const arrived = place(when) === 'destination'
      assert.equal(run.state, arrived ? 'succeeded' : 'failed', run.failure?.message ?? '')
      await assertAtOnePlace(it, place(when))
      const [migration] = await it.serverMigrations.list({ serverId: it.server.id })
      assert.equal(migration?.status, arrived ? 'completed' : 'error')
      if (!arrived) assert.match(migration?.message ?? '', /injected/)
      await it.close()
    })
  }
}

/** Stands in its copy, until the test goes on. */
async function copying(it: LiveMigrationWorld) {
  it.source.holdMigrations(true)
  const executor = await engineOf(it)
  const { id } = await executor.start(liveMigrateServer, it.input)
  for (const end = performance.now() + 10_000; it.source.migrationPhase(it.server.id) !== 'copying';) {
    if (performance.now() > end) assert.fail('it does not copy')
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return {
    id,
    async ended() {
      const run = await executor.ended(id)
      await executor.stop()
      return run
    },
  }
}

for (const machines of [apart, inOnePlace]) {
  test('a destination that dies while memory is copied leaves the guest at the source', async () => {
    const it = await openLiveMigration(machines)
    const run = await copying(it)
    it.destination.crash(it.server.id)
    const { state, failure } = await run.ended()
    assert.deepEqual([state, failure?.code], ['failed', 'unavailable'], 'a drain tries it again')
    await assertAtOnePlace(it, 'source')
    await it.close()
  })

  test('a guest that dies at the source while it is copied is dead there, as any, and nothing is left elsewhere', async () => {
    const it = await openLiveMigration(machines)
    const run = await copying(it)
    it.source.crash(it.server.id)
    const { state, failure } = await run.ended()
    assert.equal(state, 'failed')
    assert.match(failure?.message ?? '', /died/)
    await assertAtOnePlace(it, 'source', 'stopped')
    await it.close()
  })

  test('a copy that nobody goes on with in time is given up by its agent', async () => {
    const it = await openLiveMigration(machines)
    const begin = it.source.beginSwitchover.bind(it.source)
    it.source.beginSwitchover = async (...args) => {
      it.source.expireSwitchover(it.server.id)
      return begin(...args)
    }
    const run = await carriedOut(it)
    assert.equal(run.state, 'failed')
    assert.match(run.failure?.message ?? '', /within 3 s/)
    assert.equal(run.failure?.code, 'unavailable', 'a drain tries it again')
    await assertAtOnePlace(it, 'source')
    await it.close()
  })

  test('a destination that dies just after the commit takes the memory with it: the server is there, stopped, and says so', async () => {
    const it = await openLiveMigration(machines)
    const arrive = it.ports.moves.arrive.bind(it.ports.moves)
    it.ports.moves.arrive = async (...args) => {
      await arrive(...args)
      it.destination.crash(it.server.id)
    }
    const run = await carriedOut(it)
    assert.equal(run.state, 'succeeded')
    await assertAtOnePlace(it, 'destination', 'stopped')
    const server = await it.ports.servers.get(it.server.id)
    assert.equal(server.vmState, 'stopped')
    assert.match(server.fault?.message ?? '', /died just after the live migration; its memory is lost/)
    await it.close()
  })
}

test('a source that stays away after the commit keeps nobody: what is left there has access to nothing', async () => {
  const it = await openLiveMigration(apart)
  it.source.ensureNoGuest = async () => {
    throw broken()
  }
  const run = await carriedOut(it)
  assert.equal(run.state, 'succeeded')
  assert.equal((await it.destination.guestStatus(it.server.id)).state, 'running')
  assert.equal((await it.ports.servers.get(it.server.id)).host, 'compute-2')
  const exports = [...storageOf(it).exports.keys()]
  for (const { fromHeadId } of it.input.disks) {
    assert.ok(!exports.some((id) => id.startsWith(fromHeadId)), 'the old head has no export')
  }
  await it.close()
})

test('a source that is away when the switchover fails keeps nobody: the destination is cleaned up', async () => {
  const it = await openLiveMigration(apart)
  it.source.continueMigration = async () => {
    throw broken()
  }
  it.source.ensureMigrationAbandoned = async () => {
    throw broken()
  }
  const run = await carriedOut(it)
  assert.equal(run.state, 'failed')
  assert.equal((await it.destination.guestStatus(it.server.id)).state, 'absent')
  assert.equal((await it.ports.servers.get(it.server.id)).host, 'compute-1')
  await it.close()
})

for (const goesBack of [false, true]) {
  const way = goesBack ? 'on the way back' : 'on the way there'
  test(`at no moment do two places have access to a volume, ${way}`, async () => {
    for (const machines of [apart, inOnePlace, atTheSource, atTheDestination])
      await assertNeverTwo(machines, goesBack)
  })
}

async function assertNeverTwo(machines: Machines, goesBack: boolean): Promise<void> {
  const it = await openLiveMigration(machines)
  if (goesBack) failOnce(it.destination, 'awaitIncoming', 'after')
  const heads = new Map<string, string>()
  for (const { fromHeadId, toHeadId, volumeId } of it.input.disks) {
    heads.set(fromHeadId, volumeId)
    heads.set(toHeadId, volumeId)
  }
  const exported = (headId: string): boolean =>
    [...storageOf(it).exports].some(([id, { isStandby }]) => !isStandby && id.startsWith(headId))
  /** A head whose export was revoked does not know that: its requests fail. */
  const withAccess = (): string[] =>
    [...it.world.holders.values()]
      .flatMap((agent) => [...agent.holders.values()])
      .filter(({ image, spec }) => image?.kind === 'file' || (image !== null && exported(spec.holderId)))
      .map(({ spec }) => spec.holderId)
  const seen = new Set<string>()
  let most = 0
  const look = <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
    async function (...args: A): Promise<R> {
      const result = await call(...args)
      const opened = withAccess()
      for (const id of opened) seen.add(id)
      most = Math.max(most, opened.length - new Set(opened.map((id) => heads.get(id))).size)
      return result
    }
  for (const agent of it.world.holders.values()) agent.ensureHolder = look(agent.ensureHolder.bind(agent))
  const storage = storageOf(it)
  storage.ensureExport = look(storage.ensureExport.bind(storage))
  storage.handOverExport = look(storage.handOverExport.bind(storage))
  const run = await carriedOut(it)
  assert.equal(run.state, goesBack ? 'failed' : 'succeeded')
  assert.equal(most, 0, 'whenever a volume was opened, nobody else had access to it')
  const given = it.input.disks.filter(({ toHeadId }) => seen.has(toHeadId))
  assert.equal(given.length, it.input.disks.length, 'the destination was given all of them')
  const last = it.input.disks.map(({ fromHeadId, toHeadId }) => (goesBack ? fromHeadId : toHeadId))
  assert.deepEqual(withAccess().toSorted(), last.toSorted())
  await it.close()
}

test('the commit of a control plane that was replaced changes nothing', async () => {
  const it = await openLiveMigration(inOnePlace)
  await it.world.db.deleteFrom('operation_fence').execute()
  const at = new Date().toISOString()
  const row = { id: 1, fence: 9, owner: 'newer', acquired_at: at, alive_at: at }
  await it.world.db.insertInto('operation_fence').values(row).execute()
  const heads = Object.fromEntries(it.input.disks.map((d) => [d.attachmentId, d.toHeadId]))
  const late = it.ports.moves.arrive(it.server.id, { from: 'compute-1', host: 'compute-2', heads, fence: 8 })
  await assert.rejects(late, { code: 'staleFence' })
  assert.equal((await it.ports.servers.get(it.server.id)).host, 'compute-1')
  await it.close()
})

test('a destination that stays away after a failure keeps nobody; whose its heads were is known', async () => {
  const it = await openLiveMigration(apart)
  it.destination.ensureIncoming = async () => {
    throw new DomainError('conflict', 'injected')
  }
  const holders = holdersOf(it, 'compute-2')
  const { ensureNoHolder } = holders
  holders.ensureNoHolder = async () => {
    throw broken()
  }
  it.destination.ensureNoIncoming = async () => {
    throw broken()
  }
  const run = await carriedOut(it)
  assert.equal(run.state, 'failed')
  assert.equal((await it.source.guestStatus(it.server.id)).state, 'running')
  assert.deepEqual(
    [...storageOf(it).exports.values()].filter(({ isStandby }) => isStandby),
    [],
  )
  const former = await fencedHeadRecords(it.world.db).formerHeadsOf(it.server.id)
  const expected = it.input.disks.map(({ toHeadId }) => toHeadId).toSorted()
  assert.deepEqual(former.map(({ headId }) => headId).toSorted(), expected)
  for (const { headId } of former) await ensureNoHolder({ fence: 9 }, headId)
  await assertAtOnePlace(it, 'source')
  await it.close()
})

const never = (): Promise<never> => new Promise(() => {})

for (const [what, strike] of [
  ["the destination's access fails", (it) => void scripted(storageOf(it)).next('handOverExport', 'before')],
  ['the destination is cut off', (it) => void failOnce(it.destination, 'awaitIncoming', 'before')],
] satisfies [string, (it: LiveMigrationWorld) => void][]) {
  test(`${what} while the rest is sent: the guest does not stand still until that ends`, async () => {
    const it = await openLiveMigration(apart)
    const begin = it.source.beginSwitchover.bind(it.source)
    it.source.beginSwitchover = async (...args) => {
      strike(it)
      await begin(...args)
    }
    it.source.continueMigration = never
    const run = await Promise.race([carriedOut(it), sleep(20_000, undefined, { ref: false })])
    assert.equal(run?.state, 'failed', 'it did not go back while the rest was being sent')
    await assertAtOnePlace(it, 'source')
    await it.close()
  })
}
