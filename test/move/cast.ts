/** The volumes and snapshots of a proof, and what is known of each: what its image must hold. */
import { statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseConsole } from '../../probe/console.ts'
import { verifyImage } from '../../probe/verify.ts'
import { until } from '../migration/plane.ts'
import { digestOf } from './digest.ts'
import { consoleOf, flexvolName, rowsOf, type Guest, type Place } from './place.ts'
import type { Users } from './users.ts'

export interface Snapshot {
  id: string
  volume: Volume
  digest: string
}

export interface Volume {
  id: string
  name: string
  /** GiB. */
  size: number
  /** Attached there; null: to none. */
  guest: Guest | null
  /** What it must hold while nobody uses it. */
  digest: string
  /** Guests wrote to it, and to those that it was made from: by the first 20 characters of their ids. */
  written: boolean
  inherited: string[]
  /** Its content went back in time: the consoles tell of more than it holds, and no guest writes to it again. */
  reverted: boolean
  snapshots: Snapshot[]
}

export const newVolume = (id: string, name: string, size: number): Volume => ({
  id,
  name,
  size,
  guest: null,
  digest: '',
  written: false,
  inherited: [],
  reverted: false,
  snapshots: [],
})

export const serialOf = ({ id }: Volume): string => id.slice(0, 20)

/** Where the image lies that the record names. */
export function imagePath(place: Place, kind: 'volume' | 'snapshot', id: string): string {
  const [row] =
    kind === 'volume'
      ? rowsOf(
          place.plane.stateDir,
          'select c.image_id, c.aggregate from copies c join volumes v on v.image_id = c.image_id where v.id = ?',
          id,
        )
      : rowsOf(
          place.plane.stateDir,
          'select c.image_id, c.aggregate from copies c join snapshots s on s.image_id = c.image_id where s.id = ?',
          id,
        )
  if (row === undefined) throw new Error(`no image is on record of ${kind} ${id}`)
  return join(place.folderOf(String(row['aggregate'])), flexvolName, String(row['image_id']))
}

/** Of a volume or snapshot at rest. It may move meanwhile: then where it went is read. */
export async function digestNow(place: Place, kind: 'volume' | 'snapshot', id: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const path = imagePath(place, kind, id)
    try {
      const digest = await digestOf(path)
      // One that is retired while it is read is not what was asked for.
      if (imagePath(place, kind, id) === path) return digest
    } catch (error) {
      if (attempt === 5 || statSync(path, { throwIfNoEntry: false }) !== undefined) throw error
    }
    if (attempt === 20) throw new Error(`${kind} ${id} never lies still`)
  }
}

/** Writes to the volume that its guest's probe was told are done, in all its sessions there. */
async function acknowledgedOf(volume: Volume): Promise<number> {
  const { guest } = volume
  if (guest === null || guest.consoleLog === '') return 0
  const bySession = new Map<string, number>()
  for (const line of parseConsole(await readFile(guest.consoleLog, 'utf8'), serialOf(volume))) {
    if (line.kind === 'progress') bySession.set(line.id, line.acked)
  }
  return [...bySession.values()].reduce((sum, acked) => sum + acked, 0)
}

export async function attachAndWrite(
  place: Place,
  users: Users,
  volume: Volume,
  guest: Guest,
): Promise<void> {
  await users.attach(guest.serverId, volume.id)
  volume.guest = guest
  volume.written = true
  if (guest.consoleLog === '') {
    const { console_log_path } = await place.plane.client.ndo.placement(volume.id)
    guest.consoleLog = String(console_log_path)
  }
  await writes(volume, 100)
}

/** The probe has been told of so many writes more. */
export async function writes(volume: Volume, count: number): Promise<void> {
  const before = await acknowledgedOf(volume)
  await until(`the probe writes to ${volume.name}`, 90_000, async () => {
    return (await acknowledgedOf(volume)) > before + count
  })
}

export async function detach(place: Place, users: Users, volume: Volume): Promise<void> {
  const { guest } = volume
  if (guest === null) throw new Error(`${volume.name} is attached to no guest`)
  await users.detach(guest.serverId, volume.id)
  volume.guest = null
  volume.digest = await digestNow(place, 'volume', volume.id)
}

/**
 * Takes a snapshot. That of a volume in use must hold what its guest was told was done when it was asked for, and be a
 * state that the volume was in.
 */
export async function takeSnapshot(place: Place, users: Users, volume: Volume): Promise<Snapshot> {
  const { guest } = volume
  const log = guest === null ? '' : await consoleOf(place.guests)
  const id = await users.snapshot(volume.id, `${volume.name}-${volume.snapshots.length}`)
  const digest = await digestNow(place, 'snapshot', id)
  const snapshot = { id, volume, digest }
  if (guest === null) {
    if (digest !== volume.digest) throw new Error(`snapshot ${id} does not hold what ${volume.name} holds`)
  } else {
    const report = await verifyImage({
      imagePath: imagePath(place, 'snapshot', id),
      consoleLog: log,
      serial: serialOf(volume),
      inheritedSerials: volume.inherited,
    })
    if (!report.ok) throw new Error(`snapshot ${id} of ${volume.name}: ${report.problems.join('; ')}`)
  }
  volume.snapshots.push(snapshot)
  return snapshot
}

/** What is not right with a volume and its snapshots; the acknowledged writes that were looked for. */
export async function check(
  place: Place,
  volume: Volume,
): Promise<{ problems: string[]; acknowledged: number }> {
  const problems: string[] = []
  let acknowledged = 0
  for (const { id, digest } of volume.snapshots) {
    if ((await digestNow(place, 'snapshot', id)) !== digest) {
      problems.push(`snapshot ${id} of ${volume.name} has changed`)
    }
  }
  if (volume.guest === null && volume.digest !== '') {
    if ((await digestNow(place, 'volume', volume.id)) !== volume.digest) {
      problems.push(`${volume.name}, which nobody uses, has changed`)
    }
  }
  if (volume.written && !volume.reverted) {
    if (volume.guest !== null) await writes(volume, 20)
    const consoleLog = await consoleOf(place.guests)
    const report = await verifyImage({
      imagePath: imagePath(place, 'volume', volume.id),
      consoleLog,
      serial: serialOf(volume),
      live: volume.guest !== null,
      inheritedSerials: volume.inherited,
    })
    acknowledged = report.acknowledgedWrites
    if (!report.ok) problems.push(`${volume.name}: ${report.problems.join('; ')}`)
    if (acknowledged === 0) problems.push(`${volume.name}: nothing was written, so nothing is proved`)
  }
  return { problems, acknowledged }
}

/** The longest request that a probe saw, and whether one saw an error, from the consoles. */
export async function guestsSaw(place: Place): Promise<{ longestMs: number; errors: number }> {
  let longestMs = 0
  let errors = 0
  for (const line of parseConsole(await consoleOf(place.guests))) {
    if (line.kind !== 'progress') continue
    longestMs = Math.max(longestMs, line.maxms)
    errors = Math.max(errors, line.errors, line.bad)
  }
  return { longestMs, errors }
}
