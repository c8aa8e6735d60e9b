import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import {
  apart,
  assertAtOnePlace,
  atTheDestination,
  inOnePlace,
  openLiveMigration,
} from '../testing/live-migration.ts'
import type { Machines } from '../testing/world.ts'
import {
  liveMigrateServer,
  type LiveMigrateServerInput,
  type LiveMigrateServerPorts,
} from './live-migrate-server.ts'

function everyStepOn(machines: Machines, paused: boolean): void {
  everyStep<LiveMigrateServerInput, LiveMigrateServerPorts>(liveMigrateServer, {
    fresh: async () => {
      const it = await openLiveMigration(machines, paused ? { vmState: 'paused', powerState: 3 } : {})
      return {
        input: it.input,
        ports: it.ports,
        invariants: async ({ run }: Result) => {
          const ok = run.state === 'succeeded'
          await assertAtOnePlace(it, ok ? 'destination' : 'source')
          const [migration] = await it.serverMigrations.list({ serverId: it.server.id })
          const status = { succeeded: 'completed', cancelled: 'cancelled' }[run.state as string] ?? 'error'
          // Cancelled before its first step it has no record.
          if (migration !== undefined) assert.equal(migration.status, status)
          else assert.notEqual(run.state, 'succeeded')
        },
        close: it.close,
      }
    },
  })
}

everyStepOn(apart, false)
everyStepOn(inOnePlace, true)
everyStepOn(atTheDestination, false)
