import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore, operation, type RunRecord } from '@volant/saga'
import { everyStep, hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import { pino } from 'pino'
import { computeServiceRecords } from '../db/repositories/compute-service.ts'
import { serverRecords } from '../db/repositories/server.ts'
import type { EvacuationGroup } from '../domain/automatic-evacuation.ts'
import { giveUpSilentHosts } from '../reconcile/automatic-evacuation.ts'
import { buildingServer } from '../testing/servers.ts'
import { openWorld } from '../testing/world.ts'
import { hostKey } from './drain-host.ts'
import { evacuateHost, type EvacuateHostInput, type EvacuateHostPorts } from './evacuate-host.ts'

const at = '2026-11-22T10:00:00.000Z'

/** Three servers on a host that is down; their evacuations, which are played, need some looks each. */
async function openHost() {
  const world = await openWorld()
  const servers = serverRecords(world.db)
  const services = computeServiceRecords(world.db)
  const ids = ['a', 'b', 'c'].map((letter) => `5e4e4e4e-0000-4000-8000-00000000000${letter}`)
  await servers.create(
    ids.map((id) =>
      buildingServer({ id, name: id.slice(-1), vmState: 'active', taskState: null, host: 'compute-1' }),
    ),
  )
  await services.ensure({
    ...{ id: 'service-1', host: 'compute-1', binary: 'nova-compute', hypervisorId: 'h-1', createdAt: at },
    ...{ disabled: false, disabledReason: null, forcedDown: false, updatedAt: at },
  })
  const runs = new Map<string, RunRecord & { looks: number }>()
  const refused = new Map<string, string>()
  let most = 0
  const going = () => [...runs.values()].filter(({ endedAt }) => endedAt === null)
  const ports: EvacuateHostPorts = {
    servers,
    services,
    evacuations: {
      require: async () => {},
      async start({ serverId, parent }) {
        const reason = refused.get(serverId)
        if (reason !== undefined) throw new DomainError('conflict', reason)
        const id = crypto.randomUUID()
        runs.set(id, {
          ...{ id, kind: 'server.evacuate', version: 1, steps: [], keys: [], input: { serverId }, looks: 0 },
          ...{
            parentId: parent ?? null,
            state: 'running',
            step: 'takenOver',
            cancellable: true,
            progress: null,
          },
          control: {
            paused: false,
            cancelRequested: false,
            rate: null,
            pace: null,
            priority: null,
            revision: 0,
          },
          ...{ failure: null, owner: 'o', fence: 1, createdAt: at, updatedAt: at, endedAt: null },
        })
        most = Math.max(most, going().length)
        return { operationId: id }
      },
    },
    engine: {
      async partsOf(parent) {
        for (const run of going()) {
          run.looks += 1
          if (run.looks < 2) continue
          Object.assign(run, { state: 'succeeded', endedAt: at })
          await servers.update((run.input as { serverId: string }).serverId, { host: 'compute-2' })
        }
        return [...runs.values()].filter(({ parentId }) => parentId === parent)
      },
      async cancel(id) {
        Object.assign(runs.get(id) as RunRecord, { state: 'cancelled', endedAt: at })
      },
    },
  }
  return { world, servers, services, ports, ids, refused, going, most: () => most }
}

const input: EvacuateHostInput = {
  host: 'compute-1',
  parallel: 2,
  reason: 'it was down',
  by: { userId: 'u', projectId: 'p' },
}

everyStep<EvacuateHostInput, EvacuateHostPorts>(evacuateHost, {
  fresh: async () => {
    const it = await openHost()
    return {
      input,
      ports: it.ports,
      invariants: async ({ run }) => {
        const [service] = await it.services.list()
        if (run.state === 'cancelled')
          assert.deepEqual([service?.forcedDown, service?.disabledReason], [false, null])
        if (run.state === 'succeeded') {
          assert.deepEqual([service?.forcedDown, service?.disabledReason], [true, 'it was down'])
        }
        assert.deepEqual(it.going(), [], 'nothing is left under way')
        assert.ok(it.most() <= 2, 'so many at once')
        if (run.state === 'succeeded') assert.deepEqual(await it.servers.onHost('compute-1'), [])
      },
      close: () => it.world.db.destroy(),
    }
  },
})

const group: EvacuationGroup = {
  name: 'rack1',
  hosts: ['compute-1', 'compute-2', 'compute-3', 'compute-4'],
  afterSeconds: 60,
  witnesses: 2,
  atOnce: 1,
}

test('a silent host is given up with its reason when its witnesses can not reach it, and not when one can', async () => {
  const it = await openHost()
  const now = new Date('2026-11-22T10:10:00Z')
  const hosts = ['compute-1', 'compute-2', 'compute-3', 'compute-4'].map((host) => ({
    ...{ host, answers: host !== 'compute-1', facts: undefined, guests: new Map() },
    seenAt: host === 'compute-1' ? new Date(now.getTime() - 61_000) : now,
  }))
  const started: unknown[] = []
  const asked: string[] = []
  const reaching = new Set(['compute-3'])
  const look = (evacuating: EvacuationGroup[]) =>
    giveUpSilentHosts({
      evacuating,
      hosts: { list: () => hosts, find: () => undefined },
      addressOf: () => ({ host: '10.0.0.1', port: 8781 }),
      services: { all: () => it.services.list() },
      engine: {
        start: async (operation, of) => (started.push([operation.kind, of]), { id: 'x' }),
        holderOf: async () => undefined,
      },
      agents: {
        holders: (machine: string) => ({
          unreachable: async (host: string, port: number) => {
            asked.push(`${machine} ${host}:${port}`)
            return reaching.has(machine) ? null : 'no route to host'
          },
        }),
      } as never,
      places: { machineOfHost: (host) => host },
      clock: { now: () => now },
      log: pino({ level: 'silent' }),
    })
  assert.deepEqual(await look([]), [], 'it is off')
  assert.deepEqual(asked, [])
  assert.deepEqual(await look([group]), [], 'compute-3 reaches it')
  assert.deepEqual(
    asked.toSorted(),
    ['compute-2', 'compute-3', 'compute-4'].map((m) => `${m} 10.0.0.1:8781`),
  )
  reaching.clear()
  assert.deepEqual(await look([group]), ['compute-1'])
  const [[kind, of]] = started as [[string, EvacuateHostInput]]
  assert.equal(kind, 'host.evacuate')
  assert.match(
    of.reason,
    /^compute-1 was silent for 61 s; compute-2, compute-3, compute-4 can't reach it either$/,
  )
  await it.services.update('service-1', { forcedDown: true })
  assert.deepEqual(await look([group]), [], 'it was given up already')
  await it.world.db.destroy()
})

test('a host that dies while it is drained is evacuated all the same', async () => {
  const it = await openHost()
  const drain = operation<{ host: string }, null>('host.drain', { version: 1 })
    .holds(({ host }) => [hostKey(host)])
    .wait('emptied', {
      every: 10,
      stallTimeout: '1h',
      until: () => ({ done: false, advance: null }),
      back: { every: 10, stallTimeout: '1h', until: () => ({ done: true, advance: null }) },
    })
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'test',
    operations: [bind(drain, null), bind(evacuateHost, it.ports)],
    policy: hurriedPolicy,
  })
  await executor.begin()
  await executor.start(drain, { host: 'compute-1' })
  const { id } = await executor.start(evacuateHost, input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  await executor.stop()
  await it.world.db.destroy()
})
