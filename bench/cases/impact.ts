import { setTimeout as sleep } from 'node:timers/promises'
import { oneMachine } from '../../test/crash/world.ts'
import { openPlane, type Plane } from '../../test/migration/plane.ts'
import { row, spreadOf, type BenchCase, type BenchContext, type Measured, type Row } from '../bench-case.ts'
import type { Chart, Panel, RangeFigure } from '../chart/chart.ts'
import { median, monotonicMs, ratios } from '../measure.ts'
import { together, type Waits } from '../rig/guest-waits.ts'
import { ratesOf } from '../rig/image-growth.ts'
import { bootLoaded, startBareLoaded, type LoadedGuest, type LoadOptions } from '../rig/loaded-guest.ts'
import { processorSeconds } from '../rig/processor-time.ts'

const gibibyte = 2 ** 30
const rates = [500, 2000]
/** What is measured before a copy begins, and after it is over. */
const beforeMs = 2000
const afterMs = 1000
/** Until a guest that stood still has its rate again. */
const warmMs = 700

const ways = ['governed', 'full', 'bare'] as const
type Way = (typeof ways)[number]
const names: Record<Way, string> = {
  governed: 'Volant, governed (2 × baseline)',
  full: 'Volant, full speed',
  bare: 'bare QMP mirror',
}

/** One copy, and what the guest felt. */
interface Felt {
  before: Waits
  during: Waits
  after: Waits
  copyMs: number
  /** From the request to the end. */
  totalMs: number
  /** Processor seconds of the daemons for each GiB, beyond what as many requests cost without the copy. */
  processor: number
  /** Seconds from the copy's beginning, and MiB/s. */
  rates: [number, number][]
  /** Seconds from the copy's beginning, and the p99 of what ended just before, milliseconds. */
  p99s: [number, number][]
}

/** What a guest with a fixed rate of requests feels of a copy of its disk, governed and not, beside bare QEMU. */
export const impact: BenchCase = {
  name: 'impact',
  title: 'What a guest feels of a copy',
  async run(context) {
    process.env['NODE_COMPILE_CACHE'] ??= `${import.meta.dirname}/../../.cache/node`
    const plane = await openPlane(
      (stateDir) =>
        `${oneMachine(`${stateDir}/lma/aggr1`, `${stateDir}/lmb/aggr1`)}migration: { retention: 1s }\ncopy: { pace: 2x }\n`,
    )
    const found: Measured = { rows: [], charts: [], omissions: [] }
    try {
      const begun = performance.now()
      for (const [i, iops] of rates.entries()) {
        const share = begun + ((context.deadline - begun) * (i + 1)) / rates.length
        await measure({ plane, iops, until: share, context, found })
      }
      return found
    } finally {
      await plane.close()
    }
  },
}

interface Order {
  plane: Plane
  iops: number
  /** `performance.now()`. */
  until: number
  context: BenchContext
  found: Measured
}

async function measure({ plane, iops, until, context, found }: Order): Promise<void> {
  const { quick, say, folder } = context
  const options: LoadOptions = { iops, sizeBytes: gibibyte }
  const { compute_hosts: hosts } = await plane.client.ndo.status()
  const accelerator = hosts[0]?.accelerator === 'kvm' ? 'kvm' : 'tcg'
  say(`${iops} requests/s: two guests, with ${options.sizeBytes / gibibyte} GiB each`)
  const volant = await bootLoaded(plane, options)
  await volant.pause()
  const bare = await startBareLoaded(folder, `bare-${iops}`, { ...options, accelerator })
  try {
    await bare.pause()
    const one = (way: Way) => async (): Promise<Felt> => {
      const guest = way === 'bare' ? bare : volant
      const felt = await copyOnce(guest, options, way === 'bare' ? undefined : way === 'full' ? 'full' : '2x')
      say(`${iops}/s ${way}: ${felt.copyMs.toFixed(0)} ms, ${textOf(felt)}`)
      return felt
    }
    const results: Record<Way, Felt[]> = { governed: [], full: [], bare: [] }
    const [rows, charts] = [found.rows, found.charts ?? []]
    for (let round = 0; round < (quick ? 2 : 5); round += 1) {
      // A round that has begun is ended: fewer of them are better than none with all three.
      if (round > 1 && performance.now() > until) break
      for (let turn = 0; turn < ways.length; turn += 1) {
        const way = ways[(round + turn) % ways.length] as Way
        try {
          results[way].push(await one(way)())
        } catch (error) {
          const why = `${names[way]} beside ${iops} requests/s, round ${round + 1}: ${error instanceof Error ? error.message : String(error)}`
          say(`FAILED: ${why}`)
          found.omissions?.push(why)
        }
      }
      found.rows = [...rows, ...rowsOf(iops, results, options)]
      found.charts = [...charts, ...chartsOf(iops, results)]
      context.keep(found)
    }
  } finally {
    await bare.stop()
    await volant.pause().catch(() => {})
  }
}

const textOf = ({ before, during }: Felt): string =>
  `p99 ${before.quantile(0.99).toFixed(1)} then ${during.quantile(0.99).toFixed(1)} ms, ${during.count} requests`

async function copyOnce(guest: LoadedGuest, options: LoadOptions, pace: string | undefined): Promise<Felt> {
  await guest.resume()
  await sleep(warmMs)
  const waits = guest.watch()
  try {
    const daemons = await guest.daemons()
    const [watched, usedAtFirst] = [monotonicMs(), processorSeconds(daemons)]
    await sleep(beforeMs)
    const [begun, usedBefore] = [monotonicMs(), processorSeconds(daemons)]
    const { from, to, over, totalMs, growth, settled } = await guest.copy(pace)
    const usedAfter = processorSeconds(daemons)
    await sleep(afterMs)
    // The last line of the guest.
    await sleep(250)
    const before = waits.between(watched, begun)
    const perRequest = (usedBefore - usedAtFirst) / Math.max(1, before.count)
    const cost = usedAfter - usedBefore - perRequest * waits.between(begun, over).count
    await settled()
    return {
      before,
      ...{ during: waits.between(from, to), after: waits.between(over, over + afterMs) },
      ...{ copyMs: to - from, totalMs, processor: cost / (options.sizeBytes / gibibyte) },
      rates: ratesOf(growth).map(([at, rate]) => [(at - from) / 1000, rate]),
      p99s: waits
        .lines()
        .filter((line) => line.waits.count > 0)
        .map((line) => [(line.at - from) / 1000, line.waits.quantile(0.99)]),
    }
  } finally {
    waits.stop()
    await guest.pause()
  }
}

const digits = (value: number): string => value.toFixed(value < 10 ? 2 : 1)

function rowsOf(iops: number, results: Record<Way, Felt[]>, options: LoadOptions): Row[] {
  const load = `${iops} requests/s`
  const mib = options.sizeBytes / 2 ** 20
  const rows: Row[] = []
  for (const way of ways) {
    const felt = results[way]
    if (felt.length === 0) continue
    const [before, during, after] = [
      together(felt.map((one) => one.before)),
      together(felt.map((one) => one.during)),
      together(felt.map((one) => one.after)),
    ]
    const quantiles = (waits: Waits): string =>
      [0.5, 0.99, 0.999].map((fraction) => digits(waits.quantile(fraction))).join(' / ')
    const factors = felt.map((one) => one.during.quantile(0.99) / one.before.quantile(0.99))
    rows.push(
      row({
        name: `${names[way]}, ${load}: guest p99 while copying ÷ before`,
        value: median(factors),
        unit: '×',
        spread: spreadOf(factors),
        ...(way === 'governed' ? { target: '<= 2' } : {}),
        note: `p50 / p99 / p99.9 before ${quantiles(before)} ms, while ${quantiles(during)} ms, after ${quantiles(after)} ms; ${achieved(felt)}; the whole took ${digits(median(felt.map(({ totalMs }) => totalMs)) / 1000)} s`,
        detail: {
          p99BeforeMs: felt.map((one) => one.before.quantile(0.99)),
          p99WhileMs: felt.map((one) => one.during.quantile(0.99)),
          requestsWhile: felt.map((one) => one.during.count),
        },
      }),
      speedRow(
        `${names[way]}, ${load}: copy speed`,
        felt.map(({ copyMs }) => mib / (copyMs / 1000)),
      ),
      row({
        name: `${names[way]}, ${load}: processor time of the copy`,
        value: median(felt.map(({ processor }) => processor)),
        unit: 's/GiB',
        spread: spreadOf(felt.map(({ processor }) => processor)),
        ...(way === 'governed'
          ? {
              note: 'of the storage daemons and the control plane, beyond what as many requests cost without the copy',
            }
          : {}),
      }),
    )
  }
  return [...rows, ...comparisons(load, iops, results)]
}

/** How much of its rate the guest got. */
function achieved(felt: Felt[]): string {
  const perSecond = (pick: (one: Felt) => number): number => Math.round(median(felt.map(pick)))
  const before = perSecond((one) => one.before.count / (beforeMs / 1000))
  const during = perSecond((one) => one.during.count / (one.copyMs / 1000))
  return `${before} requests/s were answered before, ${during} while copying`
}

const speedRow = (name: string, speeds: number[]): Row =>
  row({ name, value: median(speeds), unit: 'MiB/s', spread: spreadOf(speeds, 0) })

function comparisons(load: string, iops: number, { governed, full, bare }: Record<Way, Felt[]>): Row[] {
  const speed = (felt: Felt[]) => felt.map(({ copyMs }) => 1 / copyMs)
  const compare = (name: string, felt: Felt[], reference: Felt[], target?: string): Row[] => {
    const count = Math.min(felt.length, reference.length)
    if (count === 0) return []
    const found = ratios(speed(felt).slice(0, count), speed(reference).slice(0, count))
    const wanted = target === undefined ? {} : { target }
    return [
      row({ name: `${name}, ${load}`, value: median(found), unit: '×', spread: spreadOf(found), ...wanted }),
    ]
  }
  return [
    ...compare('Copy speed, governed ÷ full speed', governed, full, iops === 500 ? '>= 0.6' : undefined),
    ...compare('Copy speed, governed ÷ bare QMP mirror', governed, bare),
    ...compare('Copy speed, full speed ÷ bare QMP mirror', full, bare),
  ]
}

function chartsOf(iops: number, results: Record<Way, Felt[]>): Chart[] {
  const present = ways.filter((way) => results[way].length > 0)
  if (present.length === 0) return []
  const figure = (name: string, felt: Felt[], pick: (one: Felt) => Waits, fraction: number): RangeFigure => {
    const each = felt.map((one) => pick(one).quantile(fraction))
    return {
      name,
      value: together(felt.map(pick)).quantile(fraction),
      range: [Math.min(...each), Math.max(...each)],
    }
  }
  const first = (way: Way): Felt => results[way][0] as Felt
  return [
    {
      kind: 'ranges',
      title: `Latency of a guest's ${iops} requests/s before, while and after its disk is copied`,
      unit: 'ms',
      caption: 'As the guest measures it. Dot: of all rounds together. Bar: least to largest of the rounds.',
      groups: [0.5, 0.99, 0.999].map((fraction) => ({
        name: `p${fraction * 100}`,
        figures: present.flatMap((way) => [
          figure(`before: ${names[way]}`, results[way], (one) => one.before, fraction),
          figure(`while: ${names[way]}`, results[way], (one) => one.during, fraction),
          figure(`after: ${names[way]}`, results[way], (one) => one.after, fraction),
        ]),
      })),
    },
    {
      kind: 'time',
      title: `p99 of each fifth of a second, ${iops} requests/s, the first round`,
      caption: `Each copy begins at second ${beforeMs / 1000}; marked is how long each took.`,
      panels: present.flatMap((way) => panelsOf(way, first(way))),
    },
  ]
}

/** The copy begins at second `beforeMs`. */
function panelsOf(way: Way, { copyMs, p99s, rates }: Felt): Panel[] {
  const begin = beforeMs / 1000
  const shifted = (points: [number, number][]): [number, number][] =>
    points.map(([at, value]): [number, number] => [at + begin, value]).filter(([at]) => at >= 0)
  const spans = [{ name: 'copy', from: begin, to: begin + copyMs / 1000 }]
  const panel = (name: string, unit: string, points: [number, number][]): Panel => ({
    ...{ name: `${names[way]}: ${name}`, unit, spans, log: unit === 'ms' },
    series: [{ name: names[way], points: shifted(points) }],
  })
  return [panel('p99', 'ms', p99s), panel('rate of the copy', 'MiB/s', rates)]
}
