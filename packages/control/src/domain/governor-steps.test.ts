/** The law of the governor, step by step. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { governed, newGovernor, reconsidered, type Felt, type GovernorState } from './governor.ts'
import { newTrack, withSnapshot } from './client-latency.ts'
import { newPacedCopy, paced } from './paced-copy.ts'

const mib = 1024 ** 2
const leastBps = 8 * mib
const well: Felt = { is: 'under', share: 0.6, lately: 0.6, sureness: 1 }

/** One look each 250 ms. */
function after(state: GovernorState, felt: Felt[], fairBps: number | null = null): GovernorState {
  return felt.reduce(
    (before, each) =>
      governed(before, { now: before.at + 250, felt: each, usedBps: null, leastBps, fairBps }),
    state,
  )
}

/** What it goes on with where a check finds that the copy had no part in what was felt. */
const resumedBps = (state: GovernorState): number =>
  reconsidered(state, { now: state.at, fromBps: 20 * mib, share: 0.5, leastBps }).rateBps

const lowered = (): GovernorState => after(newGovernor(200 * mib, 1000), [{ is: 'over', share: 3 }])

test('what a copy had before it was lowered is given back, and not once its client has rested', () => {
  assert.equal(resumedBps(lowered()), 200 * mib)
  assert.equal(resumedBps(after(lowered(), [{ is: 'idle' }])), 20 * mib)
})

test('nor once its client is measured anew', () => {
  const bin = { boundsNs: [1e6, 1e7], counts: [0, 0, 0] }
  const at = (track: ReturnType<typeof newTrack>, ms: number, requests: number) =>
    withSnapshot(track, ms, {
      since: 'one',
      reads: bin,
      writes: { ...bin, counts: [0, requests, 0] },
      flushes: bin,
    })
  const track = at(at(newTrack(), 1000, 0), 1250, 100)
  const { copy, told } = paced(
    { ...newPacedCopy(leastBps, 1000), governor: lowered() },
    {
      now: 1250,
      pace: { kind: 'times', times: 2 },
      clients: new Map([['c', track]]),
      usedBps: null,
      leastBps,
    },
  )
  assert.equal(told.state, 'measuring')
  assert.equal(resumedBps(copy.governor), 20 * mib)
})

test('a trial of the rate at which it was too much does not go beyond its part of a shared disk, and ends there', () => {
  const before = after(newGovernor(100 * mib, 1000), [{ is: 'over', share: 1.2 }])
  const trial = Array.from({ length: 3 }, () => well)
  const [alone, beside] = [after(before, trial), after(before, trial, 40 * mib)]
  assert.equal(Math.round(alone.rateBps / mib), 92)
  assert.ok(beside.rateBps < 0.95 * alone.rateBps, `${beside.rateBps / mib} MiB/s beside others`)
  assert.equal(after(before, [...trial, well], 40 * mib).knee, null)
})
