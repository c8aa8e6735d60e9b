import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { asProcesses, isBack, killAgent, filled } from './agent-processes.ts'
import {
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  type Job,
  type Plane,
} from './plane.ts'

describe('both agents die at random moments of a migration, its guest writing', () => {
  let plane: Plane
  let job: Job

  before(async () => {
    plane = await openPlane(asProcesses)
    job = await bootProbe(plane, 'volant-probe', filled)
  })
  after(() => plane?.close())

  test('both agents are killed at random moments of a migration: it succeeds', async () => {
    for (let i = 0; i < 2; i++) {
      const { id } = await startMigration(plane, job)
      const afterMs = Math.round(Math.random() * 1500)
      await sleep(afterMs)
      const pids = await Promise.all([killAgent(plane, 'compute'), killAgent(plane, 'storage')])
      const operation = await ended(plane, id)
      const said = `killed after ${afterMs} ms: ${JSON.stringify(operation.attempts)}`
      assert.equal(operation.state, 'succeeded', said)
      await isBack(plane, 'compute', pids[0])
      await isBack(plane, 'storage', pids[1])
    }
  })

  test('nothing of what the guest was told was done is lost, and it writes on', () =>
    assertNothingLost(plane, job))
})
