/**
 * What is wanted of a copy's pace, as people and programs write it:
 *
 *     2x     its clients' 99th percentile stays within twice what it was without the copy
 *     5ms    it stays within 5 ms
 *     50M    the copy goes at 50 MiB/s, whatever its clients feel (also 50MiB, 1G, or bytes a second)
 *     full   as fast as it can
 */
import { DomainError } from '../errors.ts'

export type Pace =
  | { kind: 'times'; times: number }
  | { kind: 'ms'; ms: number }
  | { kind: 'rate'; bps: number }
  | { kind: 'full' }

export const paceExamples = '2x, 5ms, 50M or full'

const units: Record<string, number> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }
/** More than any link; a larger figure is a mistake. */
const mostBps = 1024 ** 4

/** Throws `invalid`, and says what would be right. */
export function parsePace(text: string): Pace {
  const wanted = text.trim().toLowerCase()
  if (wanted === 'full') return { kind: 'full' }
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)(?:\/s)?$/.exec(wanted)
  const figure = Number(match?.[1])
  const unit = match?.[2] ?? ''
  if (match === null) throw refused(text, `it is none of ${paceExamples}`)
  if (unit === 'x') {
    if (figure >= 1.1 && figure <= 100) return { kind: 'times', times: figure }
    throw refused(text, 'a multiple of the latency without the copy is from 1.1x to 100x')
  }
  if (unit === 'ms') {
    if (figure >= 0.1 && figure <= 60_000) return { kind: 'ms', ms: figure }
    throw refused(text, 'a bound of the latency is from 0.1ms to 60000ms')
  }
  const factor = units[unit.replace(/(?<=[kmgt])(ib|b)$/, '')]
  if (factor === undefined) throw refused(text, `it is none of ${paceExamples}`)
  const bps = Math.round(figure * factor)
  if (bps >= 1 && bps <= mostBps) return { kind: 'rate', bps }
  throw refused(text, 'a rate is from 1 byte to 1T a second; for no limit write full')
}

const refused = (text: string, why: string): DomainError =>
  new DomainError('invalid', `The pace '${text.slice(0, 40)}' is not understood: ${why}.`)

/** As it is written down and shown. */
export function paceText(pace: Pace): string {
  switch (pace.kind) {
    case 'times':
      return `${pace.times}x`
    case 'ms':
      return `${pace.ms}ms`
    case 'full':
      return 'full'
    case 'rate':
      for (const unit of ['t', 'g', 'm', 'k']) {
        const factor = units[unit] ?? 1
        if (pace.bps % factor === 0) return `${pace.bps / factor}${unit.toUpperCase()}`
      }
      return String(pace.bps)
  }
}

/** What was asked for, checked and as it is written down; what was not is left out. Throws `invalid`. */
export const paceWishes = (asked: {
  pace?: string | undefined
  priority?: string | undefined
}): { pace?: string; priority?: string } => ({
  ...(asked.pace !== undefined && { pace: paceText(parsePace(asked.pace)) }),
  ...(asked.priority !== undefined && { priority: parsePriority(asked.priority) }),
})

export const priorities = ['high', 'normal', 'low'] as const
export type Priority = (typeof priorities)[number]

/** What copies of these priorities get of what they share. */
export const weights: Record<Priority, number> = { high: 4, normal: 2, low: 1 }

/** Throws `invalid`. */
export function parsePriority(text: string): Priority {
  const found = priorities.find((priority) => priority === text)
  if (found !== undefined) return found
  throw new DomainError(
    'invalid',
    `There is no priority '${text.slice(0, 40)}'. There are: ${priorities.join(', ')}.`,
  )
}
