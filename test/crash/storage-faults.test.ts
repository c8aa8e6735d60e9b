import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import {
  acknowledged,
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
  type Job,
  type Plane,
} from '../migration/plane.ts'
import { killNow, processesOf } from './processes.ts'
import { openSmallDisk, type SmallDisk } from './small-disk.ts'
import { oneMachine, truthOf } from './world.ts'

describe('storage that is full, or goes away, under a guest that writes', () => {
  let source: SmallDisk
  let target: SmallDisk
  let plane: Plane
  let job: Job

  before(async () => {
    source = openSmallDisk(512)
    target = openSmallDisk(512)
    for (const disk of [source, target]) await mkdir(join(disk.path, 'aggr1'))
    plane = await openPlane(() => oneMachine(join(source.path, 'aggr1'), join(target.path, 'aggr1')))
    job = await bootProbe(plane)
  })
  after(async () => {
    await plane?.close()
    for (const disk of [source, target]) disk?.close()
  })

  const server = () => plane.client.compute.show(job.serverId)
  const volume = () => plane.client.volume.show(job.volumeId)
  const powerIs = (state: number) => async () => (await server())['OS-EXT-STS:power_state'] === state

  /** What the Compute API shows of a guest that its storage paused. */
  async function assertShownAsPaused(reason: RegExp): Promise<void> {
    await until('the guest is shown as paused', 120_000, powerIs(3))
    const shown = await server()
    assert.equal(shown.status, 'ACTIVE', 'nobody asked for the pause: the server is not PAUSED')
    assert.match((shown['fault'] as { message: string }).message, reason)
  }

  async function assertGoesOn(): Promise<void> {
    await until('the guest is shown as running', 60_000, powerIs(1))
    assert.equal((await server())['fault'], undefined)
    await assertNothingLost(plane, job)
  }

  test('a pool that is full pauses the server, which is shown so, and goes on when there is room', async () => {
    source.fill()
    try {
      await assertShownAsPaused(/paused by a storage fault and goes on when the storage is back/)
      const at = await acknowledged(plane, job)
      source.free()
      await until('the probe writes on', 60_000, async () => (await acknowledged(plane, job)) > at)
    } finally {
      source.free()
    }
    await assertGoesOn()
  })

  test('an aggregate that is away for longer than anybody waits pauses the server, which goes on when it is back', async () => {
    const aggregate = join(source.path, 'aggr1')
    await rename(aggregate, `${aggregate}-away`)
    try {
      const heads = (await processesOf(plane.stateDir)).filter(({ kind }) => kind === 'holder')
      assert.equal(heads.length, 1)
      await killNow(heads.map(({ pid }) => pid))
      await assertShownAsPaused(/paused by a storage fault and goes on when the storage is back/)
    } finally {
      // Volant must not have made an empty one in its place: the volume would be gone for good.
      assert.ok(!existsSync(aggregate), 'nobody made the folder of the missing aggregate anew')
      await rename(`${aggregate}-away`, aggregate)
    }
    await assertGoesOn()
  })

  /** A migration whose target has no room left once it has begun to copy. */
  async function fullTarget(): Promise<string> {
    const { id } = await startMigration(plane, job, { rate: 256 << 10 })
    await until('it copies', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
    target.fill()
    await plane.client.ndo.setRate(id, 0)
    await until('the full target is on record', 60_000, async () => {
      const { attempts } = await plane.client.ndo.operation(id)
      return attempts.some(({ reason }) => /no space left/i.test(reason))
    })
    return id
  }

  test('a target that is full for good ends the migration, the source as it was', async () => {
    const truth = truthOf(plane.stateDir, job.volumeId).imageId
    const id = await fullTarget()
    try {
      const operation = await ended(plane, id)
      assert.equal(operation.state, 'failed')
      assert.match(operation.error?.reason ?? '', /no space left/)
      assert.deepEqual(truthOf(plane.stateDir, job.volumeId), {
        imageId: truth,
        copies: [{ imageId: truth, state: 'live' }],
      })
      const shown = await volume()
      assert.equal(shown.status, 'in-use')
      assert.equal(shown['os-vol-mig-status-attr:migstat'], 'error')
      const files = await readdir(join(target.path, 'aggr1'), { recursive: true })
      assert.deepEqual(
        files.filter((name) => /[0-9a-f]{8}-/.test(name)),
        [],
        'nothing is left of the target',
      )
      assert.ok(await powerIs(1)(), 'the guest noticed nothing')
    } finally {
      target.free()
    }
    await assertNothingLost(plane, job)
  })

  test('a target that is full for a while delays the migration, and no more', async () => {
    const id = await fullTarget()
    target.free()
    const operation = await ended(plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await assertNothingLost(plane, job)
  })
})
