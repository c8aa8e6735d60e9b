import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore, type RunRecord } from '@volant/saga'
import { hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import { exportIdOf } from '../backends/aggregates.ts'
import { large, openResizeWorld, resizeInput, small, type ResizeWorld } from '../testing/resize.ts'
import { resizeServer } from './resize-server.ts'

/** `compute-2`, with its machine, does not answer from its `ensureGuest` on; that call may have taken effect. */
async function resizeToOneThatDies(it: ResizeWorld, started: boolean): Promise<RunRecord> {
  let away = false
  const unreachable = (): DomainError => new DomainError('unavailable', 'no route to host')
  const compute = it.world.agents.compute('compute-2')
  const dying = new Proxy(compute, {
    get(target, key, receiver) {
      const member = Reflect.get(target, key, receiver) as unknown
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        if (away) throw unreachable()
        if (key !== 'ensureGuest') return Reflect.apply(member, target, args)
        if (started) await Reflect.apply(member, target, args)
        away = true
        throw unreachable()
      }
    },
  })
  const agents = {
    ...it.world.agents,
    compute: (host: string) => (host === 'compute-2' ? dying : it.world.agents.compute(host)),
    holders: (machine: string) => {
      if (away && machine === 'm3') throw unreachable()
      return it.world.agents.holders(machine)
    },
  }
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'test',
    operations: [bind(resizeServer, { ...it.ports, agents, destinationPatienceMs: 1 })],
    policy: hurriedPolicy,
  })
  await executor.begin()
  const { id } = await executor.start(resizeServer, resizeInput(it, { runs: true, confirm: false }))
  const run = await executor.ended(id)
  await executor.stop()
  return run
}

for (const started of [false, true]) {
  test(`the destination dies ${started ? 'when its guest runs' : 'before its guest runs'}: fenced, and the server runs where it was`, async () => {
    const it = await openResizeWorld({
      at: 'compute-1',
      flavor: small,
      runs: true,
      server: { vmState: 'active', taskState: 'resize_prep' },
      migration: {},
    })
    const run = await resizeToOneThatDies(it, started)
    assert.equal(run.state, 'failed', JSON.stringify(run.failure))
    const server = await it.ports.servers.get(it.server.id)
    assert.deepEqual([server.host, server.vmState, server.taskState], ['compute-1', 'active', null])
    assert.notEqual(server.flavorId, large.id)
    assert.equal((await it.world.agents.compute('compute-1').guestStatus(server.id)).state, 'running')
    const exports = [...it.world.nodes.values()].flatMap((node) => [...node.exports.keys()])
    const expected: string[] = []
    for (const { from, volumeId } of it.heads) {
      const { imageId } = await it.world.records.volumes.get(volumeId)
      expected.push(exportIdOf({ imageId: imageId as string }, from))
    }
    assert.deepEqual(exports.toSorted(), expected.toSorted(), 'only the source has access')
    for (const { to, volumeId } of it.heads) {
      assert.equal(await it.ports.fencedHeads.isFenced(to), true)
      const { imageId } = await it.world.records.volumes.get(volumeId)
      const copy = await it.world.records.copies.get(imageId as string)
      const late = it.world.backend.openFor({ fence: 9 }, copy, 'm3', to)
      await assert.rejects(late, { code: 'conflict' }, 'what comes late gets no access')
    }
    assert.equal((await it.ports.serverMigrations.reservedByHost()).size, 0)
    await it.close()
  })
}
