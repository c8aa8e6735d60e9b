import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { endAgentProcesses } from '@volant/control/agent-process.ts'
import { isAlive } from '@volant/qemu'
import {
  agentOf,
  asProcesses,
  assertCopiedOnce,
  onlyHolder,
  pidOf,
  slowMigration,
  succeeds,
  filled,
} from './agent-processes.ts'
import {
  acknowledged,
  assertNothingLost,
  bootProbe,
  openPlane,
  until,
  type Job,
  type Plane,
} from './plane.ts'

describe('agents in processes of their own outlive the control plane, and their daemons outlive them', () => {
  let plane: Plane
  let job: Job

  before(async () => {
    plane = await openPlane(asProcesses)
    job = await bootProbe(plane, 'volant-probe', filled)
  })
  after(() => plane?.close())

  test('the control plane is killed: its agents run on, and the next one finds them', async () => {
    const id = await slowMigration(plane, job)
    const before = [await pidOf(plane, 'storage'), await pidOf(plane, 'compute')]
    await plane.kill()
    await plane.start()
    assert.deepEqual([await pidOf(plane, 'storage'), await pidOf(plane, 'compute')], before)
    assertCopiedOnce(await succeeds(plane, id))
  })

  test('all of Volant is killed at once: the guest writes on, and the next start goes on', async () => {
    const id = await slowMigration(plane, job)
    const agents = [await pidOf(plane, 'storage'), await pidOf(plane, 'compute')]
    for (const pid of agents) process.kill(pid, 'SIGKILL')
    await plane.kill()
    await plane.start()
    for (const [index, part] of (['storage', 'compute'] as const).entries()) {
      assert.notEqual(await pidOf(plane, part), agents[index])
    }
    assertCopiedOnce(await succeeds(plane, id))
  })

  test('an agent that is stopped, not dead, is away; it goes on when it is continued', async () => {
    const pid = await pidOf(plane, 'compute')
    process.kill(pid, 'SIGSTOP')
    try {
      await until('it is told to be away', 60_000, async () => !(await agentOf(plane, 'compute')).up)
      const { reason } = await agentOf(plane, 'compute')
      assert.notEqual(reason, null)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await until('it is up again', 60_000, async () => (await agentOf(plane, 'compute')).up)
    assert.equal(await pidOf(plane, 'compute'), pid, 'the same process')
    assert.ok((await acknowledged(plane, job)) > 0)
  })

  test('its processes end when they are asked; guests and heads run on under the next ones', async () => {
    const holder = await onlyHolder(plane)
    assert.equal(await endAgentProcesses(plane.stateDir), 2)
    assert.ok(isAlive(holder))
    await until('both run again', 60_000, async () => {
      const { agents } = await plane.client.ndo.status()
      return agents.every(({ up }) => up)
    })
    assert.deepEqual(await onlyHolder(plane), holder)
  })

  test('nothing of what the guest was told was done is lost, and it writes on', () =>
    assertNothingLost(plane, job))
})
