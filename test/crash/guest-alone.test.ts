import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { parseConsole } from '../../probe/console.ts'
import { ended, startMigration, until } from '../migration/plane.ts'
import { assertInvariants } from './invariants.ts'
import { killNow, processesOf } from './processes.ts'
import { openWorld, truthOf, type World } from './world.ts'

describe('nobody of Volant is there for the guest at its cutover but the guard', () => {
  let world: World

  before(async () => {
    world = await openWorld('local')
  })
  after(() => world?.close())

  /** Writes that the guest's probe was told were done, as its console says: no control plane is asked. */
  async function acknowledged(): Promise<number> {
    const text = await readFile(world.consoleLog, 'utf8')
    const last = parseConsole(text, world.attached.volumeId.slice(0, 20)).at(-1)
    return last?.kind === 'progress' ? last.acked : 0
  }

  const goesOnAlone = async (): Promise<void> => {
    const before = await acknowledged()
    await until('the guest writes on by itself', 30_000, async () => (await acknowledged()) > before + 500)
  }

  async function bringTo(point: string): Promise<string> {
    world.gate.arm(point)
    const { id } = await startMigration(world.plane, world.attached)
    await until(`the migration is at ${point}`, 60_000, async () => world.gate.isReached())
    return id
  }

  const controlPlane = async (): Promise<number> => {
    const found = (await processesOf(world.plane.stateDir)).find(({ kind }) => kind === 'control plane')
    assert.ok(found, 'the control plane runs')
    return found.pid
  }
  const truth = (): string => truthOf(world.plane.stateDir, world.attached.volumeId).imageId

  for (const { point, decided } of [
    { point: 'pending', decided: 'nothing is decided: the guard gives the cutover up' },
    { point: 'committed', decided: 'it is decided: the guard brings the guest to the target' },
    { point: 'recorded', decided: 'it is decided and recorded: the guard brings the guest to the target' },
  ]) {
    test(`the control plane dies at ${point} and stays dead; ${decided}`, async () => {
      const source = truth()
      const id = await bringTo(point)
      await killNow([await controlPlane()])
      world.gate.release()
      await goesOnAlone()
      await world.plane.start()
      const operation = await ended(world.plane, id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.notEqual(truth(), source)
      await assertInvariants(world, world.attached)
    })

    // Before it is decided a sleep is as the late thought below; after the record as the death above.
    if (point !== 'committed') continue
    test(`the control plane, its agents with it, sleeps at ${point} for longer than the guard waits`, async () => {
      const source = truth()
      const id = await bringTo(point)
      const pid = await controlPlane()
      process.kill(pid, 'SIGSTOP')
      try {
        world.gate.release()
        await goesOnAlone()
      } finally {
        process.kill(pid, 'SIGCONT')
      }
      const operation = await ended(world.plane, id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.notEqual(truth(), source)
      await assertInvariants(world, world.attached)
    })
  }

  test('the control plane thinks for longer than the guard waits: its commit comes too late, and it tries again', async () => {
    const id = await bringTo('pending')
    await goesOnAlone()
    world.gate.release()
    const operation = await ended(world.plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    assert.ok(operation.attempts.length > 0, 'the first attempt was given up')
    await assertInvariants(world, world.attached)
  })

  test('the guard is killed: no cutover without one', async () => {
    const id = await bringTo('pending')
    const guards = (await processesOf(world.plane.stateDir)).filter(({ kind }) => kind === 'guard')
    assert.equal(guards.length, 1)
    await killNow(guards.map(({ pid }) => pid))
    world.gate.release()
    const operation = await ended(world.plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    assert.ok(operation.attempts.length > 0, 'the attempt without a guard was given up')
    await assertInvariants(world, world.attached)
  })
})
