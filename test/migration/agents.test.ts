import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { after, before, describe, test } from 'node:test'
import { isAlive } from '@volant/qemu'
import {
  agentOf,
  asProcesses,
  assertCopiedOnce,
  isBack,
  killAgent,
  onlyHolder,
  slowMigration,
  succeeds,
  filled,
} from './agent-processes.ts'
import {
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
  type Job,
  type Plane,
} from './plane.ts'

describe('agents in processes of their own die and come back, while a volume migrates and its guest writes', () => {
  let plane: Plane
  let job: Job

  before(async () => {
    plane = await openPlane(asProcesses)
    job = await bootProbe(plane, 'volant-probe', filled)
  })
  after(() => plane?.close())

  test('the status tells each process: what it has, where it is, that it is up', async () => {
    for (const part of ['storage', 'compute'] as const) {
      const agent = await agentOf(plane, part)
      assert.equal(agent.place, 'process')
      assert.equal(agent.up, true)
      assert.match(agent.url ?? '', /^https:\/\/127\.0\.0\.1:\d+$/)
      assert.deepEqual(agent.nodes, part === 'storage' ? ['lma-01', 'lmb-01'] : [])
      assert.deepEqual(agent.compute_hosts, part === 'compute' ? ['compute-1', 'compute-2'] : [])
      assert.deepEqual(agent.machines, part === 'compute' ? [hostname()] : [])
    }
  })

  test('to and fro: it succeeds, and the pause is reported', async () => {
    for (let i = 0; i < 2; i++) {
      const operation = await ended(plane, (await startMigration(plane, job)).id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.ok(operation.client_pause_ms !== null && operation.client_pause_ms > 0)
    }
  })

  test('the compute agent, with the holders, is killed while a copy runs: it goes on', async () => {
    const id = await slowMigration(plane, job)
    const holder = await onlyHolder(plane)
    const pid = await killAgent(plane, 'compute')
    await isBack(plane, 'compute', pid)
    assertCopiedOnce(await succeeds(plane, id))
    assert.deepEqual(await onlyHolder(plane), holder, 'the same storage daemon')
  })

  test('the storage agent is killed while a copy runs: it goes on', async () => {
    const id = await slowMigration(plane, job)
    const pid = await killAgent(plane, 'storage')
    await isBack(plane, 'storage', pid)
    assertCopiedOnce(await succeeds(plane, id))
  })

  test('the holder dies while its agent is away: the agent starts it when it comes back', async () => {
    const id = await slowMigration(plane, job)
    const holder = await onlyHolder(plane)
    const pid = await killAgent(plane, 'compute')
    process.kill(holder.pid, 'SIGKILL')
    await isBack(plane, 'compute', pid)
    await until('another storage daemon runs', 60_000, async () => {
      const now = await onlyHolder(plane)
      return now.pid !== holder.pid && isAlive(now)
    })
    await succeeds(plane, id)
  })

  test('nothing of what the guest was told was done is lost, and it writes on', () =>
    assertNothingLost(plane, job))
})
