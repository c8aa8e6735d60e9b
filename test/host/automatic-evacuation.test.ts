import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { registerQuietProbe } from '../crash/world.ts'
import { processesOf } from '../crash/processes.ts'
import { until } from '../migration/plane.ts'
import { rowsOf } from '../move/place.ts'
import { forceDown } from './evacuation.ts'
import { assertRunsOnlyAt, assertSweptClean } from './invariants.ts'
import { skipHosts } from './network.ts'
import { openHostRig, type HostRig } from './rig.ts'
import { assertNothingLost, bootWriter, hostOf, writesOn, type Writer } from './writers.ts'

const config = 'evacuation: [{ name: rack, hosts: [compute-1], after: 10s, witnesses: 2 }]\n'
/** Ten seconds of silence, a look each five, and what a busy machine adds. */
const noticedMs = 90_000

describe('a host of an evacuation group that falls silent', { skip: skipHosts }, () => {
  let rig: HostRig
  let writer: Writer

  before(async () => {
    rig = await openHostRig({ hosts: 3, config })
    const image = await registerQuietProbe(rig.plane, 'probe')
    writer = await bootWriter(rig, { name: 'writer', host: 'compute-1', image })
  })
  after(() => rig?.close())

  const evacuations = (): string[] =>
    rowsOf(rig.plane.stateDir, "select id from operations where kind = 'host.evacuate'").map(({ id }) =>
      String(id),
    )
  const log = (): string => readFileSync(join(rig.plane.stateDir, 'log', 'volant.log'), 'utf8')

  test('is left alone while others reach it; where nobody does it is fenced, and its server evacuated', async () => {
    const { plane } = rig
    const [silent] = rig.hosts
    assert.ok(silent)

    silent.hide()
    await until('its witnesses were asked', noticedMs, async () =>
      /a silent host is not given up/.test(log()),
    )
    assert.deepEqual(evacuations(), [])
    await writesOn(rig, writer)
    silent.show()
    await until('it is up again', 30_000, () => silent.isUp())
    assert.equal(await hostOf(plane, writer), 'compute-1')

    silent.cut('control')
    await until('it is given up', noticedMs, async () => evacuations().length > 0)
    const [id = ''] = evacuations()
    await until(
      'its server is elsewhere',
      60_000,
      async () => (await plane.client.ndo.operation(id)).state === 'succeeded',
    )
    const host = await hostOf(plane, writer)
    assert.notEqual(host, 'compute-1')
    writer.boots++
    await writesOn(rig, writer)

    silent.heal('control')
    await until('the old guest is ended', 60_000, async () => !(await isRunning(silent.stateDir)))
    await forceDown(plane, silent.name, false)
    await writesOn(rig, writer)
    await assertNothingLost(rig, writer)
    await assertRunsOnlyAt(rig, writer, host)
    await assertSweptClean(rig)
    assert.equal(evacuations().length, 1)
  })
})

const isRunning = async (folder: string): Promise<boolean> =>
  (await processesOf(folder)).some(({ kind }) => kind === 'guest')
