/** What a run of the proof saw, for reading. */

export interface MoveFigures {
  round: number
  to: string
  seconds: number
  /** Of the copying alone, as the move itself tells it; null: it does not tell. */
  images: number
  /** What the destination's file system has in use afterwards ÷ what the source's had before. */
  usedBefore: number
  usedAfter: number
}

export interface Report {
  seed: number
  moves: MoveFigures[]
  /** Milliseconds, one for each cutover. */
  pauses: number[]
  /** The longest request that a guest's probe saw, milliseconds. */
  longestWriteMs: number
  /** A move is under way. */
  isMoving: boolean
  /** Milliseconds that a user waited for each thing that was asked for while it moved, by its name. */
  deeds: Map<string, number[]>
  acknowledgedWrites: number
  snapshotsChecked: number
  /** Empty: proved. */
  problems: string[]
}

/** Nearest rank, 0 to 1, of unsorted values. */
export function percentile(values: readonly number[], rank: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(rank * sorted.length) - 1)] ?? Number.NaN
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`
const ms = (value: number): string => (Number.isNaN(value) ? '–' : value.toFixed(1))

function row(name: string, values: readonly number[]): string {
  const figures = [0.5, 0.99, 1].map((rank) => ms(percentile(values, rank)))
  return `| ${name} | ${values.length} | ${figures.join(' | ')} |`
}

export function reportText(report: Report): string {
  const { seed, moves, pauses, deeds, problems } = report
  const lines = [
    `Seed ${seed}. ${moves.length} moves; ${report.acknowledgedWrites} acknowledged writes verified; ` +
      `${report.snapshotsChecked} times a snapshot was found to hold what it held.`,
    '',
    '| | number | p50, ms | p99, ms | longest, ms |',
    '|---|---|---|---|---|',
    row('pause of a client at a cutover', pauses),
    ...[...deeds]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, values]) => row(`a user waits: ${name}`, values)),
    '',
    `The longest write that a guest saw: ${ms(report.longestWriteMs)} ms.`,
    '',
    '| move | to | seconds | images | in use at the source before | in use at the destination after |',
    '|---|---|---|---|---|---|',
    ...moves.map(
      ({ round, to, seconds, images, usedBefore, usedAfter }) =>
        `| ${round} | ${to} | ${seconds.toFixed(1)} | ${images} | ${mib(usedBefore)} | ${mib(usedAfter)} |`,
    ),
    '',
    ...(problems.length === 0
      ? ['Nothing was wrong.']
      : ['**Wrong:**', '', ...problems.map((p) => `- ${p}`)]),
  ]
  return lines.join('\n')
}
