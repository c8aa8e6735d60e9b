import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { verifyImage } from '../../probe/verify.ts'
import { rowsOf } from '../move/place.ts'
import { acknowledged, adminToken, ended, openPlane, poolOf, until, type Plane } from './plane.ts'

const mib = 2 ** 20
/** The probe writes to the first 24 MiB, without block 0; what the image has there and behind stays as it was. */
const image = Buffer.alloc(32 * mib)
const kept = [
  { at: 0, length: 4096 },
  { at: 28 * mib, length: 4 * mib },
]
for (const { at, length } of kept) randomBytes(length).copy(image, at)

describe('a server that boots from an image with data', () => {
  let plane: Plane
  before(async () => {
    plane = await openPlane()
  })
  after(() => plane?.close())

  const nova = (method: string, path: string, body?: object): Promise<unknown> =>
    plane.client.session.json(method, `/compute/v2.1${path}`, {
      headers: { 'openstack-api-version': 'compute 2.92' },
      ...(body !== undefined && { body }),
    })

  /** A probe whose image has data: kernel and ramdisk beside it, so that it is a disk of the guest's and no more. */
  async function registerImage(): Promise<string> {
    const { session } = plane.client
    const { kernel_id, ramdisk_id, os_command_line } = await plane.client.image.named('volant-probe')
    const body = {
      name: 'probe-with-data',
      disk_format: 'raw',
      container_format: 'bare',
      kernel_id,
      ramdisk_id,
      os_command_line: `${String(os_command_line)} probe.iops=150 probe.span=24M`,
    }
    const { id } = (await session.json('POST', '/image/v2/images', { body })) as { id: string }
    const answer = await fetch(`${session.url}/image/v2/images/${id}/file`, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream', 'x-auth-token': await adminToken(plane) },
      body: image,
    })
    assert.ok(answer.ok, await answer.text())
    return body.name
  }

  test('goes to the other host while it writes to its root disk, which then goes to the other cluster; nothing of it is lost', async (t) => {
    const { client } = plane
    const made = await client.compute.create({
      name: 'ubuntu',
      flavor: 'm1.tiny',
      image: await registerImage(),
    })
    const show = () => client.compute.show(made.id)
    await until('it is active', 120_000, async () => {
      const { status, fault } = await show()
      assert.notEqual(status, 'ERROR', JSON.stringify(fault))
      return status === 'ACTIVE'
    })
    const [row] = rowsOf(plane.stateDir, 'select id from volumes where root_of = ?', made.id)
    const job = { serverId: made.id, volumeId: String(row?.['id']) }
    const writes = async (more: number) => {
      await until('it writes to its root disk', 90_000, async () => (await acknowledged(plane, job)) > more)
      return acknowledged(plane, job)
    }
    await writes(400)
    const first = await show()
    const source = String(first['OS-EXT-SRV-ATTR:host'])
    const destination = source === 'compute-1' ? 'compute-2' : 'compute-1'
    const told = await client.compute.consoleOutput(made.id)
    const action = { 'os-migrateLive': { host: destination, block_migration: 'auto' } }
    await nova('POST', `/servers/${made.id}/action`, action)
    await until(`it is at ${destination}`, 120_000, async () => {
      const { status, 'OS-EXT-SRV-ATTR:host': host, 'OS-EXT-STS:task_state': task } = await show()
      return status === 'ACTIVE' && task === null && host === destination
    })
    await writes(acknowledgedBy(told, job.volumeId, 400))
    const before = await client.ndo.placement(job.volumeId)
    const other = before.cluster === 'cinder-lma' ? 'cinder-lmb' : 'cinder-lma'
    const host = await poolOf(plane, other)
    const operation = await ended(plane, (await client.ndo.migrate({ server: made.id, host })).id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await writes((await acknowledged(plane, job)) + 100)
    const placement = await client.ndo.placement(job.volumeId)
    assert.deepEqual([placement.server_id, placement.cluster], [made.id, other])
    const consoleLog = told + (await client.compute.consoleOutput(made.id))
    const imagePath = placement.path as string
    const report = await verifyImage({ imagePath, consoleLog, serial: placement.serial, live: true })
    // More than one: the guest's kernel died and booted again, which is none of the disk's doing, and is not hidden.
    t.diagnostic(`sessions of the probe: ${report.sessions}`)
    assert.equal(report.ok, true, `${JSON.stringify(report)} of\n${consoleLog}`)
    assert.ok(report.acknowledgedWrites > 400)
    assert.equal(report.errorsSeenByGuest, 0)
    const file = await open(imagePath)
    try {
      assert.equal((await file.stat()).size, 1024 * mib, 'as large as the disk of its flavor')
      for (const { at, length } of kept) {
        const { buffer } = await file.read(Buffer.alloc(length), 0, length, at)
        assert.ok(buffer.equals(image.subarray(at, at + length)), `the image's data at ${at}`)
      }
    } finally {
      await file.close()
    }
    await client.compute.remove(made.id)
    await until('nothing is left of its root disk', 60_000, async () => {
      return rowsOf(plane.stateDir, 'select image_id from copies').length === 0
    })
  })
})

/** What the console told of, and some more. */
function acknowledgedBy(console: string, volumeId: string, more: number): number {
  const serial = volumeId.slice(0, 20)
  const acks = [...console.matchAll(new RegExp(`serial=${serial} acked=(\\d+)`, 'g'))].map((m) =>
    Number(m[1]),
  )
  return (acks.at(-1) ?? 0) + more
}
