import { setTimeout as sleep } from 'node:timers/promises'
import { oneMachine } from '../../test/crash/world.ts'
import { filledVolume, limitOf, startToOther, targetOf } from '../../test/migration/copies-at-once.ts'
import { ended, openPlane, until, type Plane } from '../../test/migration/plane.ts'
import { row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { median, monotonicMs } from '../measure.ts'
import { together, type Waits } from '../rig/guest-waits.ts'
import { watchGrowth, type Growth, type GrowthWatch } from '../rig/image-growth.ts'
import { bootLoaded, type LoadedGuest } from '../rig/loaded-guest.ts'

const mib = 2 ** 20
const priorities = ['high', 'normal', 'low']
const weightsOf = [4, 2, 1]
/** What the copies of a node have together, MiB/s, and how much each of three has to copy, MiB. */
const [budgetMiB, budgetedMiB] = [112, 176]
/** Beside a guest, without a budget: how much each of two has to copy, MiB, and what the guest does. */
const [besideMiB, iops] = [1280, 500]
/** What is measured of the guest before copies begin; when two have come to their parts; how long those are measured. */
const [beforeMs, fairAfterMs, measuredMs] = [1000, 3500, 2500]
/** Until a guest that stood still has its rate again. */
const warmMs = 700

/** Several copies of one node share a budget, or what the client of one disk leaves them, by priority. */
export const copiesTogether: BenchCase = {
  name: 'copies-together',
  title: 'Several copies at once',
  async run(context) {
    process.env['NODE_COMPILE_CACHE'] ??= `${import.meta.dirname}/../../.cache/node`
    const begun = performance.now()
    const half = begun + (context.deadline - begun) * 0.36
    const budgeted = await onPlane(`{ pace: full, node_budget: ${budgetMiB}MiB/s }`, (plane) =>
      measureBudget(plane, context, half),
    )
    context.keep({ rows: budgeted })
    const beside = await onPlane('{ pace: 2x }', (plane) => measureBeside(plane, context))
    return [...budgeted, ...beside]
  },
}

async function onPlane<T>(copy: string, task: (plane: Plane) => Promise<T>): Promise<T> {
  const plane = await openPlane(
    (dir) =>
      `${oneMachine(`${dir}/lma/aggr1`, `${dir}/lmb/aggr1`)}migration: { retention: 1s }\ncopy: ${copy}\n`,
  )
  try {
    return await task(plane)
  } finally {
    await plane.close()
  }
}

/** A copy that is under way, and how its target grows. */
interface Going {
  operationId: string
  growth: GrowthWatch
}

const startAll = (
  plane: Plane,
  volumes: readonly string[],
  wishes: readonly string[],
  dataMiB: number,
): Promise<Going[]> =>
  Promise.all(
    volumes.map(async (volumeId, i) => {
      const growth = watchGrowth(() => targetOf(plane, volumeId), dataMiB * mib)
      return { operationId: await startToOther(plane, volumeId, wishes[i] ?? ''), growth }
    }),
  )

const bytesAt = (points: Growth, at: number): number => points.findLast(([when]) => when <= at)?.[1] ?? 0

/** MiB of each between two instants. */
const grown = (copies: readonly Going[], from: number, to: number): number[] =>
  copies.map(({ growth: { points } }) => (bytesAt(points, to) - bytesAt(points, from)) / mib)

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)

interface Budgeted {
  /** MiB of each while all were under way. */
  parts: number[]
  /** What all of them did then, as a share of the budget; and till the last one had ended. */
  used: number
  usedToTheEnd: number
  /** What the records said of each then, MiB/s. */
  told: number[]
}

async function measureBudget(
  plane: Plane,
  { quick, say, keep }: BenchContext,
  deadline: number,
): Promise<Row[]> {
  const volumes: string[] = []
  for (const _one of priorities) volumes.push(await filledVolume(plane, 1, budgetedMiB))
  const found: Budgeted[] = []
  let rows: Row[] = []
  for (let round = 0; round < (quick ? 2 : 5); round += 1) {
    if (round > 1 && performance.now() > deadline) break
    const one = await shareBudget(plane, volumes)
    found.push(one)
    say(
      `budget: ${one.parts.map((part) => part.toFixed(0)).join(', ')} MiB; told ${one.told.map((part) => part.toFixed(0)).join(', ')} MiB/s; ${one.used.toFixed(2)} of the budget, to the end ${one.usedToTheEnd.toFixed(2)}`,
    )
    rows = budgetRows(found)
    keep({ rows })
  }
  return rows
}

async function shareBudget(plane: Plane, volumes: readonly string[]): Promise<Budgeted> {
  const copies = await startAll(plane, volumes, priorities, budgetedMiB)
  try {
    let told: number[] = []
    await until('each has its part', 30_000, async () => {
      const now = await Promise.all(copies.map(({ operationId }) => plane.client.ndo.operation(operationId)))
      told = now.map(limitOf)
      return told.every((limit, i) => Math.abs(limit / (weightsOf[i] ?? 0) / (budgetMiB / 7) - 1) < 0.02)
    })
    const from = monotonicMs()
    await Promise.all(copies.map(({ operationId }) => ended(plane, operationId)))
    const ranges = copies.map(({ growth }) => growth.range())
    const begun = Math.min(...ranges.map((range) => range.from))
    // When the first one has nothing left to be copied at its rate.
    const to = Math.min(...copies.map(({ growth }) => reached(growth.points, 0.95)))
    const parts = grown(copies, from, to)
    const over = Math.max(...ranges.map((range) => range.to))
    const perSecond = (amount: number, ms: number): number => amount / (ms / 1000) / budgetMiB
    return {
      parts,
      told,
      used: perSecond(sum(parts), to - from),
      usedToTheEnd: perSecond(budgetedMiB * copies.length, over - begun),
    }
  } finally {
    for (const { growth } of copies) growth.stop()
  }
}

/** When so much of it was there. */
const reached = (points: Growth, share: number): number =>
  points.find(([, bytes]) => bytes >= budgetedMiB * mib * share)?.[0] ?? Number.NaN

function budgetRows(found: readonly Budgeted[]): Row[] {
  const ratioRow = (name: string, ratios: number[], note?: string): Row =>
    row({
      name,
      value: median(ratios),
      unit: '×',
      spread: spreadOf(ratios),
      ...(note === undefined ? {} : { note }),
    })
  const part = ({ parts }: Budgeted, i: number): number => parts[i] ?? Number.NaN
  return [
    ratioRow(
      'A budget of three copies: priority high ÷ normal',
      found.map((one) => part(one, 0) / part(one, 1)),
      `by weight 2; bytes at the targets while all three were under way, at ${budgetMiB} MiB/s together`,
    ),
    ratioRow(
      '… normal ÷ low',
      found.map((one) => part(one, 1) / part(one, 2)),
      'by weight 2; a mirror goes by steps of 4 MiB',
    ),
    ratioRow(
      '… what all three do ÷ the budget',
      found.map(({ used }) => used),
    ),
    ratioRow(
      '… from the first byte to the last ÷ the budget',
      found.map(({ usedToTheEnd }) => usedToTheEnd),
      'with the ends of two of them: what one leaves the others have',
    ),
  ]
}

interface Beside {
  /** MiB of the one with priority high and of the other. */
  parts: number[]
  perSecond: number
  told: number[]
  before: Waits
  during: Waits
}

async function measureBeside(plane: Plane, { quick, say, keep, deadline }: BenchContext): Promise<Row[]> {
  const volumes = [await filledVolume(plane, 2, besideMiB), await filledVolume(plane, 2, besideMiB)]
  const guest = await bootLoaded(plane, { iops, sizeBytes: 2 ** 30 })
  await guest.pause()
  const found: Beside[] = []
  let rows: Row[] = []
  for (let round = 0; round < (quick ? 2 : 5); round += 1) {
    if (round > 1 && performance.now() > deadline) break
    // Each of them is the favoured one in turns: neither place nor image counts.
    const one = await shareDisk(plane, guest, round % 2 === 0 ? volumes : volumes.toReversed())
    found.push(one)
    say(
      `beside a guest: ${one.parts.map((part) => part.toFixed(0)).join(', ')} MiB, ${one.perSecond.toFixed(0)} MiB/s; told ${one.told.map((part) => part.toFixed(0)).join(', ')} MiB/s; p99 ${one.before.quantile(0.99).toFixed(1)}, then ${one.during.quantile(0.99).toFixed(1)} ms`,
    )
    rows = besideRows(found)
    keep({ rows })
  }
  return rows
}

async function shareDisk(plane: Plane, guest: LoadedGuest, volumes: readonly string[]): Promise<Beside> {
  await guest.resume()
  await sleep(warmMs)
  const waits = guest.watch()
  let copies: Going[] = []
  try {
    const watched = monotonicMs()
    await sleep(beforeMs)
    const begun = monotonicMs()
    copies = await startAll(plane, volumes, ['high', 'low'], besideMiB)
    await until('both are under way', 30_000, async () =>
      copies.every(({ growth }) => growth.points.length > 1),
    )
    await sleep(fairAfterMs)
    const from = monotonicMs()
    const isOver = (): boolean =>
      copies.some(({ growth }) => (growth.points.at(-1)?.[1] ?? 0) >= besideMiB * mib * 0.95)
    while (monotonicMs() < from + measuredMs && !isOver()) await sleep(20)
    const to = monotonicMs()
    const now = await Promise.all(copies.map(({ operationId }) => plane.client.ndo.operation(operationId)))
    const parts = grown(copies, from, to)
    await sleep(250)
    return {
      parts,
      perSecond: sum(parts) / ((to - from) / 1000),
      told: now.map(limitOf),
      before: waits.between(watched, begun),
      during: waits.between(from, to),
    }
  } finally {
    waits.stop()
    for (const { growth } of copies) growth.stop()
    await guest.pause()
    for (const { operationId } of copies) {
      await plane.client.ndo.cancel(operationId).catch(() => {})
      await ended(plane, operationId)
    }
  }
}

function besideRows(found: readonly Beside[]): Row[] {
  const ratios = found.map(({ parts: [high = 0, low = 0] }) => high / low)
  const factors = found.map(({ before, during }) => during.quantile(0.99) / before.quantile(0.99))
  const speeds = found.map(({ perSecond }) => perSecond)
  const p99 = (pick: (one: Beside) => Waits): string => together(found.map(pick)).quantile(0.99).toFixed(2)
  return [
    row({
      name: `Two copies beside a guest with ${iops} requests/s: priority high ÷ low`,
      value: median(ratios),
      unit: '×',
      spread: spreadOf(ratios),
      note: `by weight 4; governed at 2 × without a budget; bytes at the targets in ${measuredMs / 1000} s, ${fairAfterMs / 1000} s after both had begun`,
      detail: { toldMiBps: found.map(({ told }) => told.map(Math.round)) },
    }),
    row({
      name: "… the guest's p99 meanwhile ÷ before",
      value: median(factors),
      unit: '×',
      spread: spreadOf(factors),
      note: `p99 before ${p99((one) => one.before)} ms, meanwhile ${p99((one) => one.during)} ms`,
    }),
    row({
      name: '… what both do together',
      value: median(speeds),
      unit: 'MiB/s',
      spread: spreadOf(speeds, 0),
    }),
  ]
}
