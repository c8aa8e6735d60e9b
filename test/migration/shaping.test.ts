import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  acknowledged,
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
  type Plane,
} from './plane.ts'

interface Image {
  id: string
  name: string
  os_command_line: string
}

/** From the next boot on the probe writes as fast as it can, all over a small part of its disk. */
async function unleashProbe(plane: Plane): Promise<void> {
  const { session } = plane.client
  const { images } = (await session.json('GET', '/image/v2/images?name=volant-probe')) as { images: Image[] }
  const [image] = images
  assert.ok(image)
  await session.json('PATCH', `/image/v2/images/${image.id}`, {
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
    body: [
      {
        op: 'replace',
        path: '/os_command_line',
        value: `${image.os_command_line} probe.iops=0 probe.span=16M`,
      },
    ],
  })
}

test('a guest that outruns the copy is shaped until the copy converges, and then let go', async (t) => {
  const plane = await openPlane()
  t.after(() => plane.close())
  await unleashProbe(plane)
  const job = await bootProbe(plane)
  // Far below what the guest writes, however fast this machine is today.
  const first = await acknowledged(plane, job)
  await sleep(3000)
  const written = ((await acknowledged(plane, job)) - first) * 4096
  const { id } = await startMigration(plane, job, { rate: Math.max(500_000, Math.floor(written / 3 / 4)) })
  await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
  const operation = await ended(plane, id)
  assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
  assert.notEqual(operation.progress.client_limit_bytes_per_second, null, 'the guest was shaped')
  await assertNothingLost(plane, job)
})
