import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { DatabaseSync } from 'node:sqlite'
import { verifyImage } from '../../probe/verify.ts'
import { digestOf } from '../move/digest.ts'
import { usersOf, type Users } from '../move/users.ts'
import {
  acknowledged,
  assertNothingLost,
  bootProbe,
  openPlane,
  until,
  type Job,
  type Plane,
} from './plane.ts'

const flexvol = 'snapped'

/** One pool on one aggregate, a file with XFS or a folder of the state folder's own file system. */
const configOf =
  (filesystem: 'xfs' | 'folder') =>
  (stateDir: string): string =>
    `
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        data_address: 127.0.0.1
        aggregates: [{ name: aggr1, path: ${join(stateDir, 'aggr1')}, size: 8GiB, filesystem: ${filesystem} }]
    flexvols: [{ name: ${flexvol}, lif: 127.0.0.1, node: lma-01, aggregate: aggr1 }]
compute_hosts: [{ name: compute-1 }]
`

/** The path of the image that the record names. */
function imageOf(plane: Plane, table: 'volumes' | 'snapshots', id: string): string {
  const db = new DatabaseSync(join(plane.stateDir, 'volant.db'), { readOnly: true })
  try {
    const row = db.prepare(`select image_id from ${table} where id = ?`).get(id)
    assert.ok(row, `${table} has ${id}`)
    return join(plane.stateDir, 'aggr1', flexvol, String(row['image_id']))
  } finally {
    db.close()
  }
}

/** The whole story of a snapshot, on an aggregate of this kind. */
export function snapshotStory(filesystem: 'xfs' | 'folder'): void {
  describe(`snapshots of a volume whose guest writes, on an aggregate of kind ${filesystem}`, () => {
    let plane: Plane
    let job: Job
    let users: Users
    before(async () => {
      plane = await openPlane(configOf(filesystem))
      users = usersOf(plane)
      job = await bootProbe(plane)
    })
    after(() => plane.close())

    test('it holds one instant and never changes; a volume of it and a revert to it hold that again', async () => {
      const { serverId, volumeId } = job
      const serial = volumeId.slice(0, 20)
      const { console_log_path: consoleLog } = await plane.client.ndo.placement(volumeId)
      assert.ok(consoleLog !== null)
      const told = await readFile(consoleLog, 'utf8')
      const snapshotId = await users.snapshot(volumeId, 'instant')
      const session = plane.client.session
      const path = `/volume/v3/${await session.projectId()}/snapshots/${snapshotId}`
      const headers = { 'openstack-api-version': 'volume 3.70' }
      const { snapshot } = (await session.json('GET', path, { headers })) as {
        snapshot: Record<string, unknown>
      }
      assert.equal(snapshot['volant:method'], filesystem === 'xfs' ? 'clone' : 'copy')
      const image = imageOf(plane, 'snapshots', snapshotId)
      const digest = await digestOf(image)
      // All that the guest was told was done before, and nothing torn or out of its place.
      const report = await verifyImage({ imagePath: image, consoleLog: told, serial })
      assert.deepEqual(report.problems, [])
      assert.ok(report.ok && report.acknowledgedWrites > 0)

      const before = await acknowledged(plane, job)
      await until('the guest writes on', 90_000, async () => (await acknowledged(plane, job)) > before + 200)
      assert.equal((await stat(image)).mode & 0o222, 0, 'nobody may write to it')
      await assertNothingLost(plane, job)

      const made = await users.create({ name: 'from', size: 2, snapshot_id: snapshotId })
      assert.equal(await digestOf(imageOf(plane, 'volumes', made)), digest)
      assert.equal((await stat(imageOf(plane, 'volumes', made))).size, 2 * 1024 ** 3)
      await users.attach(serverId, made)
      const second: Job = { serverId, volumeId: made }
      await until('the guest writes to it', 90_000, async () => (await acknowledged(plane, second)) > 100)

      await users.detach(serverId, volumeId)
      const former = imageOf(plane, 'volumes', volumeId)
      await users.revert(volumeId, snapshotId)
      assert.equal(await digestOf(imageOf(plane, 'volumes', volumeId)), digest)
      assert.equal(await digestOf(image), digest, 'nor what is written to a volume of it')
      await until('the former image is removed', 60_000, async () => !existsSync(former))
      await users.attach(serverId, volumeId)
      await until('the guest writes to it again', 90_000, async () => (await acknowledged(plane, job)) > 100)
      const live = await verifyImage({
        imagePath: imageOf(plane, 'volumes', made),
        consoleLog: await readFile(consoleLog, 'utf8'),
        serial: made.slice(0, 20),
        inheritedSerials: [serial],
        live: true,
      })
      assert.deepEqual(live.problems, [])
      assert.ok(live.ok && live.acknowledgedWrites > 0)
    })
  })
}
