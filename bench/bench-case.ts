import type { Chart } from './chart/chart.ts'

/** One line of the results: `bench/results/latest.json` is an array of them. */
export interface Row {
  name: string
  /** NaN, and null in JSON: nothing was measured. */
  value: number | null
  unit: string
  /** A comparison such as `<= 50`; null: there is no target, the figure informs. */
  target: string | null
  met: boolean | null
  /** Least and largest of the repeats, in the row's unit, as `spreadOf` writes them. */
  spread?: string
  note?: string
  /** What the value was made of. */
  detail?: Record<string, unknown>
}

/** What a case found. */
export interface Measured {
  rows: Row[]
  /** Beside the one that is drawn of the rows that are ratios. */
  charts?: Chart[]
  /** What was left out, and why: printed in bold. */
  omissions?: string[]
}

export interface BenchContext {
  /** Shorter and less exact: smaller images, fewer repeats. */
  quick: boolean
  /** A folder for this case alone, on a disk, removed afterwards. Short, because sockets lie in it. */
  folder: string
  /** `performance.now()` at which its time is over. Repeats end before it; what does not is killed somewhat later. */
  deadline: number
  /** Tells the person who waits what goes on. */
  say(text: string): void
  /** What is known so far: it is reported where the case fails later, or its time is over. */
  keep(measured: Measured): void
}

export interface BenchCase {
  /** What `npm run bench NAME` takes. */
  name: string
  title: string
  run(context: BenchContext): Promise<Row[] | Measured>
}

/** The rows themselves, which are reported even where what follows, such as the rig's end, fails. */
export function kept({ keep }: Pick<BenchContext, 'keep'>, rows: Row[]): Row[] {
  keep({ rows })
  return rows
}

interface Figure extends Omit<Row, 'target' | 'met'> {
  target?: string
}

/** A row whose target, where it has one, is compared with its value. Throws where the target is no comparison. */
export function row(figure: Figure): Row {
  const { target } = figure
  if (target === undefined) return { ...figure, target: null, met: null }
  const { side, bound } = boundOf(target)
  const value = figure.value ?? Number.NaN
  const met = side === '<=' ? value <= bound : value >= bound
  return { ...figure, target, met }
}

/** Throws where the text is no comparison. */
export function boundOf(target: string): { side: '<=' | '>='; bound: number } {
  const parsed = /^(<=|>=) ([0-9.]+)$/.exec(target)
  if (!parsed) throw new Error(`"${target}" is no target; it would be such as "<= 50".`)
  return { side: parsed[1] as '<=' | '>=', bound: Number(parsed[2]) }
}

/** `least … largest`, as the table prints it. */
export const spreadOf = (samples: readonly number[], digits = 2): string =>
  `${Math.min(...samples).toFixed(digits)} … ${Math.max(...samples).toFixed(digits)}`

/** Least and largest of a row's repeats; undefined where it says nothing of them. */
export function spreadIn({ spread }: Pick<Row, 'spread'>): [number, number] | undefined {
  const ends = spread?.split(' … ').map(Number) ?? []
  return ends.length === 2 && ends.every(Number.isFinite) ? (ends as [number, number]) : undefined
}
