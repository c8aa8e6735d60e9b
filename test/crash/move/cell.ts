/** One cell: the move of a FlexVol is brought to a point, something is killed there, and all must come right. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from '@volant/client'
import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import type { MoveStarted } from '@volant/contract/ndo/move.ts'
import { until } from '../../migration/plane.ts'
import { rowsOf } from '../../move/place.ts'
import { killNow, processesOf, type Kind, type Process } from '../processes.ts'
import { pointOf } from '../points.ts'
import { assertMoveInvariants } from './invariants.ts'
import { movePoints } from './points.ts'
import { otherAggregate, type MoveWhere, type MoveWorld } from './world.ts'

export const moveVictims = [
  'control plane',
  'head',
  'storage agent',
  'compute agent',
  'copy',
  'guard',
  'everything',
] as const
export type MoveVictim = (typeof moveVictims)[number]

export interface MoveCell {
  where: MoveWhere
  point: string
  victim: MoveVictim
}

export interface MoveOutcome {
  ended: Operation['state']
  /** Parts that did not succeed, and were begun anew. */
  again: number
}

export const moveNameOf = ({ where, point, victim }: MoveCell): string =>
  `move/${where === 'here' ? '' : `${where}/`}${point}/${victim.replaceAll(' ', '-')}`

/** Bytes per second: slow enough that something is under way when the abort comes. */
const slowRate = 2 << 20
// Where others use the machine, too, a move takes minutes.
const reachedMs = 180_000
const endedMs = 300_000

export async function runMoveCell(world: MoveWorld, cell: MoveCell): Promise<MoveOutcome> {
  const { place, gate } = world
  const { plane } = place
  const point = pointOf(cell.point, movePoints)
  const from = aggregateOf(world)
  const to = otherAggregate(from)
  gate.arm(point.name)
  try {
    const { operation: move } = (await plane.client.session.json('POST', '/ndo/v1/moves', {
      body: { flexvol: place.flexvolId, aggregate: to, ...(point.slow === true && { rate: slowRate }) },
    })) as MoveStarted
    if (point.undoing === true) {
      await until('a snapshot has moved', reachedMs, async () => snapshotsAt(world, to) > 0)
      await plane.client.ndo.cancel(move.id)
    }
    await until(`the point ${point.name} is reached`, reachedMs, async () => gate.isReached())
    await strike(world, cell)
    if (point.slow === true) await plane.client.ndo.setRate(move.id, 0).catch(ignoreEnded)
    const operation = await end(world, move.id)
    const expected = point.undoing === true ? 'cancelled' : 'succeeded'
    assert.equal(operation.state, expected, operation.error?.reason ?? JSON.stringify(operation.attempts))
    await assertMoveInvariants(world, point.undoing === true ? from : to)
    return { ended: operation.state, again: partsThatFailed(world, move.id) }
  } finally {
    gate.release()
  }
}

/** An operation that is being undone, or has ended, takes no rate any more. */
function ignoreEnded(error: unknown): void {
  if (!(error instanceof ApiError) || error.status !== 409) throw error
}

const aggregateOf = ({ place }: MoveWorld): string =>
  String(
    rowsOf(place.plane.stateDir, 'select aggregate from flexvols where id = ?', place.flexvolId)[0]?.[
      'aggregate'
    ],
  )

const snapshotsAt = ({ place }: MoveWorld, aggregate: string): number =>
  rowsOf(
    place.plane.stateDir,
    "select image_id from copies where snapshot_id is not null and state = 'live' and aggregate = ?",
    aggregate,
  ).length

const partsThatFailed = ({ place }: MoveWorld, moveId: string): number =>
  rowsOf(
    place.plane.stateDir,
    "select id from operations where parent_id = ? and state in ('failed', 'cancelled')",
    moveId,
  ).length

/** Kills, and starts again what a person or a supervisor would: the control plane. */
async function strike({ place, gate }: MoveWorld, cell: MoveCell): Promise<void> {
  const kind: Kind | null =
    cell.victim === 'everything' ? null : cell.victim === 'head' ? 'holder' : cell.victim
  // The guest's own death is another matter: it is not what moves.
  const isMeant = (one: Process): boolean => (kind === null ? one.kind !== 'guest' : one.kind === kind)
  let meant: Process[] = []
  // To another node a copy begins when its export has answered: a moment after it was asked for.
  await until(`there is a ${cell.victim} to kill at ${cell.point}`, 10_000, async () => {
    meant = (await processesOf(place.plane.stateDir)).filter(isMeant)
    return meant.length > 0
  })
  await killNow(meant.map(({ pid }) => pid))
  gate.release()
  if (cell.victim === 'control plane' || cell.victim === 'everything') await place.plane.start()
}

async function end({ place }: MoveWorld, operationId: string): Promise<Operation> {
  const { ndo } = place.plane.client
  let operation = await ndo.operation(operationId)
  for (const deadline = Date.now() + endedMs; !isSettled(operation.state); await sleep(100)) {
    operation = await ndo.operation(operationId)
    if (Date.now() > deadline) assert.fail(`not ended in ${endedMs} ms: ${JSON.stringify(operation)}`)
  }
  return operation
}
