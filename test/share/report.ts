/** What a run of the proof saw, for reading. */
import { percentile } from '../move/report.ts'

export interface Report {
  /** By the kind of event: milliseconds of the writer's longest record (write and fsync) from its begin until all went on. */
  pauses: Map<string, number[]>
  /** Milliseconds that each kind of event took. */
  took: Map<string, number[]>
  /** The writer's longest record of all, ms, and of a quiet time before anything happened. */
  quietMs: number
  acknowledged: number
  verified: number
  /** Empty: proved. */
  problems: string[]
}

export const newReport = (): Report => ({
  pauses: new Map(),
  took: new Map(),
  quietMs: 0,
  acknowledged: 0,
  verified: 0,
  problems: [],
})

const ms = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(1))

export function reportText({ pauses, took, quietMs, acknowledged, verified, problems }: Report): string {
  const rows = [...pauses].map(([kind, values]) => {
    const figures = [0.5, 1].map((rank) => ms(percentile(values, rank)))
    return `| ${kind} | ${values.length} | ${figures.join(' | ')} | ${ms(percentile(took.get(kind) ?? [], 0.5))} |`
  })
  return [
    `${acknowledged} records acknowledged to an NFS client, looked for ${verified} times. Nothing happening, its longest`,
    `record (write and fsync) took ${ms(quietMs)} ms. The longest one around each event:`,
    '',
    '| event | number | p50, ms | longest, ms | the event took, p50, ms |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    ...(problems.length === 0
      ? [
          'No error, no lost record, the lock held all along, the same inode numbers and file handles, xfs_repair clean.',
        ]
      : ['**Wrong:**', '', ...problems.map((p) => `- ${p}`)]),
  ].join('\n')
}
