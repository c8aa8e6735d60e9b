import assert from 'node:assert/strict'
import type { RunRecord } from '@volant/saga'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { openEvacuation } from '../testing/evacuation.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { evacuateServer, type EvacuateServerInput, type EvacuateServerPorts } from './evacuate-server.ts'
import { takeOverServer, type TakeOverServerInput, type TakeOverServerPorts } from './take-over-server.ts'

everyStep<TakeOverServerInput, TakeOverServerPorts>(takeOverServer, {
  fresh: async () => {
    const it = await openEvacuation()
    return {
      input: it.input,
      ports: it.ports,
      invariants: async ({ run }: Result) => {
        const ok = run.state === 'succeeded'
        const server = await it.now()
        assert.equal(server.host, ok ? 'compute-2' : 'compute-1')
        assert.equal(server.vmState, 'active')
        const [attachment] = await it.world.records.attachments.ofServer(server.id)
        assert.equal(attachment?.host, server.host)
        assert.equal(attachment?.headId === it.attachment.headId, !ok, 'a new host, a new head')
        assert.equal(await it.guestAt('compute-2'), ok ? 'running' : 'absent')
        assert.deepEqual(it.headsOn('m3'), ok ? [attachment?.headId] : [])
        // The guest that lives on at the silent host may write only where nothing was fenced yet, and the server is there.
        const clients = it.clients()
        assert.ok(!ok || clients.join() === 'm3', `who may write: ${clients.join()}`)
        assert.ok(ok || clients.every((client) => client === 'm2'), `who may write: ${clients.join()}`)
        const [migration] = await it.ports.serverMigrations.list({})
        assert.equal(migration?.reserves, null, 'nothing is held back any more')
        // When it answers, what is left there is ended, or goes on.
        assert.equal(await it.comesBack(), ok ? 1 : 0)
        assert.equal(await it.guestAt('compute-1'), ok ? 'absent' : 'running')
        assert.deepEqual(it.clients(), [ok ? 'm3' : 'm2'], 'one place may write')
        assert.deepEqual(it.headsOn('m2'), ok ? [] : [it.attachment.headId])
        await assertWorldSound(it.world)
      },
      close: it.close,
    }
  },
})

/**
 * Its part is played: it ends after some looks, with the server at compute-2, or cancelled with the server where it was.
 * Another operation holds the server first, and ends when it is cancelled.
 */
async function openParent() {
  const it = await openEvacuation()
  const runs = new Map<string, RunRecord>()
  const looks = new Map<string, number>()
  let stop: string | undefined = 'stop-1'
  const run = (id: string, kind: string, parentId: string | null): RunRecord => ({
    ...{ id, kind, parentId, version: 1, steps: [], keys: [], input: null, state: 'running', step: 'fence' },
    ...{ cancellable: true, progress: null, failure: null, owner: 'o', fence: 1, endedAt: null },
    control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null, revision: 0 },
    ...{ createdAt: '2026-11-22T10:00:00.000Z', updatedAt: '2026-11-22T10:00:00.000Z' },
  })
  runs.set('stop-1', run('stop-1', 'server.stop', null))
  const end = (id: string, state: RunRecord['state']): void => {
    const found = runs.get(id) as RunRecord
    runs.set(id, { ...found, state, endedAt: '2026-11-22T10:00:01.000Z' })
  }
  const started: string[] = []
  const engine: EvacuateServerPorts['engine'] = {
    async start(operation, _input, wishes) {
      const id = crypto.randomUUID()
      started.push(operation.kind)
      runs.set(id, run(id, operation.kind, wishes?.parent ?? null))
      return { id }
    },
    get: async (id) => runs.get(id) as RunRecord,
    async partsOf(parent) {
      for (const part of runs.values()) {
        if (part.parentId !== parent || part.endedAt !== null) continue
        const seen = (looks.get(part.id) ?? 0) + 1
        looks.set(part.id, seen)
        if (seen < 3) continue
        const heads = { [it.attachment.id]: crypto.randomUUID() }
        await it.ports.moves.arrive(it.server.id, { from: 'compute-1', host: 'compute-2', heads })
        end(part.id, 'succeeded')
      }
      return [...runs.values()].filter(({ parentId }) => parentId === parent)
    },
    holderOf: async (key) =>
      key.startsWith('server/') && stop !== undefined ? { id: stop, kind: 'server.stop' } : undefined,
    async cancel(id) {
      if (id === stop) stop = undefined
      if (runs.get(id)?.endedAt === null) end(id, 'cancelled')
    },
    resume: async () => {},
  }
  return { ...it, ports: { ...it.ports, engine }, started }
}

everyStep<EvacuateServerInput, EvacuateServerPorts>(evacuateServer, {
  fresh: async () => {
    const it = await openParent()
    return {
      input: { ...it.input, requestId: 'req-1', patienceSeconds: 60 },
      ports: it.ports,
      invariants: async () => {
        const server = await it.now()
        const [migration] = await it.ports.serverMigrations.list({})
        const isThere = server.host === 'compute-2'
        assert.equal(server.taskState, null, 'nothing is under way any more')
        assert.equal(migration?.status, isThere ? 'done' : 'failed', 'it says where the server is')
        assert.equal(migration?.message === null, isThere, 'a failure is said, and only a failure')
        assert.ok(it.started.length <= 1, 'it is taken over once, whatever happened in between')
      },
      close: it.close,
    }
  },
})
