import type { MirrorStatus } from '@volant/contract'

/**
 * Whether a copy catches up with its client, and what to do where it does not. Pure: samples in, verdict out.
 *
 * A background mirror goes round until nothing is left to copy. A client that writes faster than the copy keeps
 * it from ever ending (measured: at 25,000 writes/s 26 to 74 MiB were always left). A copy that is slow for the sake
 * of its clients' latency then goes faster first, up to a bound; where that is not enough the client is shaped: its limit goes to half of what it dirties, and is halved again while that is not enough, down to a floor
 * that the policy states. Completion is asked for only when little is left, for it cannot be taken back without
 * starting the copy from zero.
 */
export interface ConvergencePolicy {
  /** Bytes that may be left when completion is asked for. */
  thresholdBytes: number
  /** How long the rest may stand still before the client is shaped. Milliseconds. */
  patienceMs: number
  /** The least that a client is left with. Bytes per second, of writes: a limit on reads would hold the copy back. */
  floorBps: number
  /**
   * How far the rate of a copy that goes slowly for its client's sake is raised where it is outrun, before that client
   * is shaped. Bytes per second.
   */
  mostRaisedBps: number
  /** How long a client that is held at the floor may outrun the copy before the migration gives up. Milliseconds. */
  giveUpMs: number
}

export const defaultConvergencePolicy: ConvergencePolicy = {
  thresholdBytes: 2 * 1024 * 1024,
  patienceMs: 3000,
  floorBps: 1024 * 1024,
  mostRaisedBps: 64 * 1024 * 1024,
  giveUpMs: 300_000,
}

interface Sample {
  at: number
  doneBytes: number
  leftBytes: number
  movedBytes: number
}

export interface Convergence {
  /** When this mirror was looked at first; null: it was not yet. */
  firstLookAt: number | null
  /** The latest `patienceMs` of samples, oldest first. */
  samples: Sample[]
  /** The limit in force on what the client writes; null: none. Bytes per second. */
  limitBps: number | null
  shapedAt: number
  /** What the copy must have at the least, lest it be outrun again; 0: nothing. Bytes per second. */
  leastBps: number
  raisedAt: number
  /** Since when a client at the floor outruns the copy; null: it does not. */
  losingSince: number | null
  /** So little is left that the operator's rate is lifted: a paced mirror never finds nothing to do. */
  finalLap: boolean
  /** How often the mirror had to be started anew. */
  restarts: number
}

export const newConvergence = (): Convergence => ({
  firstLookAt: null,
  samples: [],
  limitBps: null,
  shapedAt: 0,
  leastBps: 0,
  raisedAt: 0,
  losingSince: null,
  finalLap: false,
  restarts: 0,
})

export interface Verdict {
  state: Convergence
  /** Little enough is left to ask for completion. */
  converged: boolean
  /** Put this limit on the client; undefined: leave it as it is. */
  shapeTo: number | undefined
  /** The copy can't end: the client is held at the floor and outruns it all the same. Says what would help. */
  hopeless: string | undefined
  /** Bytes per second over the samples: what the mirror got through, and what of it were data. */
  rateBps: number
  movedBps: number
  etaSeconds: number | null
}

/**
 * `now` in milliseconds, from a clock that does not jump; `movedBytes` is what the target occupies, where it is known.
 */
export function judge(
  before: Convergence,
  status: MirrorStatus & { movedBytes?: number },
  now: number,
  policy: ConvergencePolicy,
  /** The copy is slow for its clients' sake: it could be faster. */
  isGoverned = false,
): Verdict {
  const leftBytes = Math.max(0, status.totalBytes - status.doneBytes)
  const sample = {
    at: now,
    doneBytes: status.doneBytes,
    leftBytes,
    movedBytes: status.movedBytes ?? status.doneBytes,
  }
  const paused = status.phase === 'paused' || status.pausedByUser
  // What a job has to look at is known once it has begun: before that nothing is left, and then all is.
  const hasBegun = status.totalBytes > 0
  const samples = paused || !hasBegun ? [] : [...recent(before.samples, now, policy.patienceMs), sample]
  const oldest = samples[0] ?? sample
  const seconds = (now - oldest.at) / 1000
  const rateBps = seconds > 0 ? Math.max(0, (sample.doneBytes - oldest.doneBytes) / seconds) : 0
  const shrinkBps = seconds > 0 ? (oldest.leftBytes - leftBytes) / seconds : 0
  const converged = status.phase === 'ready' && leftBytes <= policy.thresholdBytes

  // A job that has not begun has nothing left either.
  const finalLap = status.doneBytes > 0 && leftBytes <= policy.thresholdBytes * (before.finalLap ? 4 : 1)
  const state: Convergence = { ...before, firstLookAt: before.firstLookAt ?? now, samples, finalLap }
  const verdict: Verdict = {
    state,
    converged,
    shapeTo: undefined,
    hopeless: undefined,
    rateBps,
    movedBps: seconds > 0 ? Math.max(0, (sample.movedBytes - oldest.movedBytes) / seconds) : 0,
    etaSeconds: eta(converged, leftBytes, shrinkBps),
  }
  // Not a full window of samples yet, or the last limit has not had its time to show: no verdict on the client.
  const observed = now - oldest.at >= policy.patienceMs * 0.9 && now - before.shapedAt >= policy.patienceMs
  const stalled = leftBytes > oldest.leftBytes * 0.9 && isLosing(rateBps, shrinkBps)
  if (paused || converged || (observed && !stalled)) {
    return { ...verdict, state: { ...state, ...eased(state, now), losingSince: null } }
  }
  if (!observed) return verdict

  const dirtiedBps = rateBps - shrinkBps
  // First it goes faster, at the cost of what its client waits for; to hold that one back costs it more.
  const leastBps = Math.min(policy.mostRaisedBps, Math.ceil(dirtiedBps * raisedBy))
  if (isGoverned && before.limitBps === null && leastBps > before.leastBps) {
    return { ...verdict, state: { ...state, leastBps, raisedAt: now, shapedAt: now } }
  }
  const limitBps = Math.max(
    policy.floorBps,
    Math.floor(Math.min(before.limitBps ?? Infinity, dirtiedBps) / 2),
  )
  if (limitBps === before.limitBps) {
    const losingSince = before.losingSince ?? now
    const hopeless =
      now - losingSince >= policy.giveUpMs ? whyHopeless(policy, rateBps, dirtiedBps) : undefined
    return { ...verdict, hopeless, state: { ...state, losingSince } }
  }
  // And what is left to the client the copy must outrun, whatever others wait for.
  const outruns = { leastBps: Math.max(before.leastBps, policy.floorBps * 4), raisedAt: now }
  return { ...verdict, state: { ...state, ...outruns, limitBps, shapedAt: now }, shapeTo: limitBps }
}

/** By how much a copy is to outrun what its client dirties. */
const raisedBy = 1.5
/** A copy that gains on its client for so long may go more slowly again. Milliseconds. */
const easedMs = 30_000

/** Not of one whose client is shaped: that has to come to an end. */
function eased(
  { leastBps, limitBps, raisedAt }: Convergence,
  now: number,
): Pick<Convergence, 'leastBps' | 'raisedAt'> {
  if (leastBps === 0 || limitBps !== null || now - raisedAt < easedMs) return { leastBps, raisedAt }
  return { leastBps: leastBps < 1024 * 1024 ? 0 : leastBps / 2, raisedAt: now }
}

function whyHopeless(policy: ConvergencePolicy, rateBps: number, dirtiedBps: number): string {
  const mib = (bps: number): string => `${(bps / 1024 / 1024).toFixed(2)} MiB/s`
  return (
    `For ${Math.round(policy.giveUpMs / 1000)} s the copy got through ${mib(rateBps)} while its client changed ` +
    `${mib(dirtiedBps)}, although it is held at ${mib(policy.floorBps)}. A higher rate for the copy, or a lower ` +
    'migration.client_floor, would let it end.'
  )
}

/** The client dirties at least nine tenths of what is copied: the copy would not end, or only in ages. */
const isLosing = (rateBps: number, shrinkBps: number): boolean => rateBps > 0 && shrinkBps < rateBps * 0.1

const recent = (samples: Sample[], now: number, patienceMs: number): Sample[] => {
  const first = samples.findIndex((sample) => now - sample.at <= patienceMs)
  return first < 0 ? [] : samples.slice(first)
}

function eta(converged: boolean, leftBytes: number, shrinkBps: number): number | null {
  if (converged || leftBytes === 0) return 0
  return shrinkBps > 0 ? Math.ceil(leftBytes / shrinkBps) : null
}
