import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { defaultConfig } from '@volant/control/config/config.ts'
import { configDocument } from '@volant/control/config/document.ts'
import type { PaceView } from '@volant/control/domain/pace-view.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { assertNothingLost, bootProbe, ended, openPlane, startMigration, until, type Plane } from './plane.ts'

const mib = 1024 * 1024
const floorBps = mib
/** Nor is one that nothing slows but this over before its end. */
const boundBps = 3 * mib

/** A floor so low that a copy at it lasts longer than this test. */
function settings(stateDir: string): string {
  const config = defaultConfig({ stateDir, hostname: 'governor' })
  Object.assign(config.settings.copy, { floorBps })
  return configDocument(config)
}

/** What a mirror has to copy: an empty volume is over in a moment. Behind all that the probe writes to. */
async function fill(plane: Plane, volumeId: string): Promise<void> {
  const { path } = await plane.client.ndo.placement(volumeId)
  assert.ok(path)
  const file = await open(path, 'r+')
  try {
    const data = Buffer.alloc(mib, 0xa5)
    for (let at = 512; at < 896; at += 1) await file.write(data, 0, mib, at * mib)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Progress is written down now and then only. */
async function seriesOnDisk(plane: Plane, operationId: string): Promise<PaceView['series']> {
  const db = new DatabaseSync(join(plane.stateDir, 'volant.db'), { readOnly: true })
  try {
    const row = db.prepare('select progress from operations where id = ?')
    let series: PaceView['series'] | undefined
    await until('the pace so far is on disk', 30_000, async () => {
      const { progress } = row.get(operationId) as { progress: string | null }
      series = (JSON.parse(progress ?? 'null') as { pace?: PaceView } | null)?.pace?.series
      return series !== undefined
    })
    assert.ok(series)
    return series
  } finally {
    db.close()
  }
}

test('a copy gives way to its guest, and goes on when the guest rests, its bound is eased, or the control plane dies', async (t) => {
  const plane = await openPlane(settings)
  t.after(() => plane.close())
  const job = await bootProbe(plane, 'volant-probe', {
    commandLine: 'probe.iops=200 probe.span=16M',
    beforeAttach: (volumeId) => fill(plane, volumeId),
  })
  const act = (body: object): Promise<unknown> =>
    plane.client.session.json('POST', `/compute/v2.1/servers/${job.serverId}/action`, { body })
  // No guest waits for less: whatever the machine does meanwhile, its client is over its bound.
  const { id } = await startMigration(plane, job, { pace: '0.1ms' })
  let seen: Operation | undefined
  const paceIs = (what: string, check: (pace: NonNullable<Operation['progress']['pace']>) => boolean) =>
    until(`${what}; it is ${JSON.stringify(seen?.progress)}`, 60_000, async () => {
      seen = await plane.client.ndo.operation(id)
      const { pace } = seen.progress
      return pace !== null && check(pace)
    })
  const isAtFloor = (pace: NonNullable<Operation['progress']['pace']>): boolean =>
    pace.limited_by === 'latency' && pace.limit_bytes_per_second === floorBps
  await paceIs('the copy is at its floor', isAtFloor)
  assert.match(seen?.progress.pace?.reason ?? '', /the p99 of its client is .* ms, its bound 0\.1 ms/)
  assert.equal(seen?.controls.pace, '0.1ms')

  // Without this bound it would be over before its guest works again.
  await plane.client.ndo.setRate(id, boundBps)
  await act({ pause: null })
  await paceIs(
    'beside a guest at rest nothing but its rate limits it',
    ({ limited_by, limit_bytes_per_second: limit }) => limited_by === 'rate' && limit === boundBps,
  )
  await act({ unpause: null })
  await paceIs('a guest that works again has it back at its floor', isAtFloor)

  await plane.client.ndo.setPace(id, { pace: '60000ms', priority: 'low' })
  await paceIs('with more room it is faster', ({ limit_bytes_per_second: limit }) => {
    return limit !== null && limit > floorBps * 1.5
  })
  await plane.client.ndo.setPace(id, { pace: '0.1ms' })
  await paceIs('with less it gives way at once', isAtFloor)

  const { startedAt } = await seriesOnDisk(plane, id)
  await plane.kill()
  await plane.start()
  await paceIs('the wish outlives the control plane', isAtFloor)
  assert.equal((await plane.client.ndo.operation(id)).controls.priority, 'low')

  await plane.client.ndo.setPace(id, { pace: 'full' })
  await plane.client.ndo.setRate(id, 0)
  const operation = await ended(plane, id)
  assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
  const { progress } = (await plane.client.ndo.history(id)) as { progress: { pace: PaceView } }
  const { points } = progress.pace.series
  assert.equal(progress.pace.series.startedAt, startedAt, 'the record outlives the control plane')
  assert.ok(points.length > 2 && points.length <= 120, `${points.length} points`)
  assert.ok(
    points.some(([, limit]) => limit === floorBps),
    'the record has what it did',
  )
  await assertNothingLost(plane, job)
})
