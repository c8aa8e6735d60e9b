/**
 * A disk that clients and copies share, on simulated time: a request waits the longer the nearer the disk is to what it can
 * do, little at first and then steeply, as at any queue. For tests of the governor.
 */
import type { DeviceLatency, LatencyHistogram } from '@volant/contract'
import { fairPart } from '../domain/copy-budget.ts'
import { newTrack, withBaseline, withSnapshot, type ClientTrack } from '../domain/client-latency.ts'
import type { Pace } from '@volant/contract/ndo/pace.ts'
import { newPacedCopy, paced, type PacedCopy, type Told } from '../domain/paced-copy.ts'

export const mib = 1024 * 1024

const boundsNs = Array.from({ length: 45 }, (_none, index) => Math.round(10 ** (4.5 + index / 8)))

/** Numbers that look random and are the same in each run (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface SimulatedClient {
  /** Requests each second at a time in milliseconds. */
  perSecond: (ms: number) => number
  /** What the rest of the world does to its latency at a time: a factor. */
  noise?: (ms: number) => number
}

export interface DiskModel {
  seed?: number
  clients: SimulatedClient[]
  /** `weight`: beside the others; default 1. */
  copies?: { leastBps?: number; startBps?: number; beginsAt?: number; weight?: number }[]
  seconds: number
  pace?: Extract<Pace, { kind: 'times' | 'ms' }>
  /** What all copies and clients together can have. Bytes per second. */
  capacityBps?: (ms: number) => number
  /** What one request of a client costs the disk. Bytes. */
  requestBytes?: number
  /** How often the governor looks. Milliseconds. */
  everyMs?: number
  /** Whether it is governed at all. */
  governed?: boolean
  /** Whether the clients were measured before the copies began. */
  measuredBefore?: boolean
}

export interface Look {
  ms: number
  /** Of each copy: what it may, and what it gets. */
  limits: number[]
  used: number[]
  told: Told[]
}

export interface DiskRun {
  looks: Look[]
  /** Of each client: when each request was answered, and how long it took. Milliseconds. */
  answered: { at: number; ms: number }[][]
  /** Of each copy. */
  bytes: number[]
  /** Of each client, without any copy. Milliseconds. */
  aloneMs: number[]
}

const median = 0.8
const spread = 0.5

/** How much longer than alone a request takes at a share of what the disk can do. */
const queueing = (share: number): number => 1 + 0.3 * share ** 2 + (0.5 * share ** 8) / (1.02 - share)

export function runDisk(model: DiskModel): DiskRun {
  const random = randomNumbers(model.seed ?? 1)
  const {
    clients,
    seconds,
    pace = { kind: 'times', times: 2 },
    everyMs = 250,
    requestBytes = 48 * 1024,
  } = model
  const copies = (model.copies ?? [{}]).map(
    ({ leastBps = 8 * mib, startBps = 32 * mib, beginsAt = 0, weight = 1 }, i) => ({
      id: String(i),
      weight,
      leastBps,
      beginsAt,
      paced: newPacedCopy(model.governed === false ? Infinity : startBps, beginsAt) as PacedCopy,
      usedBps: 0,
      bytes: 0,
    }),
  )
  const capacity = model.capacityBps ?? (() => 400 * mib)
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const service = (): number => median * Math.exp(spread * normal())
  const counts = clients.map(() => boundsNs.map(() => 0).concat(0))
  const answered: DiskRun['answered'] = clients.map(() => [])
  const latencyOf = (i: number): DeviceLatency => {
    const histogram: LatencyHistogram = { boundsNs, counts: [...(counts[i] ?? [])] }
    const none: LatencyHistogram = { boundsNs, counts: boundsNs.map(() => 0).concat(0) }
    return { since: 'one', reads: none, writes: histogram, flushes: none }
  }
  let tracks = new Map<string, ClientTrack>(clients.map((_client, i) => [`client ${i}`, newTrack()]))
  const looks: Look[] = []
  const stepMs = 10
  let share = 0
  const warmUpMs = model.measuredBefore === false ? 0 : 1000
  const due = clients.map(() => 0)
  const aloneOf = clients.map((): number[] => [])
  for (let ms = -warmUpMs; ms < seconds * 1000; ms += stepMs) {
    const cap = capacity(ms)
    const demand = clients.map(({ perSecond }) => perSecond(ms))
    const left = Math.max(cap * 0.05, cap - demand.reduce((sum, each) => sum + each, 0) * requestBytes)
    const wanting = copies.map(({ beginsAt, paced: { governor } }) =>
      ms < beginsAt || ms < 0 ? 0 : governor.rateBps,
    )
    const got = fairly(wanting, left)
    const load = (cap - left + got.reduce((sum, each) => sum + each, 0)) / cap
    // What is on its way stays in the queue for a moment.
    share += (Math.min(0.995, load) - share) * 0.15
    for (const [i, copy] of copies.entries()) {
      copy.bytes += ((got[i] ?? 0) * stepMs) / 1000
      copy.usedBps += ((got[i] ?? 0) - copy.usedBps) * 0.04
    }
    for (const [i, client] of clients.entries()) {
      due[i] = (due[i] ?? 0) + (demand[i] ?? 0) * (stepMs / 1000)
      // Arrivals are no clockwork.
      while ((due[i] ?? 0) > random()) {
        due[i] = (due[i] ?? 0) - 1
        const alone = service() * (client.noise?.(ms) ?? 1)
        const took = alone * queueing(share)
        aloneOf[i]?.push(alone)
        if (ms >= 0) answered[i]?.push({ at: ms, ms: took })
        const bin = Math.ceil((Math.log10(took * 1e6) - 4.5) * 8)
        const own = counts[i] as number[]
        const at = Math.min(own.length - 1, Math.max(0, bin))
        own[at] = (own[at] ?? 0) + 1
      }
    }
    if (ms % everyMs !== 0) continue
    tracks = new Map([...tracks].map(([name, track], i) => [name, withSnapshot(track, ms, latencyOf(i))]))
    if (ms === 0 && warmUpMs > 0) {
      tracks = new Map([...tracks].map(([name, track]) => [name, withBaseline(track, -warmUpMs)]))
    }
    if (ms < 0 || model.governed === false) continue
    const told: Told[] = []
    for (const copy of copies) {
      if (ms < copy.beginsAt) continue
      const { leastBps, usedBps } = copy
      const going = copies
        .filter(({ beginsAt }) => ms >= beginsAt)
        .map(({ id, weight, usedBps: used, paced: { governor } }) => ({
          ...{ id, weight, usedBps: used },
          rateBps: governor.rateBps,
        }))
      const fairBps = fairPart(copy.id, going)
      const verdict = paced(copy.paced, { now: ms, pace, clients: tracks, usedBps, leastBps, fairBps })
      copy.paced = verdict.copy
      tracks = verdict.clients
      told.push(verdict.told)
    }
    const limits = copies.map(({ paced: { governor } }) => governor.rateBps)
    looks.push({ ms, limits, used: copies.map(({ usedBps }) => usedBps), told })
  }
  return { looks, answered, bytes: copies.map(({ bytes }) => bytes), aloneMs: aloneOf.map(p99) }
}

/** Everybody gets what he wants, or an equal share of what is left. */
function fairly(wanting: readonly number[], all: number): number[] {
  const got = wanting.map(() => 0)
  let left = all
  let open = wanting.map((_want, i) => i)
  while (open.length > 0 && left > 1) {
    const each = left / open.length
    const content = open.filter((i) => (wanting[i] ?? 0) <= each)
    for (const i of content.length > 0 ? content : open) {
      got[i] = content.length > 0 ? (wanting[i] ?? 0) : each
      left -= got[i] ?? 0
    }
    if (content.length === 0) break
    open = open.filter((i) => !content.includes(i))
  }
  return got
}

export function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length * 0.99)] ?? 0
}

/** The 99th percentile of a client between two times. */
export const p99Between = (run: DiskRun, client: number, from: number, to: number): number =>
  p99((run.answered[client] ?? []).filter(({ at }) => at >= from && at < to).map(({ ms }) => ms))

/** What a copy got between two times, on average. Bytes per second. */
export function usedBetween(run: DiskRun, copy: number, from: number, to: number): number {
  const seen = run.looks.filter(({ ms }) => ms >= from && ms < to).map(({ used }) => used[copy] ?? 0)
  return seen.reduce((sum, each) => sum + each, 0) / Math.max(1, seen.length)
}

/** How often, in a minute, the limit of a run's first copy turns by a tenth or more: noise of a percent is no oscillation. */
export function turnsIn({ looks }: DiskRun, fromMs: number, toMs: number): number {
  const limits = looks.filter(({ ms }) => ms >= fromMs && ms < toMs).map(({ limits }) => limits[0] ?? 0)
  let [turns, direction, from] = [0, 0, limits[0] ?? 0]
  for (const limit of limits) {
    const way = limit > from * 1.1 ? 1 : limit < from / 1.1 ? -1 : 0
    if (way === 0) continue
    if (direction !== 0 && way !== direction) turns += 1
    direction = way
    from = limit
  }
  return (turns * 60_000) / (toMs - fromMs)
}
