/** A compute host is emptied and filled again, with the control plane killed meanwhile as often as is wanted. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { finalStates, type Operation } from '@volant/contract/ndo/operation.ts'
import { ended } from '../migration/plane.ts'
import { rowsOf } from '../move/place.ts'
import type { HostRig } from './rig.ts'

export interface Emptied {
  operation: Operation
  /** From the request to the end. Milliseconds. */
  ms: number
  /** For how long each guest that was live-migrated stood still. Milliseconds. */
  pauses: number[]
  /** How often the control plane was killed while it was under way. */
  kills: number
}

export interface DrainOptions {
  /** How often the control plane is killed, at moments spread over the time that it takes. */
  kills?: number
  parallel?: number
}

/** Longer than any drain here takes, on a machine that others use, too. */
const endedMs = 600_000

export async function carryOut(
  { plane }: HostRig,
  kind: 'drain' | 'restore',
  host: string,
  { kills = 0, parallel = 2 }: DrainOptions = {},
): Promise<Emptied> {
  const began = performance.now()
  const { operation } = await plane.client.ndo.startPlan({ kind, host, parallel })
  let killed = 0
  while (killed < kills) {
    // Each time at another moment of what its parts do.
    await sleep(300 + killed * 700)
    const { state } = await plane.client.ndo.operation(operation.id)
    if (finalStates.includes(state)) break
    await plane.kill()
    killed++
    await plane.start()
  }
  const end = await ended(plane, operation.id, endedMs)
  assert.equal(end.state, 'succeeded', `${kind} of ${host}: ${JSON.stringify([end.error, end.attempts])}`)
  return {
    operation: end,
    ms: performance.now() - began,
    pauses: pausesOf(plane.stateDir, operation.id),
    kills: killed,
  }
}

const pausesOf = (stateDir: string, parentId: string): number[] =>
  rowsOf(
    stateDir,
    'select m.downtime_ms as ms from server_migrations m join operations o on o.id = m.operation_id ' +
      'where o.parent_id = ? and m.downtime_ms is not null',
    parentId,
  ).map((row) => Number(row['ms']))
