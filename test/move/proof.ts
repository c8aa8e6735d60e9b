/**
 * The proof of the move: a FlexVol full of volumes goes to and fro between two aggregates, while guests write and users
 * do what users do. Nothing may be lost, refused, late without end, or left over.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from '@volant/client'
import { messageOf } from '@volant/contract/errors.ts'
import { stopControlPlane } from '@volant/cli/instance/stop.ts'
import {
  attachAndWrite,
  check,
  detach,
  digestNow,
  guestsSaw,
  newVolume,
  takeSnapshot,
  type Volume,
} from './cast.ts'
import { live, randomOf, type Life } from './life.ts'
import { endOf, moverOf, type Mover } from './mover.ts'
import { aggregateNames, openPlace, rowsOf, usedBytes, type Guest, type Place } from './place.ts'
import type { Report } from './report.ts'
import { timedUsers, usersOf } from './users.ts'

/** Bytes per second, 0: unlimited. A slow move is one in which much happens. */
const rates = [0, 40 * 2 ** 20, 15 * 2 ** 20]

export interface ProofOptions {
  rounds: number
  volumes: number
  /** So many of the volumes are attached, each to a guest of its own. */
  guests: number
  /** So many of the volumes have snapshots. */
  snapshotted: number
  seed: number
  /** The aggregates and the guests are on three machines: each image is copied whole, over the network. */
  apart?: boolean
  say(text: string): void
}

export async function prove(options: ProofOptions): Promise<Report> {
  const { say } = options
  const { apart = false } = options
  const place = await openPlace({ guests: options.guests, apart, say })
  const report: Report = {
    seed: options.seed,
    moves: [],
    pauses: [],
    longestWriteMs: 0,
    isMoving: false,
    deeds: new Map(),
    acknowledgedWrites: 0,
    snapshotsChecked: 0,
    problems: [],
  }
  try {
    const users = timedUsers(usersOf(place.plane), (deed, ms) => {
      // What is made before the first move waits for nothing.
      if (report.isMoving) report.deeds.set(deed, [...(report.deeds.get(deed) ?? []), ms])
    })
    const life: Life = {
      place,
      users,
      cast: [],
      extras: [],
      random: randomOf(options.seed),
      problems: report.problems,
      say,
    }
    life.cast = await makeCast(life, options)
    const mover = moverOf(place)
    for (let round = 1; round <= options.rounds && report.problems.length === 0; round++) {
      await moveOnce(life, mover, report, round, say)
    }
    await atRest(life, mover, report, !apart, say)
  } catch (error) {
    report.problems.push(messageOf(error))
    say(`FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  } finally {
    if (report.problems.length > 0) process.env['VOLANT_TEST_KEEP'] ??= '1'
    try {
      report.problems.push(...(await place.close()))
    } catch (error) {
      report.problems.push(messageOf(error))
    }
  }
  return report
}

/** Volumes that guests wrote to; some still are written to, and some have snapshots, each of another instant. */
async function makeCast(life: Life, options: ProofOptions): Promise<Volume[]> {
  const { place, users, say } = life
  const cast: Volume[] = []
  for (let i = 0; i < options.volumes; i++) {
    const name = `volume-${i + 1}`
    const volume = newVolume(await users.create({ name, size: 1 }), name, 1)
    const guest = place.guests[i % place.guests.length] as Guest
    await attachAndWrite(place, users, volume, guest)
    // The first ones stay attached, and every other one of the first has snapshots.
    if (i % 2 === 0 && i / 2 < options.snapshotted) {
      await takeSnapshot(place, users, volume)
      await sleep(1000)
      await takeSnapshot(place, users, volume)
    }
    if (i >= options.guests) await detach(place, users, volume)
    cast.push(volume)
  }
  say(`${cast.length} volumes, ${options.guests} of them written to`)
  return cast
}

async function moveOnce(
  life: Life,
  mover: Mover,
  report: Report,
  round: number,
  say: (text: string) => void,
): Promise<void> {
  const { place } = life
  const from = aggregateNames[(round - 1) % 2] as string
  const to = aggregateNames[round % 2] as string
  const usedBefore = usedBytes(place.folderOf(from))
  const began = performance.now()
  let isOver = false
  const rate = rates[Math.floor(life.random() * rates.length)] ?? 0
  say(`move ${round}, to ${to}${rate === 0 ? '' : `, at ${rate / 2 ** 20} MiB/s`}`)
  // Something is always under way when it begins.
  report.isMoving = true
  const living = live(life, () => isOver)
  await sleep(500 * life.random())
  await mover.start(to)
  if (rate > 0) await setRate(place, rate)
  const moved = await endOf(mover).finally(() => (isOver = true))
  await living
  report.isMoving = false
  const seconds = (performance.now() - began) / 1000
  if (moved.state !== 'success') throw new Error(`move ${round} ended as ${moved.state}: ${moved.reason}`)
  report.pauses.push(...moved.images.flatMap(({ client_pause_ms }) => client_pause_ms ?? []))
  await whereAllIs(place, to)
  report.moves.push({
    round,
    to,
    seconds,
    images: moved.images.length,
    usedBefore,
    usedAfter: usedBytes(place.folderOf(to)),
  })
  await checkAll(life, report)
  say(`move ${round} took ${seconds.toFixed(1)} s, ${moved.images.length} images`)
}

/** For those of an operator: ONTAP's API has no such word. One that has ended already takes none. */
async function setRate({ plane, flexvolId }: Place, rate: number): Promise<void> {
  const [move] = rowsOf(
    plane.stateDir,
    "select id from flexvol_moves where flexvol_id = ? and state = 'running'",
    flexvolId,
  )
  if (move === undefined) return
  await plane.client.ndo.setRate(String(move['id']), rate).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.status !== 409) throw error
  })
}

/** When the kept sources are gone, all that is on record is at the destination. */
async function whereAllIs({ plane }: Place, aggregate: string): Promise<void> {
  let elsewhere: unknown[] = []
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(200)) {
    elsewhere = rowsOf(
      plane.stateDir,
      'select image_id, volume_id, snapshot_id, state, aggregate from copies where aggregate <> ?',
      aggregate,
    )
    if (elsewhere.length === 0) return
  }
  throw new Error(`these are not at ${aggregate}: ${JSON.stringify(elsewhere)}`)
}

async function checkAll(life: Life, report: Report): Promise<void> {
  let acknowledged = 0
  for (const volume of [...life.cast, ...life.extras]) {
    const found = await check(life.place, volume)
    report.problems.push(...found.problems)
    acknowledged += found.acknowledged
    report.snapshotsChecked += volume.snapshots.length
  }
  report.acknowledgedWrites = acknowledged
  const saw = await guestsSaw(life.place)
  report.longestWriteMs = saw.longestMs
  if (saw.errors > 0) report.problems.push(`a guest saw ${saw.errors} errors or wrong blocks`)
}

/** Nobody writes: what the images take at the destination is what they took at the source, but for its file system's own. */
async function moveAtRest(life: Life, mover: Mover, report: Report, staysShared: boolean): Promise<void> {
  const { place } = life
  const from = aggregateNames[report.moves.length % 2] as string
  const to = aggregateNames[(report.moves.length + 1) % 2] as string
  const usedBefore = usedBytes(place.folderOf(from))
  const began = performance.now()
  await mover.start(to)
  const moved = await endOf(mover)
  const seconds = (performance.now() - began) / 1000
  if (moved.state !== 'success') throw new Error(`the last move ended as ${moved.state}: ${moved.reason}`)
  await whereAllIs(place, to)
  const usedAfter = usedBytes(place.folderOf(to))
  const images = moved.images.length
  report.moves.push({ round: report.moves.length + 1, to, seconds, images, usedBefore, usedAfter })
  if (staysShared && usedAfter > 1.05 * usedBefore + 16 * 2 ** 20) {
    report.problems.push(`what took ${usedBefore} bytes takes ${usedAfter} at the destination`)
  }
  await checkAll(life, report)
}

/** Everything is detached, verified as it lies, and deleted; nothing may be left for the sweep. */
async function atRest(
  life: Life,
  mover: Mover,
  report: Report,
  staysShared: boolean,
  say: (text: string) => void,
): Promise<void> {
  const { place, users } = life
  for (const volume of [...life.cast, ...life.extras]) {
    if (volume.guest !== null) await detach(place, users, volume)
    else if (volume.digest === '') volume.digest = await digestNow(place, 'volume', volume.id)
  }
  await checkAll(life, report)
  say('all is detached and verified')
  await moveAtRest(life, mover, report, staysShared)
  say('moved once more, and verified')
  const { strays, unreachable } = await place.plane.client.ndo.sweep({ dryRun: true, graceSeconds: 0 })
  report.problems.push(
    ...strays.map(({ kind, what, reason }) => `the sweep finds ${kind} ${what}: ${reason}`),
  )
  report.problems.push(
    ...unreachable.map(({ place: name, reason }) => `the sweep cannot ask ${name}: ${reason}`),
  )
  const open = rowsOf(place.plane.stateDir, 'select kind, id, state from operations where ended_at is null')
  report.problems.push(...open.map((row) => `not ended: ${JSON.stringify(row)}`))
  await stopControlPlane(place.plane.stateDir)
}
