/** One cell of the table: a migration is brought to a point, something is killed there, and all must come right. */
import assert from 'node:assert/strict'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { isSettled } from '@volant/contract/ndo/operation.ts'
import { ApiError } from '@volant/client'
import { parseConsole } from '../../probe/console.ts'
import { nextLook } from '../look.ts'
import { startMigration, until, type Job } from '../migration/plane.ts'
import { assertInvariants } from './invariants.ts'
import { pointOf, type Point } from './points.ts'
import { killNow, processesOf } from './processes.ts'
import { truthOf, type Where, type World } from './world.ts'

export const victims = [
  'control plane',
  'head',
  'source export',
  'target export',
  'guest',
  'guard',
  'storage agent',
  'compute agent',
  'everything',
] as const
export type Victim = (typeof victims)[number]

export interface Cell {
  where: Where
  volume: 'attached' | 'detached'
  point: string
  victim: Victim
}

export interface Outcome {
  /** How the operation ended. */
  ended: Operation['state']
  /** Copies that were begun anew, and cutovers that were tried again. */
  attempts: number
  /** The longest request that the guest saw, milliseconds; null where it was killed itself, or not asked. */
  longestMs: number | null
}

export const nameOf = ({ where, volume, point, victim }: Cell): string =>
  `${where}/${volume}/${point}/${victim.replaceAll(' ', '-')}`

/** A slowed copy lasts for some seconds. Bytes per second. */
const slowRate = 4 << 20
// Where others use the machine, too, a migration takes minutes.
const reachedMs = 180_000
const endedMs = 240_000

/** The state, the truth and the data must be right after it; says how it came to that. */
export async function runCell(world: World, cell: Cell): Promise<Outcome> {
  const { plane, gate, attached } = world
  const point = pointOf(cell.point)
  const job = cell.volume === 'attached' ? attached : await world.detached()
  const logFrom = (await stat(world.consoleLog)).size
  gate.arm(point.name)
  try {
    const operationId = await bringTo(world, job, point)
    const before = truthOf(plane.stateDir, job.volumeId).imageId
    await strike(world, cell, operationId)
    const operation = await end(world, operationId)
    const expected = point.undoing ? 'cancelled' : 'succeeded'
    assert.equal(operation.state, expected, operation.error?.reason ?? JSON.stringify(operation.attempts))
    await assertInvariants(world, job)
    const now = truthOf(plane.stateDir, job.volumeId).imageId
    if (point.undoing) assert.equal(now, before, 'a cancelled migration changes no truth')
    return {
      ended: operation.state,
      attempts: operation.attempts.length,
      longestMs: takesGuest(cell.victim) ? null : await longestRequest(world, logFrom),
    }
  } finally {
    gate.release()
  }
}

/** Starts a migration, and waits until the control plane stands at the point. */
export async function bringTo({ plane, gate }: World, job: Job, point: Point): Promise<string> {
  const { id } = await startMigration(plane, job, point.slow === true ? { rate: slowRate } : {})
  if (point.undoing) {
    await until('the copy runs', reachedMs, async () => {
      return (await plane.client.ndo.operation(id)).progress.done_bytes !== null
    })
    await plane.client.ndo.cancel(id)
  }
  for (const deadline = Date.now() + reachedMs; !gate.isReached(); await sleep(10)) {
    if (Date.now() < deadline) continue
    const operation = await plane.client.ndo.operation(id)
    assert.fail(`the point ${point.name} was not reached: ${JSON.stringify(operation)}`)
  }
  return id
}

/** Kills, and starts again what a person or a supervisor would: the control plane. */
async function strike(world: World, cell: Cell, operationId: string): Promise<void> {
  const { plane, gate } = world
  const pids = await pidsOf(world, cell, operationId)
  assert.ok(pids.length > 0, `there is a ${cell.victim} to kill at ${cell.point}`)
  await killNow(pids)
  gate.release()
  if (takesControlPlane(cell.victim)) await plane.start()
  if (pointOf(cell.point).slow) await plane.client.ndo.setRate(operationId, 0).catch(ignoreEnded)
  if (takesGuest(cell.victim)) await startGuest(world)
}

const takesControlPlane = (victim: Victim): boolean => victim === 'control plane' || victim === 'everything'
const takesGuest = (victim: Victim): boolean => victim === 'guest' || victim === 'everything'

/** An operation that is being undone, or has ended, takes no rate any more. */
function ignoreEnded(error: unknown): void {
  if (!(error instanceof ApiError) || error.status !== 409) throw error
}

/** A server whose guest died is shown as stopped; somebody starts it, at once or when its volume is free again. */
async function startGuest(world: World): Promise<void> {
  const { plane, attached } = world
  const { serverId } = attached
  const sessions = await sessionsOf(world)
  const status = async (): Promise<string> => (await plane.client.compute.show(serverId)).status
  await until('the death of the guest is shown', 60_000, async () => (await status()) === 'SHUTOFF')
  await until('the server is started again', 120_000, async () => {
    if ((await status()) === 'ACTIVE') return true
    await plane.client.compute.start(serverId).catch((error: unknown) => {
      // Its volume is busy, or the start is under way.
      if (!(error instanceof ApiError) || error.status !== 409) throw error
    })
    await sleep(500)
    return (await status()) === 'ACTIVE'
  })
  // Else its last session would be taken for this one.
  await until('the probe has begun a new session', 60_000, async () => (await sessionsOf(world)) > sessions)
}

async function sessionsOf({ consoleLog, attached }: World): Promise<number> {
  const serial = attached.volumeId.slice(0, 20)
  return parseConsole(await readFile(consoleLog, 'utf8'), serial).filter(({ kind }) => kind === 'found')
    .length
}

async function end({ plane }: World, operationId: string): Promise<Operation> {
  let operation = await plane.client.ndo.operation(operationId)
  const began = performance.now()
  for (const deadline = Date.now() + endedMs; !isSettled(operation.state); await nextLook(began)) {
    operation = await plane.client.ndo.operation(operationId)
    if (Date.now() > deadline) assert.fail(`not ended in ${endedMs} ms: ${JSON.stringify(operation)}`)
  }
  return operation
}

/** The processes that the cell is about, as they are now. */
export async function pidsOf(world: World, cell: Cell, operationId: string): Promise<number[]> {
  const { plane } = world
  const all = await processesOf(plane.stateDir)
  const ofKind = (kind: string): number[] => all.filter((p) => p.kind === kind).map(({ pid }) => pid)
  const holder = async (): Promise<number[]> => [await holderPid(world, cell, operationId)].filter(isPid)
  switch (cell.victim) {
    case 'control plane':
    case 'storage agent':
    case 'compute agent':
    case 'guest':
    case 'guard':
      return ofKind(cell.victim)
    case 'head':
      return holder()
    case 'source export':
      return exportPids(world, cell, (image, truth) => image === truth)
    case 'target export':
      return exportPids(world, cell, (image, truth) => image !== truth)
    case 'everything':
      return all.map(({ pid }) => pid)
  }
}

const isPid = (pid: number | undefined): pid is number => pid !== undefined

interface HolderFile {
  holderId: string
  volumeId: string
  daemon: { process?: { pid: number } }
}

/** The head of the attached volume, or the operation's mover. */
async function holderPid(world: World, cell: Cell, operationId: string): Promise<number | undefined> {
  const { plane, attached } = world
  for (const record of await recordsIn<HolderFile>(join(plane.stateDir, 'machines'), 'holders')) {
    const isIt =
      cell.volume === 'attached' ? record.volumeId === attached.volumeId : record.holderId === operationId
    if (isIt) return record.daemon.process?.pid
  }
  return undefined
}

interface ExportFile {
  imageId: string
  daemon: { process?: { pid: number } }
}

/** Export daemons of the volume's images; which of them is decided by what the record names as the truth now. */
async function exportPids(
  world: World,
  cell: Cell,
  isMeant: (imageId: string, truth: string) => boolean,
): Promise<number[]> {
  const { plane, attached, spare } = world
  const { volumeId } = cell.volume === 'attached' ? attached : (spare ?? attached)
  const { imageId, copies } = truthOf(plane.stateDir, volumeId)
  // After the record the truth is the target.
  const source =
    pointOf(cell.point).truth === 'source' ? imageId : copies.find((c) => c.imageId !== imageId)?.imageId
  const images = copies.map((copy) => copy.imageId)
  const files = await recordsIn<ExportFile>(join(plane.stateDir, 'nodes'), 'exports')
  return files
    .filter((file) => images.includes(file.imageId) && isMeant(file.imageId, source ?? imageId))
    .map((file) => file.daemon.process?.pid)
    .filter(isPid)
}

async function recordsIn<T>(folder: string, kind: string): Promise<T[]> {
  const records: T[] = []
  for (const place of await readdir(folder)) {
    const names = await readdir(join(folder, place, kind)).catch(() => [])
    for (const name of names.filter((file) => file.endsWith('.json'))) {
      records.push(JSON.parse(await readFile(join(folder, place, kind, name), 'utf8')) as T)
    }
  }
  return records
}

/** Writes of the newest session that were acknowledged, as the guest's console says: no control plane is asked. */
async function acknowledgedAlone({ consoleLog, attached }: World): Promise<number> {
  const serial = attached.volumeId.slice(0, 20)
  const last = parseConsole(await readFile(consoleLog, 'utf8'), serial).at(-1)
  return last?.kind === 'progress' ? last.acked : 0
}

/** More than can have been acknowledged before and not been told yet: the console is a second behind. */
export async function guestGoesOn(world: World): Promise<void> {
  const before = await acknowledgedAlone(world)
  await until('the guest writes on', 60_000, async () => (await acknowledgedAlone(world)) > before + 150)
}

async function longestRequest({ consoleLog, attached }: World, from: number): Promise<number> {
  const text = (await readFile(consoleLog)).subarray(from).toString('utf8')
  const serial = attached.volumeId.slice(0, 20)
  let longest = 0
  for (const line of parseConsole(text)) {
    if (line.kind === 'progress' && line.serial === serial) longest = Math.max(longest, line.maxms)
  }
  return longest
}
