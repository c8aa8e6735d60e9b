/** A whole Volant with one FlexVol and two aggregates that it moves between, as in the proof of the move. */
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { openDatabase } from '@volant/control/db/open.ts'
import { stopControlPlane } from '@volant/cli/instance/stop.ts'
import { imagePath } from '../../test/move/cast.ts'
import { endOf, ndoMover, type Moved } from '../../test/move/mover.ts'
import { flexvolName, openPlace, rowsOf, usedBytes, type Place } from '../../test/move/place.ts'
import { usersOf, type Users } from '../../test/move/users.ts'
import { attachmentRow } from './volume-rows.ts'
import type { LoadOrder } from './load.ts'

const run = promisify(execFile)

export interface FlexVolPlane {
  place: Place
  users: Users
  /** Where the FlexVol's images are now. */
  folder(): string
  used(): number
  /** To the other aggregate, and waits until only the truth is left; `ms` until the operation had ended. */
  move(): Promise<{ ms: number; moved: Moved }>
  imageOf(volumeId: string): string
  /** Gives each volume a head, and no guest; where its clients connect. Restarts the control plane. */
  openHeads(volumeIds: readonly string[]): Promise<Omit<LoadOrder, 'writesPerSecond'>[]>
  close(): Promise<void>
}

export async function openFlexVolPlane(aggregateBytes: number): Promise<FlexVolPlane> {
  // Clients that speak NBD with their heads can't be asked by the governor, which then keeps to a fixed rate.
  const config = 'copy: { pace: full }\n'
  const place = await openPlace({ guests: 0, aggregateBytes, config, say: () => {} })
  const { plane, flexvolId } = place
  const mover = ndoMover(place)
  const aggregate = (): string =>
    String(rowsOf(plane.stateDir, 'select aggregate from flexvols where id = ?', flexvolId)[0]?.['aggregate'])
  return {
    place,
    users: usersOf(plane),
    folder: () => join(place.folderOf(aggregate()), flexvolName),
    used: () => usedBytes(place.folderOf(aggregate())),
    imageOf: (volumeId) => imagePath(place, 'volume', volumeId),
    async move() {
      const to = aggregate() === 'aggr1' ? 'aggr2' : 'aggr1'
      const begun = performance.now()
      await mover.start(to)
      const moved = await endOf(mover)
      const ms = performance.now() - begun
      if (moved.state !== 'success') throw new Error(`The move ended as ${moved.state}: ${moved.reason}`)
      await onlyTruths(plane.stateDir)
      return { ms, moved }
    },
    async openHeads(volumeIds) {
      await stopControlPlane(plane.stateDir)
      const attachments = await insertAttachments(plane.stateDir, volumeIds)
      await plane.start()
      return Promise.all(attachments.map((id) => addressOf(plane.stateDir, id)))
    },
    async close() {
      const problems = await place.close()
      if (problems.length > 0) throw new Error(problems.join('; '))
    },
  }
}

/** The images that were moved are kept for a second. */
async function onlyTruths(stateDir: string): Promise<void> {
  for (const end = performance.now() + 60_000; ; await sleep(100)) {
    const left = rowsOf(stateDir, "select image_id from copies where state <> 'live'")
    if (left.length === 0) return
    if (performance.now() > end) throw new Error(`${left.length} former images are still kept.`)
  }
}

/** As the compute service records them; the next control plane starts their heads. */
async function insertAttachments(stateDir: string, volumeIds: readonly string[]): Promise<string[]> {
  const db = await openDatabase(join(stateDir, 'volant.db'))
  try {
    const volumes = await db
      .selectFrom('volumes')
      .selectAll()
      .where('id', 'in', [...volumeIds])
      .execute()
    const rows = volumes.map((volume) => ({ ...attachmentRow(volume), host: 'compute-1' }))
    await db.insertInto('attachments').values(rows).execute()
    await db
      .updateTable('volumes')
      .set({ status: 'in-use' })
      .where('id', 'in', [...volumeIds])
      .execute()
    return rows.map(({ head_id }) => head_id)
  } finally {
    await db.destroy()
  }
}

async function addressOf(
  stateDir: string,
  holderId: string,
): Promise<{ socketPath: string; exportName: string }> {
  const machines = join(stateDir, 'machines')
  for (const end = performance.now() + 120_000; ; await sleep(200)) {
    for (const machine of await readdir(machines)) {
      const text = await readFile(join(machines, machine, 'holders', `${holderId}.json`), 'utf8').catch(
        () => '',
      )
      if (text === '') continue
      const { exportName, daemon } = JSON.parse(text) as { exportName: string; daemon: { process?: unknown } }
      const sockets = (await readdir(join(stateDir, 'run'), { recursive: true })).map(String)
      const socket = sockets.find((path) => path.endsWith(`${holderId}.n`))
      if (daemon.process !== undefined && socket !== undefined) {
        return { socketPath: join(stateDir, 'run', socket), exportName }
      }
    }
    if (performance.now() > end) throw new Error(`The head of ${holderId} does not run.`)
  }
}

/** Nothing of what was read or written before is in memory any more. */
export async function dropCaches(): Promise<void> {
  await run('sync')
  await run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']).catch(() => {
    throw new Error('the page cache cannot be emptied; run the bench as root.')
  })
}

/** Milliseconds of `cp --sparse=always` of a whole folder, until it is on disk. */
export async function copyFolder(from: string, to: string): Promise<number> {
  const begun = performance.now()
  await run('cp', ['-r', '--sparse=always', '--reflink=never', from, to], { timeout: 600_000 })
  await run('sync', ['-f', to], { timeout: 600_000 })
  return performance.now() - begun
}
