/** What a chart shows; `svg.ts` draws it. Values are in `unit`. */
export type Chart = RangeChart | TimeChart

/** A line for each figure: a dot at its value, and a bar from the least to the largest of the repeats. */
export interface RangeChart {
  kind: 'ranges'
  title: string
  unit: string
  /** What the reader should know of it; a sentence. */
  caption?: string
  /** Drawn as one block each, under a heading. */
  groups: { name: string; figures: RangeFigure[] }[]
}

export interface RangeFigure {
  name: string
  /** Null or NaN: nothing was measured; there is a name and no dot. */
  value: number | null
  /** Least and largest. */
  range?: [number | null, number | null]
  /** Drawn as a mark; which side of it is wanted. */
  target?: { side: '<=' | '>='; bound: number }
}

/** Values over time, in panels that share the axis of time. */
export interface TimeChart {
  kind: 'time'
  title: string
  caption?: string
  panels: Panel[]
}

export interface Panel {
  name: string
  unit: string
  log?: boolean
  series: Series[]
  /** Seconds; what is marked, such as when a copy ran. */
  spans?: { name: string; from: number; to: number }[]
}

export interface Series {
  name: string
  /** Seconds, and the value then, null or NaN where nothing was measured; ascending. */
  points: [number, number | null][]
}
