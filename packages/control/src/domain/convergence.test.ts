import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MirrorStatus } from '@volant/contract'
import { defaultConvergencePolicy as policy, judge, newConvergence } from './convergence.ts'

const mib = 1024 * 1024

/**
 * A copy at `copyBps` beside a client that dirties `clientBps`, or what its limit leaves it. Both move in ticks of
 * 5 ms; it is looked at every 250 ms. Once the job has been ready it stays so.
 */
function simulate(options: {
  bytes: number
  copyBps: number
  clientBps: number
  seconds: number
  /** What the governor leaves the copy; it goes no lower than what it must have. */
  governedBps?: number
}) {
  let state = newConvergence()
  let done = 0
  let total = options.bytes
  let ready = false
  const limits: number[] = []
  const raised: number[] = []
  for (let ms = 0; ms <= options.seconds * 1000; ms += 5) {
    total += Math.min(options.clientBps, state.limitBps ?? Infinity) / 200
    const { copyBps, governedBps = Infinity } = options
    const pacedBps = state.finalLap ? copyBps : Math.min(copyBps, Math.max(governedBps, state.leastBps))
    done += Math.min(total - done, pacedBps / 200)
    ready ||= total - done < 64 * 1024
    if (ms % 250 !== 0) continue
    const status: MirrorStatus = {
      phase: ready ? 'ready' : 'copying',
      doneBytes: done,
      totalBytes: total,
      rate: 0,
      pausedByUser: false,
    }
    const verdict = judge(state, status, ms, policy, options.governedBps !== undefined)
    if (verdict.state.leastBps !== state.leastBps) raised.push(verdict.state.leastBps)
    state = verdict.state
    if (verdict.shapeTo !== undefined) limits.push(verdict.shapeTo)
    if (verdict.converged || verdict.hopeless !== undefined) {
      return { converged: verdict.converged, ms, limits, raised, hopeless: verdict.hopeless }
    }
  }
  return { converged: false, ms: options.seconds * 1000, limits, raised, hopeless: undefined }
}

test('a copy that is faster than its client converges without touching it', () => {
  const run = simulate({ bytes: 1024 * mib, copyBps: 200 * mib, clientBps: 20 * mib, seconds: 60 })
  assert.equal(run.converged, true)
  assert.deepEqual(run.limits, [])
})

test('a client that outruns the copy is shaped until it converges', () => {
  const run = simulate({ bytes: 512 * mib, copyBps: 80 * mib, clientBps: 100 * mib, seconds: 120 })
  assert.equal(run.converged, true)
  assert.ok(run.limits.length > 0)
  assert.ok(run.limits.every((limit) => limit >= policy.floorBps))
})

test('a client is never limited below the floor', () => {
  const run = simulate({ bytes: 512 * mib, copyBps: mib / 2, clientBps: 10 * mib, seconds: 60 })
  assert.equal(run.converged, false)
  assert.equal(run.limits.at(-1), policy.floorBps)
})

test('a job that begins late, with much to look at, is not taken for a client that writes much', () => {
  let state = newConvergence()
  for (let ms = 0; ms <= 20_000; ms += 250) {
    const begun = ms >= 1000
    const doneBytes = begun ? (ms - 1000) * 4 * 1024 : 0
    const totalBytes = begun ? 1024 * mib : 0
    const status = { phase: 'copying' as const, doneBytes, totalBytes, rate: 0, pausedByUser: false }
    const verdict = judge(state, status, ms, policy)
    state = verdict.state
    assert.equal(verdict.shapeTo, undefined, `at ${ms} ms`)
  }
})

test('a copy that even a client at the floor outruns ends, and says what would help', () => {
  const run = simulate({ bytes: 512 * mib, copyBps: mib / 2, clientBps: 10 * mib, seconds: 3600 })
  assert.equal(run.converged, false)
  assert.ok(run.ms >= policy.giveUpMs, 'not before its time')
  assert.match(run.hopeless ?? '', /for 300 s the copy got through 0\.50 MiB\/s.*migration\.client_floor/i)
})

test('a copy that gains on its client at the floor, if slowly, is left to end', () => {
  const run = simulate({ bytes: 256 * mib, copyBps: 1.2 * mib, clientBps: 10 * mib, seconds: 7200 })
  assert.equal(run.hopeless, undefined)
  assert.equal(run.converged, true)
})

test('a paused copy shapes nobody', () => {
  let state = newConvergence()
  for (let ms = 0; ms < 20_000; ms += 250) {
    const verdict = judge(
      state,
      { phase: 'paused', doneBytes: 10 * mib, totalBytes: 500 * mib + ms, rate: 0, pausedByUser: true },
      ms,
      policy,
    )
    assert.equal(verdict.shapeTo, undefined)
    state = verdict.state
  }
})

test('the rest is told in seconds, and unknown where it does not shrink', () => {
  let state = newConvergence()
  const look = (ms: number, doneBytes: number, totalBytes: number) => {
    const verdict = judge(
      state,
      { phase: 'copying', doneBytes, totalBytes, rate: 0, pausedByUser: false },
      ms,
      policy,
    )
    state = verdict.state
    return verdict
  }
  look(0, 0, 1000 * mib)
  const shrinking = look(1000, 100 * mib, 1000 * mib)
  assert.equal(shrinking.etaSeconds, 9)
  assert.equal(Math.round(shrinking.rateBps / mib), 100)
  state = newConvergence()
  look(0, 0, 1000 * mib)
  assert.equal(look(1000, 100 * mib, 1200 * mib).etaSeconds, null)
})

test('the last lap is not paced: it begins when little is left and ends when the client has run ahead', () => {
  const lap = (finalLap: boolean, leftBytes: number, doneBytes = 100 * mib) =>
    judge(
      { ...newConvergence(), finalLap },
      { phase: 'copying', doneBytes, totalBytes: doneBytes + leftBytes, rate: mib, pausedByUser: false },
      0,
      policy,
    ).state.finalLap
  assert.equal(lap(false, policy.thresholdBytes), true)
  assert.equal(lap(false, policy.thresholdBytes + 1), false)
  assert.equal(lap(true, policy.thresholdBytes * 4), true)
  assert.equal(lap(true, policy.thresholdBytes * 4 + 1), false)
  assert.equal(lap(false, 0, 0), false, 'a job that has not begun')
})

test('a client that keeps a little dirty for ever is shaped as well', () => {
  let state = newConvergence()
  let shaped: number | undefined
  for (let ms = 0; ms <= 4000; ms += 250) {
    const doneBytes = 100 * mib + ms * 5000
    const status = {
      phase: 'copying' as const,
      doneBytes,
      totalBytes: doneBytes + mib,
      rate: 0,
      pausedByUser: false,
    }
    const verdict = judge(state, status, ms, policy)
    state = verdict.state
    shaped ??= verdict.shapeTo
  }
  assert.ok(shaped !== undefined)
})

test('a copy that is slow for its client’s sake and is outrun goes faster, before that client is held back', () => {
  const run = simulate({
    bytes: 512 * mib,
    copyBps: 200 * mib,
    governedBps: 8 * mib,
    clientBps: 20 * mib,
    seconds: 300,
  })
  assert.equal(run.converged, true)
  assert.deepEqual(run.limits, [], 'its client is not shaped')
  assert.ok(Math.max(...run.raised) > 20 * mib)
})

test('where it may not go faster, or cannot, its client is shaped all the same, and it ends', () => {
  const beyondPolicy = simulate({
    bytes: 512 * mib,
    copyBps: 400 * mib,
    governedBps: 8 * mib,
    clientBps: 150 * mib,
    seconds: 600,
  })
  assert.equal(beyondPolicy.converged, true)
  assert.ok(beyondPolicy.limits.length > 0)
  assert.ok(beyondPolicy.raised.every((bps) => bps <= policy.mostRaisedBps))
  const slowDisk = simulate({
    bytes: 512 * mib,
    copyBps: 30 * mib,
    governedBps: 8 * mib,
    clientBps: 60 * mib,
    seconds: 600,
  })
  assert.equal(slowDisk.converged, true)
  assert.ok(slowDisk.limits.length > 0)
})

test('a governed copy at the lowest floor outruns a client that is held at its own', () => {
  const run = simulate({
    bytes: 64 * mib,
    copyBps: 100 * mib,
    governedBps: policy.floorBps / 4,
    clientBps: 200 * mib,
    seconds: 900,
  })
  assert.equal(run.converged, true)
})

test('a copy that gains on its client again may go more slowly again', () => {
  const run = simulate({
    bytes: 4096 * mib,
    copyBps: 200 * mib,
    governedBps: 8 * mib,
    clientBps: 10 * mib,
    seconds: 900,
  })
  assert.equal(run.converged, true)
  const most = Math.max(...run.raised)
  assert.ok(run.raised.some((bps, i) => i > run.raised.indexOf(most) && bps < most))
})
