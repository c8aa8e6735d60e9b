/**
 * The governor of all copies of this control plane: it looks at what their clients wait for, and says how fast each copy
 * may go. The law is in `domain/governor.ts`; docs/protocol/governor.md has it in prose. One class, over 400 lines: copies share
 * disks and clients, and what is known of one is needed for the others.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { newTrack, observed, withBaseline, withSnapshot, type ClientTrack } from '../domain/client-latency.ts'
import { fairPart, shareOut } from '../domain/copy-budget.ts'
import type { CopySettings } from '../domain/copy-settings.ts'
import { usedOf, wantOf, withUse, type CopyUse } from '../domain/copy-use.ts'
import { newPacedCopy, paced, type PacedCopy, type PaceVerdict } from '../domain/paced-copy.ts'
import {
  paceText,
  parsePace,
  parsePriority,
  weights,
  type Pace,
  type Priority,
} from '@volant/contract/ndo/pace.ts'
import { latencyReason, ratePerSecond } from '../domain/pace-reason.ts'
import { newSeries, withPoint, type PaceLimit, type PaceSeries } from '../domain/pace-view.ts'
import type { Agents } from '../ports/agents.ts'
import type { Clock } from '../ports/clock.ts'
import type { CopyPace, CopySeen, CopyToPace, FeltClients, Paced } from '../ports/copy-pace.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import { ClientSampler, type VolumeClient } from './client-sampler.ts'

const mib = 1024 ** 2

/** How many other clients of the same disks are asked. */
const mostOthers = 8
/** Who they are is looked up anew after so long. Milliseconds. */
const othersMs = 10_000
/** How long a copy's client is looked at before it starts, and how long where it does nothing. Milliseconds. */
const [baselineMs, idleMs] = [1000, 300]
/** Between two looks at it meanwhile. Milliseconds. */
const measuredEveryMs = 50
/** So many requests are enough for a baseline. */
const enoughRequests = 400
/** A copy that was not looked at for so long is over, or stands still. Milliseconds. */
const goneMs = 5000
/** And is forgotten after so long, and so are clients that nobody asked for. Milliseconds. */
const forgottenMs = 60_000
/** Two looks within this time are one: a step of the law needs some requests. Milliseconds. */
const stepMs = 200

/** How far a copy begins above its floor; and at which share of what the latest one between the same places had. */
const [beginAtFloors, beginAtLately] = [8, 0.5]
/** What is kept of that at a look at which it has less; for how long it is remembered, milliseconds. */
const latelyKept = 0.9
const latelyMs = 10 * 60_000

/** Of a mirror, in flight. With a MiB reading and writing take turns, which its client feels least. */
const [sparingBytes, fastBytes] = [mib, 4 * mib]

/** Before the answer has its own. */
const noSeries = newSeries(new Date(0))

interface Entry {
  copy: PacedCopy
  /** The latest answer; null: there was none yet. */
  paced: Paced | null
  steppedAt: number
  lookedAt: number
  places: string[]
  nodes: string[]
  weight: number
  isPaused: boolean
  /** Its client did something as it began, or it is not known what. */
  isSparing: boolean
  use: CopyUse
  clients: { at: number; found: VolumeClient[] } | null
  /** Null: what an earlier process has put on record is not looked up yet. */
  series: PaceSeries | null
}

interface KnownClient {
  track: ClientTrack
  askedAt: number
}

export interface CopyGovernorParts {
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  felt: FeltClients
  agents: Pick<Agents, 'compute' | 'shares'>
  settings: CopySettings
  clock: Clock
  /** What an earlier process has put on record of the copy's pace; undefined: nothing. */
  earlier: (operationId: string) => Promise<PaceSeries | undefined>
  log?: Pick<Logger, 'warn'>
  /** Milliseconds, from a clock that does not jump. */
  monotonic: () => number
  /** For tests. */
  pause?: (ms: number) => Promise<unknown>
}

export function createCopyGovernor(parts: CopyGovernorParts): CopyPace {
  return new CopyGovernor(parts)
}

class CopyGovernor implements CopyPace {
  readonly #parts: CopyGovernorParts
  readonly #sampler: ClientSampler
  readonly #entries = new Map<string, Entry>()
  /** By volume. */
  readonly #clients = new Map<string, KnownClient>()
  /** By places: what a copy got through there beside a client, when it was last looked at. */
  readonly #lately = new Map<string, { at: number; bps: number }>()

  constructor(parts: CopyGovernorParts) {
    this.#parts = parts
    this.#sampler = new ClientSampler(parts.agents, parts.monotonic)
  }

  async begin(copy: CopyToPace): Promise<number> {
    const { settings, monotonic } = this.#parts
    const pace = this.#paceOf(copy)
    const bound = copy.control.rate ?? 0
    if (pace.kind === 'full') return bound
    if (pace.kind === 'rate') return least(pace.bps, bound)
    // Nobody looked, perhaps for hours.
    this.#tidy(monotonic())
    const entry = this.#entry(copy, settings.floorBps)
    const { clients, unknown } = await this.#look(copy, entry)
    const isBusy = await this.#measure(copy, entry, clients)
    entry.isSparing = isBusy || unknown !== null
    if (unknown !== null) return least(settings.blindBps, bound)
    const lately = this.#lately.get(placesOf(entry))?.bps ?? 0
    const startBps = isBusy ? Math.max(settings.floorBps * beginAtFloors, lately * beginAtLately) : Infinity
    entry.copy = newPacedCopy(startBps, monotonic())
    return startBps === Infinity ? bound : least(Math.round(startBps), bound)
  }

  inFlightBytes(copy: CopyToPace): number | undefined {
    const { kind } = this.#paceOf(copy)
    if (kind === 'full') return fastBytes
    const isSparing =
      kind !== 'rate' && copy.volumeId !== null && this.#entries.get(copy.id)?.isSparing === true
    return isSparing ? sparingBytes : undefined
  }

  async at(copy: CopyToPace, seen: CopySeen): Promise<Paced> {
    const now = this.#parts.monotonic()
    const entry = this.#entry(copy, this.#parts.settings.floorBps)
    entry.lookedAt = now
    entry.isPaused = copy.control.paused
    entry.weight = weights[priorityOf(copy)]
    if (entry.paced !== null && now - entry.steppedAt < stepMs) return entry.paced
    entry.steppedAt = now
    entry.use = withUse(entry.use, { at: now, doneBytes: seen.doneBytes, movedBytes: seen.movedBytes })
    const answer = this.#bounded(copy, entry, await this.#wanted(copy, entry, seen))
    const series = entry.series ?? (await this.#earlier(copy.id))
    const seconds = (this.#parts.clock.now().getTime() - Date.parse(series.startedAt)) / 1000
    entry.series = withPoint(series, seconds, answer.view)
    entry.paced = { ...answer, view: { ...answer.view, series: entry.series } }
    this.#tidy(now)
    return entry.paced
  }

  end(operationId: string): void {
    this.#entries.delete(operationId)
  }

  /** Only for the record: a store that does not answer is no reason to fail. */
  async #earlier(operationId: string): Promise<PaceSeries> {
    const found = await this.#parts.earlier(operationId).catch(() => undefined)
    return found ?? newSeries(this.#parts.clock.now())
  }

  /** What its pace alone asks for. */
  async #wanted(copy: CopyToPace, entry: Entry, seen: CopySeen): Promise<Paced> {
    const { settings } = this.#parts
    const pace = this.#paceOf(copy)
    const view = {
      policy: paceText(pace),
      priority: priorityOf(copy),
      p99Ms: null,
      boundMs: null,
      baselineMs: null,
    }
    const told = (rateBps: number, limitedBy: PaceLimit, reason: string): Paced => ({
      rate: rateBps === Infinity ? 0 : Math.max(1, Math.round(rateBps)),
      isGoverned: false,
      view: {
        ...view,
        limitBps: rateBps === Infinity ? null : Math.round(rateBps),
        limitedBy,
        reason,
        series: noSeries,
      },
    })
    if (pace.kind === 'full' || pace.kind === 'rate') {
      const rateBps = pace.kind === 'full' ? Infinity : pace.bps
      entry.copy = newPacedCopy(rateBps, this.#parts.monotonic())
      return pace.kind === 'full'
        ? told(rateBps, 'none', 'it goes as fast as it can, as it was asked for')
        : told(rateBps, 'rate', 'a fixed rate, as it was asked for')
    }
    const { clients, unknown } = await this.#look(copy, entry)
    if (unknown !== null) {
      const reason = `what its client waits for can't be found out (${unknown}): a fixed rate meanwhile`
      return told(Math.max(settings.blindBps, seen.leastBps ?? 0), 'unknown', reason)
    }
    const verdict = this.#step(copy, entry, seen, pace, clients)
    const leastBps = Math.max(settings.floorBps, seen.leastBps ?? 0)
    const { rateBps } = verdict
    const isAtFloor = rateBps <= leastBps * 1.01
    const reason = latencyReason({
      told: verdict.told,
      volumeId: copy.volumeId,
      isAtFloor,
      floorBps: leastBps,
      isRaised: leastBps > settings.floorBps && isAtFloor,
      isShaped: seen.isShaped === true,
    })
    const answer = told(rateBps, rateBps === Infinity ? 'none' : 'latency', reason)
    const { p99Ms, boundMs, baselineMs: baseline } = verdict.told
    return {
      ...answer,
      isGoverned: rateBps !== Infinity,
      view: { ...answer.view, p99Ms, boundMs, baselineMs: baseline },
    }
  }

  #step(
    copy: CopyToPace,
    entry: Entry,
    seen: CopySeen,
    pace: Extract<Pace, { kind: 'times' | 'ms' }>,
    clients: readonly VolumeClient[],
  ): PaceVerdict {
    const asked =
      seen.isShaped === true ? clients.filter(({ volumeId }) => volumeId !== copy.volumeId) : clients
    const neighbours = this.#going(this.#parts.monotonic()).filter(
      ([, { places, isPaused }]) => !isPaused && places.some((place) => entry.places.includes(place)),
    )
    const now = this.#parts.monotonic()
    const usedBps = usedOf(entry.use, entry.copy.governor.rateBps, stepMs)
    const verdict = paced(entry.copy, {
      now,
      pace,
      clients: this.#tracks(asked),
      usedBps,
      leastBps: Math.max(this.#parts.settings.floorBps, seen.leastBps ?? 0),
      fairBps: fairPart(
        copy.id,
        neighbours.map(([id, { weight, use, copy: other }]) => {
          const { rateBps } = other.governor
          return { id, weight, rateBps, usedBps: usedOf(use, rateBps, stepMs) }
        }),
      ),
    })
    entry.copy = verdict.copy
    const { state } = verdict.told
    if (usedBps !== null && (state === 'under' || state === 'steady')) {
      const places = placesOf(entry)
      // At its end a copy has little left to do.
      const former = (this.#lately.get(places)?.bps ?? 0) * latelyKept
      this.#lately.set(places, { at: now, bps: Math.max(former, Math.min(usedBps, verdict.rateBps)) })
    }
    for (const [volumeId, track] of verdict.clients) {
      const known = this.#clients.get(volumeId)
      if (known !== undefined) known.track = track
    }
    return verdict
  }

  /** The operator's rate, and its part of what its nodes have for copies: both are upper bounds in addition. */
  #bounded(copy: CopyToPace, entry: Entry, wanted: Paced): Paced {
    const { nodeBudgetBps } = this.#parts.settings
    let answer = wanted
    const lower = (bps: number, limitedBy: PaceLimit, reason: string): void => {
      if (answer.rate !== 0 && answer.rate <= bps) return
      const rate = Math.max(1, Math.floor(bps))
      answer = { rate, isGoverned: false, view: { ...answer.view, limitBps: rate, limitedBy, reason } }
    }
    if (nodeBudgetBps > 0) {
      const going = this.#going(this.#parts.monotonic())
      for (const node of entry.nodes) {
        const sharers = going
          .filter(([, { nodes, isPaused }]) => nodes.includes(node) && !isPaused)
          .map(([id, other]) => ({
            id,
            weight: other.weight,
            wantBps: wantOf(other.use, other.copy.governor.rateBps, stepMs),
          }))
        const part = shareOut(nodeBudgetBps, sharers).get(copy.id) ?? nodeBudgetBps
        const all = `copies of node ${node} have ${ratePerSecond(nodeBudgetBps)} together`
        lower(part, 'budget', sharers.length > 1 ? `${all}, and are ${sharers.length}` : all)
      }
    }
    if (copy.control.rate !== null) lower(copy.control.rate, 'rate', 'the rate that it was given at the most')
    return answer
  }

  #paceOf({ control }: CopyToPace): Pace {
    return control.pace === null ? this.#parts.settings.pace : parsePace(control.pace)
  }

  #entry({ id, from, to }: CopyToPace, rateBps: number): Entry {
    const { monotonic } = this.#parts
    const found = this.#entries.get(id)
    if (found !== undefined) return found
    const now = monotonic()
    const entry: Entry = {
      copy: newPacedCopy(rateBps, now),
      paced: null,
      steppedAt: -Infinity,
      lookedAt: now,
      places: [...new Set([from, to].map(({ node, aggregate }) => `${node}/${aggregate}`))],
      nodes: [...new Set([from.node, to.node])],
      weight: 1,
      isPaused: false,
      isSparing: true,
      use: [],
      clients: null,
      series: null,
    }
    this.#entries.set(id, entry)
    return entry
  }

  #going(now: number): [string, Entry][] {
    return [...this.#entries].filter(([, { lookedAt }]) => now - lookedAt < goneMs)
  }

  /** Asks all clients once. `unknown`: why the copy's own can't be found out; null: it can, or there is none. */
  async #look(
    copy: CopyToPace,
    entry: Entry,
    agedMs?: number,
  ): Promise<{ clients: VolumeClient[]; unknown: string | null }> {
    try {
      const clients = await this.#clientsOf(copy, entry)
      let unknown: string | null = null
      const present: VolumeClient[] = []
      await Promise.all(
        clients.map(async (client) => {
          const reading = await this.#sampler.read(client, agedMs)
          if (reading.is === 'unknown' && client.volumeId === copy.volumeId) unknown = reading.reason
          if (reading.is !== 'read') return
          present.push(client)
          const known = this.#clients.get(client.volumeId) ?? { track: newTrack(), askedAt: reading.at }
          this.#clients.set(client.volumeId, known)
          known.askedAt = this.#parts.monotonic()
          // Several copies ask for one client, and have one answer.
          if (known.track.snapshots.at(-1)?.at === reading.at) return
          known.track = withSnapshot(known.track, reading.at, reading.latency)
        }),
      )
      return { clients: present, unknown }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#parts.log?.warn({ operationId: copy.id, reason }, 'clients of a copy are not known')
      return { clients: [], unknown: reason }
    }
  }

  async #clientsOf({ volumeId, from, to }: CopyToPace, entry: Entry): Promise<VolumeClient[]> {
    const { attachments, felt, monotonic } = this.#parts
    if (entry.clients !== null && monotonic() - entry.clients.at < othersMs) return entry.clients.found
    const own = volumeId === null ? [] : await attachments.ofVolume(volumeId)
    const others = await felt.at([from, to], volumeId, mostOthers)
    const found = [
      ...own.flatMap(({ host, serverId, shareId }) =>
        host === null || volumeId === null ? [] : [{ volumeId, host, serverId, shareId }],
      ),
      ...others,
    ]
    entry.clients = { at: monotonic(), found }
    return found
  }

  /** Whether anybody works now; and a moment without the copy, for those of whom it is not known yet what they wait for then. */
  async #measure(copy: CopyToPace, entry: Entry, clients: readonly VolumeClient[]): Promise<boolean> {
    if (clients.length === 0) return false
    const { monotonic } = this.#parts
    const since = monotonic()
    if (clients.every((client) => this.#wasIdle(client, since))) return false
    const isNew = ({ volumeId }: VolumeClient): boolean =>
      this.#clients.get(volumeId)?.track.referenceMs === null
    // Whoever is beside another copy now is measured later: this is no moment without one. But whether he works is seen.
    const isMoment = clients.some(isNew) && !this.#hasNeighbours(copy.id, entry)
    let isBusy = false
    for (;;) {
      await (this.#parts.pause ?? sleep)(measuredEveryMs)
      await this.#look(copy, entry, measuredEveryMs / 2)
      const requests = clients.map(({ volumeId }) => {
        const track = this.#clients.get(volumeId)?.track
        return track === undefined ? 0 : (observed(track, since - stepMs)?.requests ?? 0)
      })
      isBusy = requests.some((count) => count > 0)
      // That somebody works is seen in a moment; that nobody does is not.
      if (isBusy && !isMoment) break
      const elapsed = monotonic() - since
      if (elapsed >= baselineMs || requests.every((count) => count >= enoughRequests)) break
      if (elapsed >= idleMs && (!isMoment || !isBusy)) break
    }
    for (const client of isMoment ? clients : []) {
      const known = this.#clients.get(client.volumeId)
      if (known !== undefined && isNew(client)) known.track = withBaseline(known.track, since - stepMs)
    }
    return isBusy
  }

  /** Whoever did nothing of late, for as long as it is looked at here, as another copy has seen: nobody waits for that twice. */
  #wasIdle({ volumeId }: VolumeClient, now: number): boolean {
    const track = this.#clients.get(volumeId)?.track
    const seen = track === undefined ? null : observed(track, now - baselineMs)
    return seen !== null && seen.ms >= idleMs && seen.requests === 0
  }

  #hasNeighbours(id: string, { places }: Entry): boolean {
    return this.#going(this.#parts.monotonic()).some(
      ([other, entry]) =>
        other !== id && !entry.isPaused && entry.places.some((place) => places.includes(place)),
    )
  }

  #tracks(clients: readonly VolumeClient[]): Map<string, ClientTrack> {
    return new Map(
      clients.flatMap(({ volumeId }) => {
        const track = this.#clients.get(volumeId)?.track
        return track === undefined ? [] : [[volumeId, track] as const]
      }),
    )
  }

  #tidy(now: number): void {
    this.#sampler.tidy()
    for (const [id, { lookedAt }] of this.#entries) if (now - lookedAt > forgottenMs) this.#entries.delete(id)
    for (const [id, { askedAt }] of this.#clients) if (now - askedAt > forgottenMs) this.#clients.delete(id)
    for (const [places, { at }] of this.#lately) if (now - at > latelyMs) this.#lately.delete(places)
  }
}

/** There and back are the same disks. */
const placesOf = ({ places }: Entry): string => places.toSorted().join(' ')

const priorityOf = ({ control }: CopyToPace): Priority =>
  control.priority === null ? 'normal' : parsePriority(control.priority)

/** The lower of two rates, the second of which is 0 where there is none. */
const least = (bps: number, bound: number): number => (bound === 0 ? bps : Math.min(bps, bound))
