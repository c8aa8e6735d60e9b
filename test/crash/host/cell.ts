/** One cell: a live migration is brought to a point, something is killed there, and the server must be at one place. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from '@volant/client'
import { finalStates, type Operation } from '@volant/contract/ndo/operation.ts'
import { parseConsole } from '../../../probe/console.ts'
import { assertRunsOnlyAt, assertSweptClean } from '../../host/invariants.ts'
import type { Machine } from '../../host/rig.ts'
import { act, assertNothingLost, hostOf, migrateLive, untilStatus, writesOn } from '../../host/writers.ts'
import { ended, until } from '../../migration/plane.ts'
import { pointOf } from '../points.ts'
import { killNow, processesOf, type Kind } from '../processes.ts'
import { hostPoints, type HostPoint } from './points.ts'
import type { HostWorld } from './world.ts'

export const hostVictims = [
  'control plane',
  'source guest',
  'destination guest',
  'source heads',
  'destination heads',
  'exports',
  'source agent',
  'destination agent',
  'storage agent',
  'everything',
  'cancel',
] as const
/** `exports`: the storage's daemons, those of the source and those in standby. `cancel`: nothing is killed. */
export type HostVictim = (typeof hostVictims)[number]

export interface HostCell {
  point: string
  victim: HostVictim
}

export interface HostOutcome {
  ended: Operation['state']
  /** For how long the guest stood still, as the operation tells; null where it did not get so far. Milliseconds. */
  pauseMs: number | null
  /** The longest write that the guest saw, by its own clock, which stands still with it; null: it was killed. */
  longestMs: number | null
}

export const hostNameOf = ({ point, victim }: HostCell): string =>
  `host/${point.replace('.', '/')}/${victim.replaceAll(' ', '-')}`

const hostPointOf = (name: string): HostPoint => pointOf(name, hostPoints)

// Where others use the machine, too, it takes a while.
const reachedMs = 120_000
const endedMs = 240_000
/** A slowed copy lasts for some seconds. Bytes per second. */
const slowRate = 4 << 20

interface Places {
  source: Machine
  destination: Machine
}

export async function runHostCell(world: HostWorld, cell: HostCell): Promise<HostOutcome> {
  const { rig, gate, writer } = world
  const { plane } = rig
  const point = hostPointOf(cell.point)
  const places = await placesOf(world)
  const linesBefore = parseConsole(rig.consoles.of(writer.serverId)).length
  gate.arm(point.name)
  try {
    const { id } = await migrateLive(plane, writer, places.destination.name)
    await bringTo(world, point, id)
    await strike(world, cell, places, id)
    if (point.slow === true) await plane.client.ndo.setRate(id, 0).catch(ignoreEnded)
    const operation = await ended(plane, id, endedMs)
    assert.ok(
      finalStates.includes(operation.state),
      `it ${operation.state}: ${operation.error?.reason ?? ''}`,
    )
    // An operation may end before the agent of the storage, which was killed, is back: nobody could tell the images' places.
    await until('the storage answers', 60_000, () => storageAnswers(world))
    const where = operation.state === 'succeeded' ? places.destination : places.source
    assert.equal(await hostOf(plane, writer), where.name, `it ${operation.state}`)
    const wasLost = takesGuest(cell.victim) && (await startedAgain(world))
    await writesOn(rig, writer)
    await assertNothingLost(rig, writer)
    await assertRunsOnlyAt(rig, writer, where.name)
    await assertSweptClean(rig)
    return {
      ended: operation.state,
      pauseMs: operation.client_pause_ms,
      longestMs: wasLost ? null : longestWrite(world, linesBefore),
    }
  } finally {
    gate.release()
  }
}

async function storageAnswers({ rig: { plane }, writer }: HostWorld): Promise<boolean> {
  try {
    for (const volumeId of writer.volumeIds) await plane.client.ndo.placement(volumeId)
    return true
  } catch (error) {
    if (error instanceof ApiError && error.status === 503) return false
    throw error
  }
}

async function placesOf({ rig, writer }: HostWorld): Promise<Places> {
  const host = await hostOf(rig.plane, writer)
  const source = rig.hosts.find(({ name }) => name === host)
  const destination = rig.hosts.find(({ name }) => name !== host)
  assert.ok(source && destination)
  return { source, destination }
}

async function bringTo({ rig: { plane }, gate }: HostWorld, point: HostPoint, id: string): Promise<void> {
  if (point.slow === true) await plane.client.ndo.setRate(id, slowRate)
  if (point.undoing) {
    await until('the memory is being copied', reachedMs, async () => {
      const { step, progress } = await plane.client.ndo.operation(id)
      return step === 'copied' && (progress.done_bytes ?? 0) > 0
    })
    await plane.client.ndo.cancel(id)
  }
  await until(`the point ${point.name} is reached`, reachedMs, async () => {
    if (gate.isReached()) return true
    const operation = await plane.client.ndo.operation(id)
    if (!finalStates.includes(operation.state) || gate.isReached()) return gate.isReached()
    assert.fail(`it ${operation.state} before the point: ${operation.error?.reason ?? ''}`)
  })
}

/** Kills, and starts again what a person or a supervisor would: the control plane and the agents. */
async function strike(
  world: HostWorld,
  { victim, point }: HostCell,
  places: Places,
  id: string,
): Promise<void> {
  const { rig, gate } = world
  if (victim === 'cancel') {
    await rig.plane.client.ndo.cancel(id).catch(ignoreEnded)
    gate.release()
    return
  }
  const pids = await pidsOf(world, victim, places)
  assert.ok(pids.length > 0, `there is a victim '${victim}' at ${point}`)
  await killNow(pids)
  gate.release()
  for (const machine of [rig.storage, ...rig.hosts]) machine.startAgent()
  if (victim === 'control plane' || victim === 'everything') await rig.plane.start()
}

async function pidsOf(
  { rig }: HostWorld,
  victim: HostVictim,
  { source, destination }: Places,
): Promise<number[]> {
  const at = async (folder: string, ...kinds: Kind[]): Promise<number[]> =>
    (await processesOf(folder)).filter(({ kind }) => kinds.includes(kind)).map(({ pid }) => pid)
  switch (victim) {
    case 'control plane':
      return at(rig.plane.stateDir, 'control plane')
    case 'source guest':
      return at(source.stateDir, 'guest')
    case 'destination guest':
      return at(destination.stateDir, 'guest')
    case 'source heads':
      return at(source.stateDir, 'holder')
    case 'destination heads':
      return at(destination.stateDir, 'holder')
    case 'exports':
      return at(rig.storage.stateDir, 'export')
    case 'source agent':
      return at(source.stateDir, 'compute agent')
    case 'destination agent':
      return at(destination.stateDir, 'compute agent')
    case 'storage agent':
      return at(rig.storage.stateDir, 'storage agent', 'compute agent')
    case 'everything': {
      const all = await Promise.all([rig.plane.stateDir, rig.folder].map((folder) => processesOf(folder)))
      return [...new Set(all.flat().map(({ pid }) => pid))]
    }
    case 'cancel':
      return []
  }
}

const takesGuest = (victim: HostVictim): boolean => /guest|everything/.test(victim)

/** What has ended, or is past its commit, takes no wish any more. */
function ignoreEnded(error: unknown): void {
  if (!(error instanceof ApiError) || error.status !== 409) throw error
}

/** One whose guest was killed is shown as stopped, and somebody starts it. False: its other QEMU was killed. */
async function startedAgain({ rig: { plane }, writer }: HostWorld): Promise<boolean> {
  const { serverId } = writer
  const isStopped = async (): Promise<boolean> =>
    (await plane.client.compute.show(serverId)).status === 'SHUTOFF'
  // The death of a guest is seen within seconds.
  for (const end = Date.now() + 15_000; Date.now() < end && !(await isStopped()); await sleep(500));
  if (!(await isStopped())) return false
  await until('the server can be started again', 60_000, async () => {
    try {
      await act(plane, writer, { 'os-start': null })
      return true
    } catch (error) {
      ignoreEnded(error)
      return false
    }
  })
  await untilStatus(plane, serverId, 'ACTIVE')
  writer.boots++
  return true
}

function longestWrite({ rig, writer }: HostWorld, from: number): number {
  let longest = 0
  for (const line of parseConsole(rig.consoles.of(writer.serverId)).slice(from)) {
    if (line.kind === 'progress') longest = Math.max(longest, line.maxms)
  }
  return longest
}
