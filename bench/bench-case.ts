/** One line of the results: `bench/results/latest.json` is an array of them. */
export interface Row {
  name: string
  value: number
  unit: string
  /** A comparison such as `<= 50`; null: there is no target, the figure informs. */
  target: string | null
  met: boolean | null
  /** Least and largest of the repeats, in the row's unit. */
  spread?: string
  note?: string
  /** What the value was made of. */
  detail?: Record<string, unknown>
}

export interface BenchContext {
  /** Shorter and less exact: smaller images, fewer repeats. */
  quick: boolean
  /** A folder for this case alone, on a disk, removed afterwards. Short, because sockets lie in it. */
  folder: string
  /** Tells the person who waits what goes on. */
  say(text: string): void
}

export interface BenchCase {
  /** What `npm run bench NAME` takes. */
  name: string
  title: string
  run(context: BenchContext): Promise<Row[]>
}

interface Figure extends Omit<Row, 'target' | 'met'> {
  target?: string
}

/** A row whose target, where it has one, is compared with its value. Throws where the target is no comparison. */
export function row(figure: Figure): Row {
  const { target } = figure
  if (target === undefined) return { ...figure, target: null, met: null }
  const parsed = /^(<=|>=) ([0-9.]+)$/.exec(target)
  if (!parsed) throw new Error(`"${target}" is no target; it would be such as "<= 50".`)
  const bound = Number(parsed[2])
  const met = parsed[1] === '<=' ? figure.value <= bound : figure.value >= bound
  return { ...figure, target, met }
}

/** `least … largest`, as the table prints it. */
export const spreadOf = (samples: readonly number[], digits = 2): string =>
  `${Math.min(...samples).toFixed(digits)} … ${Math.max(...samples).toFixed(digits)}`
