import { bind, Executor, MemoryStore, type SagaStore } from '@volant/saga'
import { sealOf } from '../domain/undo.ts'
import { migrateVolume, type MigrateVolumeInput } from '../operations/migrate-volume.ts'
import {
  mirrored,
  type RevertMigrationInput,
  type RevertMigrationPorts,
} from '../operations/revert-migration.ts'
import { makeVolume, migrationInput, type World } from './world.ts'

/** A detached volume that has migrated from lma to lmb, claimed for the migration to be taken back. */
export async function migratedWorld(world: World, options: { lockVolume?: boolean } = {}) {
  const volume = await makeVolume(world, world.lma, { attached: false })
  const migration: MigrateVolumeInput = {
    ...migrationInput(world, volume),
    lockedFrom: options.lockVolume === true ? 'available' : null,
  }
  const past = new MemoryStore()
  const executor = new Executor({
    store: past,
    owner: 'past',
    operations: [bind(migrateVolume, world.ports)],
    policy: { longestCheckInterval: '1ms' },
  })
  await executor.begin()
  const { id } = await executor.ended((await executor.start(migrateVolume, migration)).id)
  await executor.stop()
  const log = await past.history({ runId: id })
  const seal = sealOf(log)
  if (seal == null) throw new Error('the migration of a detached volume is sealed')
  const input: RevertMigrationInput = {
    ...mirrored(migration),
    undoOf: { operationId: id, reason: 'test' },
    seal,
    retentionSeconds: 600,
  }
  await world.records.volumes.update(volume.id, {
    migrationStatus: 'starting',
    ...(options.lockVolume === true ? { status: 'maintenance' } : {}),
  })
  return {
    volume,
    migration,
    input,
    /** The migration is the volume's history before what `store` holds. */
    portsOver: (store: SagaStore): RevertMigrationPorts => ({
      ...world.ports,
      engine: {
        async latestOf(key, limit) {
          const [now, before] = await Promise.all([store.list({ key, limit }), past.list({ key, limit })])
          return [...now.runs, ...before.runs].slice(0, limit)
        },
        historyOf: (runId) => past.history({ runId }),
      },
    }),
  }
}
