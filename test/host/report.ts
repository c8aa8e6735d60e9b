/** What a run of the proof saw, for reading. */
import { percentile } from '../move/report.ts'

export interface Report {
  rounds: number
  /** How often the control plane was killed under a drain or a restore. */
  kills: number
  /** By what was done: milliseconds that it took. */
  took: Map<string, number[]>
  /** For how long guests stood still in live migrations, milliseconds, by the operations' own report. */
  pauses: number[]
  /** The longest write that a guest saw, by its own clock. Milliseconds. */
  longestWriteMs: number
  acknowledged: number
  verified: number
  /** Empty: proved. */
  problems: string[]
}

export const newReport = (): Report => ({
  rounds: 0,
  kills: 0,
  took: new Map(),
  pauses: [],
  longestWriteMs: 0,
  acknowledged: 0,
  verified: 0,
  problems: [],
})

const row = (name: string, values: readonly number[]): string =>
  `| ${name} | ${values.length} | ${[0.5, 0.99, 1].map((rank) => percentile(values, rank).toFixed(0)).join(' | ')} |`

export function reportText(report: Report): string {
  const { rounds, kills, took, pauses, longestWriteMs, acknowledged, verified, problems } = report
  return [
    `A compute host was drained and restored ${rounds} times while its guests wrote; the control plane was killed ${kills} times`,
    `meanwhile. ${acknowledged} writes were acknowledged, and looked for ${verified} times. The longest that a guest saw took`,
    `${longestWriteMs.toFixed(0)} ms by its own clock, which stands still while it does.`,
    '',
    '| | number | p50, ms | p99, ms | longest, ms |',
    '|---|---|---|---|---|',
    ...(pauses.length === 0 ? [] : [row('a guest stood still in a live migration', pauses)]),
    ...[...took].map(([name, values]) => row(name, values)),
    '',
    ...(problems.length === 0
      ? [
          'No acknowledged write was lost; each server ran at one place, with one access to each of its volumes; nothing was',
          'left over.',
        ]
      : ['**Wrong:**', '', ...problems.map((problem) => `- ${problem}`)]),
  ].join('\n')
}
