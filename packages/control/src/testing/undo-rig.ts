import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { aggregateContents } from '../db/repositories/aggregate-contents.ts'
import { bind, Executor } from '@volant/saga'
import { createMigrations } from '../app/migration.ts'
import { operationEngine } from '../app/operation-engine.ts'
import { createOperations } from '../app/operation.ts'
import { createUndos } from '../app/undo.ts'
import { operationStore } from '../db/repositories/operation.ts'
import { hostStringOf } from '../domain/migration.ts'
import type { Principal } from '../domain/principal.ts'
import { attachVolume } from '../operations/attach-volume.ts'
import { detachVolume } from '../operations/detach-volume.ts'
import { ensureHead } from '../operations/head.ts'
import { migrateVolume } from '../operations/migrate-volume.ts'
import { revertMigration } from '../operations/revert-migration.ts'
import { vacateAggregate } from '../operations/vacate-aggregate.ts'
import { standingVacatePorts } from './vacate.ts'
import { attachmentOf, makeVolume, openWorld } from './world.ts'

export const administrator: Principal = {
  userId: 'a',
  userName: 'admin',
  userDomainId: 'default',
  projectId: 'p',
  projectName: 'admin',
  roles: ['admin'],
  systemScope: false,
  expiresAt: 4_000_000_000,
}

const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }

/** Migrations and their undoing over simulated nodes on machines of their own, with the real records and engine. */
export async function openUndoRig(t: TestContext, options: { attached: boolean; retentionSeconds?: number }) {
  const world = await openWorld(apart)
  const store = operationStore(world.db)
  const late: { executor?: Executor } = {}
  const engine = operationEngine(() => late.executor as Executor, store)
  const executor = new Executor({
    store,
    owner: 'test',
    operations: [
      bind(migrateVolume, world.ports),
      bind(revertMigration, { ...world.ports, engine }),
      bind(attachVolume, world.ports),
      bind(detachVolume, world.ports),
      bind(vacateAggregate, standingVacatePorts()),
    ],
    policy: {
      longestBackoff: '1ms',
      longestCheckInterval: '2ms',
      undo: { attempts: 2, backoff: '1ms' },
      afterCommit: { attempts: 2, backoff: '1ms' },
    },
  })
  late.executor = executor
  await executor.begin()
  t.after(async () => {
    await executor.stop()
    await world.db.destroy()
  })
  const disabled = new Set<string>()
  const clock = { now: () => new Date() }
  const retentionSeconds = options.retentionSeconds ?? 600
  const migrations = createMigrations({
    ...world.records,
    backend: world.backend,
    contents: aggregateContents(world.db),
    agents: world.agents,
    engine,
    topology: world.topology,
    settings: { rate: 0, cutoverWindowMs: 1000, cutoverAttempts: 3, retentionSeconds },
    isBackendEnabled: async (backend) => !disabled.has(backend),
    missingAbilities: async () => [],
  })
  const undos = createUndos({
    ...world.records,
    executor,
    engine,
    migrations,
    backend: world.backend,
    host: world.topology.host,
    retentionSeconds,
    clock,
  })
  const operations = createOperations({
    executor,
    ...world.records,
    serverName: async () => null,
    serverHosts: async () => null,
    undoableUntil: (run) => undos.undoableUntil(run),
    pace: '2x',
    host: world.topology.host,
  })
  const volume = await makeVolume(world, world.lma, options)
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
  const pools = {
    lma: hostStringOf(world.topology.host, world.lma),
    lmb: hostStringOf(world.topology.host, world.lmb),
  }

  const ended = async (operationId: string) => {
    const run = await executor.ended(operationId)
    assert.equal(run.state, 'succeeded', run.failure?.message ?? '')
    return run
  }
  return {
    world,
    volumeId: volume.id,
    executor,
    engine,
    undos,
    migrations,
    operations,
    pools,
    disabled,
    clock,
    ended,
    /** Migrates the volume and waits for the end; the operation's id. */
    async migrate(to: keyof typeof pools, more: { lockVolume?: boolean } = {}) {
      const request = { principal: administrator, volumeId: volume.id, host: pools[to], lockVolume: false }
      const { operationId } = await migrations.start({ ...request, ...more })
      await ended(operationId)
      return operationId
    },
    plan: (operationId: string) => undos.plan(administrator, operationId),
    /** Undoes and waits for the end of what that starts. */
    async undo(operationId: string) {
      const started = await undos.undo(administrator, operationId)
      return { ...started, run: await executor.ended(started.operationId) }
    },
    /** Refused with that reason, in a dry run and in earnest, and nothing changed. */
    async refused(operationId: string, reason: RegExp, code = 'conflict') {
      const state = async () =>
        JSON.stringify([
          await world.records.volumes.find(volume.id),
          await world.records.copies.ofVolume(volume.id),
          (await engine.latestOf(`volume/${volume.id}`, 1000)).map(({ id, state: is }) => [id, is]),
          [...world.nodes.values()].map((node) => [...node.images.values()]),
        ])
      const before = await state()
      const plan = await undos.plan(administrator, operationId)
      assert.equal(plan.ok, false)
      assert.match(plan.reason, reason)
      await assert.rejects(
        undos.undo(administrator, operationId),
        (error: { code: string; message: string }) => {
          assert.match(error.message, reason)
          assert.equal(error.code, code)
          return true
        },
      )
      assert.equal(await state(), before, 'nothing was changed')
    },
    /** A server uses the volume for a while, as by `nova volume-attach` and `volume-detach`. */
    async useForAWhile() {
      const row = { ...attachmentOf({ ...volume }), status: 'attaching' as const }
      await world.records.attachments.create(row)
      await world.records.volumes.update(volume.id, { status: 'attaching' })
      const place = { attachmentId: row.id, volumeId: volume.id, serverId: 'server-1' }
      await ended((await engine.start(attachVolume, { ...place, host: 'compute-1' })).id)
      await ended((await engine.start(detachVolume, place)).id)
    },
    async poolNow() {
      const now = await world.records.volumes.get(volume.id)
      return now.flexvolId === world.lma.id ? 'lma' : 'lmb'
    },
  }
}
