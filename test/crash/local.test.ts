import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { stopDataPlane } from '@volant/control/stop-all.ts'
import { verifyVolume } from '@volant/cli/commands/probe.ts'
import { parseConsole } from '../../probe/console.ts'
import { ended, startMigration, until } from '../migration/plane.ts'
import { killNow, processesOf } from './processes.ts'
import { testCells } from './quick-cells.ts'
import type { World } from './world.ts'

describe('a migration in which something is killed: one machine', () => {
  const worldOf = testCells('local')

  async function acknowledged(world: World): Promise<number> {
    const text = await readFile(world.consoleLog, 'utf8')
    const last = parseConsole(text, world.attached.volumeId.slice(0, 20)).at(-1)
    return last?.kind === 'progress' ? last.acked : 0
  }

  test('all is stopped (volant down --all) while a committed cutover is not recorded: what the guest wrote at the target is there', async () => {
    const world = worldOf()
    const { stateDir } = world.plane
    world.gate.arm('committed')
    const { id } = await startMigration(world.plane, world.attached)
    await until('the migration is at committed', 60_000, async () => world.gate.isReached())
    const running = (await processesOf(stateDir)).filter(({ kind }) => kind === 'control plane')
    await killNow(running.map(({ pid }) => pid))
    world.gate.release()
    const before = await acknowledged(world)
    await until(
      'the guest writes on by itself',
      30_000,
      async () => (await acknowledged(world)) > before + 150,
    )
    await stopDataPlane(stateDir)
    await world.plane.start()
    const operation = await ended(world.plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    const report = await verifyVolume(world.plane.client, world.attached.volumeId, [world.consoleLog])
    assert.equal(report.ok, true, JSON.stringify(report).slice(0, 2000))
    assert.equal(report.lost, 0)
    assert.ok(report.acknowledgedWrites > before + 150)
  })
})
