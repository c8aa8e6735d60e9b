import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { defaultConfig } from '@volant/control/config/config.ts'
import { configDocument } from '@volant/control/config/document.ts'
import {
  acknowledged,
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
} from './plane.ts'

/** A floor below what any machine's copy is slowed to here, and cutovers that are given up soon. */
function settings(stateDir: string): string {
  const config = defaultConfig({ stateDir, hostname: 'shaping' })
  const { migration } = config.settings
  Object.assign(migration, {
    clientFloorBytesPerSecond: 64 * 1024,
    cutoverWindowSeconds: 3,
    cutoverAttempts: 10,
  })
  return configDocument(config)
}

test('a guest that outruns the copy is shaped until the copy converges, and then let go', async (t) => {
  const plane = await openPlane(settings)
  t.after(() => plane.close())
  // The probe writes as fast as it can, all over a small part of its disk.
  const job = await bootProbe(plane, 'volant-probe', { commandLine: 'probe.iops=0 probe.span=16M' })
  // Far below what the guest writes, however fast this machine is today.
  const first = await acknowledged(plane, job)
  await sleep(3000)
  const written = ((await acknowledged(plane, job)) - first) * 4096
  const { id } = await startMigration(plane, job, { rate: Math.max(512 * 1024, Math.floor(written / 3 / 4)) })
  await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
  const operation = await ended(plane, id)
  assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
  assert.notEqual(operation.progress.client_limit_bytes_per_second, null, 'the guest was shaped')
  await assertNothingLost(plane, job)
})
