/** One cell: something is asked of a share, brought to a point, something is killed there, and all must come right. */
import assert from 'node:assert/strict'
import { ApiError } from '@volant/client'
import { nextLook } from '../../look.ts'
import { until } from '../../migration/plane.ts'
import { pointOf } from '../points.ts'
import { killNow, processesOf, type Kind } from '../processes.ts'
import { operationById } from './api.ts'
import { assertShareInvariants } from './invariants.ts'
import { sharePoints, type SharePoint } from './points.ts'
import { begin, type Asked } from './requests.ts'
import type { ShareWorld } from './world.ts'

export const shareVictims = [
  'control plane',
  'storage agent',
  'head',
  'block device worker',
  'block device supervisor',
  'block device',
  'NFS server',
  'message bus',
  'everything',
  'cancel',
] as const
/** `block device`: worker and supervisor at once, which no other can bring back. `cancel`: nothing is killed. */
export type ShareVictim = (typeof shareVictims)[number]

export interface ShareCell {
  point: string
  victim: ShareVictim
}

export interface ShareOutcome {
  /** How the operation ended. */
  ended: string
  /** From the strike to the end of the operation, milliseconds. */
  tookMs: number
}

export const shareNameOf = ({ point, victim }: ShareCell): string =>
  `share/${point.replace('.', '/')}/${victim.replaceAll(' ', '-')}`

const sharePointOf = (name: string): SharePoint => pointOf(name, sharePoints) as SharePoint

// Where others use the machine, too, it takes a while.
const reachedMs = 120_000
const endedMs = 240_000

export async function runShareCell(world: ShareWorld, cell: ShareCell): Promise<ShareOutcome> {
  const { gate, writer } = world
  const point = sharePointOf(cell.point)
  const asked = await begin(world, point)
  try {
    writer.refusals()
    gate.arm(point.name)
    await asked.start()
    const begun = performance.now()
    const second = point.isSecondPhase === true ? asked.secondPhase() : undefined
    await until(`the point ${point.name} is reached`, reachedMs, async () => {
      requireNotEnded(world, asked)
      return gate.isReached()
    })
    await second
    await strike(world, cell, asked)
    if (point.isSecondPhase !== true && cell.victim !== 'cancel') await asked.secondPhase()
    const ended = await end(world, asked)
    const tookMs = performance.now() - begun
    const expected = cell.victim === 'cancel' ? 'cancelled' : 'succeeded'
    assert.equal(ended.state, expected, `the operation ${ended.state}: ${ended.failure ?? 'no reason'}`)
    await asked.check(ended.state)
    // A client that writes on the node itself sees what no NFS client sees: a lost block device, and no mount.
    const isSeen = point.of === 'revert' || cell.victim === 'block device' || cell.victim === 'everything'
    if (!isSeen) assert.deepEqual(writer.refusals(), [], 'the writer got errors')
    await assertShareInvariants(world)
    return { ended: ended.state, tookMs }
  } finally {
    gate.release()
  }
}

function requireNotEnded({ plane, gate }: ShareWorld, asked: Asked): void {
  const operation = operationById(plane.stateDir, asked.operationId())
  if (operation?.isEnded !== true || gate.isReached()) return
  assert.fail(`the operation ended before the point: ${operation.state}, ${operation.failure ?? ''}`)
}

/** Kills, and starts again what a person or a supervisor would: the control plane. */
async function strike(
  { plane, gate }: ShareWorld,
  { victim, point }: ShareCell,
  asked: Asked,
): Promise<void> {
  if (victim === 'cancel') {
    // The answer may come only when it has ended, and here it does not go on.
    let isAnswered = false
    const cancelling = asked.cancel().finally(() => (isAnswered = true))
    await until('the cancel is on record', reachedMs, async () => {
      return isAnswered || operationById(plane.stateDir, asked.operationId())?.isCancelled === true
    })
    gate.release()
    return cancelling
  }
  const all = await processesOf(plane.stateDir)
  const kinds = kindsOf(victim)
  const meant = all.filter(({ kind }) => kinds === null || kinds.includes(kind))
  assert.ok(meant.length > 0, `there is a ${victim} to kill at ${point}`)
  await killNow(meant.map(({ pid }) => pid))
  gate.release()
  if (victim === 'control plane' || victim === 'everything') await plane.start()
}

/** Null: all. */
function kindsOf(victim: Exclude<ShareVictim, 'cancel'>): Kind[] | null {
  switch (victim) {
    case 'everything':
      return null
    case 'head':
      return ['holder']
    case 'block device':
      return ['block device supervisor', 'block device worker']
    default:
      return [victim]
  }
}

async function end({ plane }: ShareWorld, asked: Asked) {
  const began = performance.now()
  for (const deadline = began + endedMs; ; await nextLook(began)) {
    const operation = operationById(plane.stateDir, asked.operationId())
    if (operation?.isEnded === true) return operation
    if (performance.now() < deadline) continue
    const shown = await plane.client.ndo.operation(asked.operationId()).catch((error: unknown) => error)
    const why = shown instanceof ApiError ? shown.message : JSON.stringify(shown)
    assert.fail(`not ended in ${endedMs} ms: ${JSON.stringify(operation)} ${why}`)
  }
}
