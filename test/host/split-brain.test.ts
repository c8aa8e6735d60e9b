import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from '@volant/client'
import { openGate } from '../crash/gate.ts'
import { processesOf } from '../crash/processes.ts'
import { registerQuietProbe } from '../crash/world.ts'
import { until } from '../migration/plane.ts'
import { forceDown } from './evacuation.ts'
import { assertSweptClean, assertRunsOnlyAt } from './invariants.ts'
import { skipHosts } from './network.ts'
import { arrivedSince, writesOfSession } from './old-writes.ts'
import { openHostRig, type HostRig } from './rig.ts'
import {
  act,
  assertNothingLost,
  bootWriter,
  hostOf,
  operationOn,
  progressOf,
  writesOn,
  type Writer,
} from './writers.ts'

const program = join(import.meta.dirname, '../crash/serve.ts')

describe('split brain: a host that is cut off, and whose guest writes on', { skip: skipHosts }, () => {
  let rig: HostRig
  let writer: Writer

  before(async () => {
    rig = await openHostRig({ hosts: 2, program })
    const image = await registerQuietProbe(rig.plane, 'probe-with-data', undefined, randomBytes(2 ** 20))
    const disks = { volumes: 2, image, rootDisk: true }
    writer = await bootWriter(rig, { name: 'writer', host: 'compute-1', ...disks })
  })
  after(() => rig?.close())

  test('after the fence not one write of the old guest arrives, what it was promised before is there, and it is ended', async (t) => {
    const { plane } = rig
    const gate = openGate(plane.stateDir)
    const [lost] = rig.hosts
    assert.ok(lost)
    const evacuate = () => act(plane, writer, { evacuate: {} })
    await assert.rejects(evacuate(), (error: unknown) => error instanceof ApiError && error.status === 400)

    lost.cut('control')
    // The control plane answers meanwhile.
    await until('it is away', 30_000, async () => !(await lost.isUp()))
    await writesOn(rig, writer)
    await forceDown(plane, lost.name, true)
    gate.arm('evacuate.fenced')
    await evacuate()
    const operation = await operationOn(plane, writer.serverId, 'server.evacuate')
    await until('the host is fenced', 60_000, async () => gate.isReached())

    // From here on the old guest runs, and what it writes must not arrive.
    assert.ok(await isRunning(lost.stateDir), 'the old guest lives')
    const sessions = writer.volumeIds.map((id) => progressOf(rig, writer, id)?.id ?? '')
    const images = await Promise.all(
      writer.volumeIds.map(async (id) => String((await plane.client.ndo.placement(id)).path)),
    )
    const looks = () => Promise.all(images.map((path, i) => writesOfSession(path, sessions[i] as string)))
    const atFence = await looks()
    for (const found of atFence) assert.ok(found.size > 100, 'the old guest had written')
    await sleep(2000)
    const assertNoneArrived = async (when: string): Promise<void> => {
      for (const [i, now] of (await looks()).entries()) {
        assert.deepEqual(arrivedSince(atFence[i] ?? new Map(), now).slice(0, 5), [], when)
      }
    }
    await assertNoneArrived('before the new guest starts')
    gate.release()

    const { state, error } = await operation.end()
    assert.equal(state, 'succeeded', error?.reason ?? '')
    assert.equal(await hostOf(plane, writer), 'compute-2')
    writer.boots++
    assert.ok(await isRunning(lost.stateDir), 'the old guest lives on, cut off')
    await writesOn(rig, writer)
    await assertNoneArrived('while both guests run')
    await assertNothingLost(rig, writer)

    lost.heal('control')
    await until('the old guest is ended', 60_000, async () => !(await isRunning(lost.stateDir)))
    await assertNoneArrived('after the end of the old guest')
    await forceDown(plane, lost.name, false)
    await writesOn(rig, writer)
    const reports = await assertNothingLost(rig, writer)
    await assertRunsOnlyAt(rig, writer, 'compute-2')
    await assertSweptClean(rig)
    t.diagnostic(`${reports.map((report) => report.acknowledgedWrites).join(' and ')} writes, none lost`)
  })
})

const isRunning = async (folder: string): Promise<boolean> =>
  (await processesOf(folder)).some(({ kind }) => kind === 'guest')
