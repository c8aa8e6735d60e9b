import { closeSync, openSync, readSync } from 'node:fs'
import { parseWaits, waitOfBin } from '../../probe/console.ts'
import { monotonicMs } from '../measure.ts'

/** How long requests took, in the bins of the probe. */
export interface Waits {
  count: number
  /** Ascending. */
  bins: readonly [bin: number, count: number][]
  /** Milliseconds that the fraction (0 to 1) of the requests did not exceed; NaN of none. */
  quantile(fraction: number): number
}

/** What a guest with `probe.waits=1` says of one disk, from the beginning of the watch on. */
export interface GuestWaits {
  /** Requests that ended between two instants, `monotonicMs`, told to 200 ms. */
  between(from: number, to: number): Waits
  /** One entry for each line of the guest: when it was (`monotonicMs`), and what it told. */
  lines(): { at: number; waits: Waits }[]
  stop(): void
}

interface Told {
  /** Guest's clock, milliseconds. */
  t: number
  bins: [number, number][]
}

const lookEveryMs = 25

/**
 * Follows the console. The guest's clock is laid on that of this machine by the line that came soonest: no line
 * comes before it is said, and its clock may not stand still while it is watched.
 */
export function watchWaits(consolePath: string, serial: string): GuestWaits {
  const told: Told[] = []
  let offset = Number.POSITIVE_INFINITY
  const file = openSync(consolePath, 'r')
  const buffer = Buffer.alloc(1 << 16)
  let [position, rest] = [endOf(file, buffer), '']
  const look = (): void => {
    for (;;) {
      const count = readSync(file, buffer, 0, buffer.length, position)
      if (count === 0) break
      position += count
      rest += buffer.toString('latin1', 0, count)
    }
    const end = rest.lastIndexOf('\n') + 1
    const now = monotonicMs()
    for (const { t, bins } of parseWaits(rest.slice(0, end), serial)) {
      offset = Math.min(offset, now - t * 1000)
      told.push({ t: t * 1000, bins })
    }
    rest = rest.slice(end)
  }
  const timer = setInterval(look, lookEveryMs)
  return {
    between(from, to) {
      look()
      return waitsOf(told.filter(({ t }) => t + offset > from && t + offset <= to))
    },
    lines() {
      look()
      const times = [...new Set(told.map(({ t }) => t))]
      return times.map((time) => ({ at: time + offset, waits: waitsOf(told.filter(({ t }) => t === time)) }))
    },
    stop() {
      clearInterval(timer)
      closeSync(file)
    },
  }
}

function endOf(file: number, buffer: Buffer): number {
  for (let position = 0; ;) {
    const count = readSync(file, buffer, 0, buffer.length, position)
    if (count === 0) return position
    position += count
  }
}

const waitsOf = (told: readonly Told[]): Waits => sumOf(told.map(({ bins }) => bins))

/** Of several stretches together. */
export const together = (all: readonly Waits[]): Waits => sumOf(all.map(({ bins }) => bins))

function sumOf(all: readonly (readonly [number, number][])[]): Waits {
  const counts = new Map<number, number>()
  for (const bins of all) for (const [bin, count] of bins) counts.set(bin, (counts.get(bin) ?? 0) + count)
  const sorted = [...counts].sort(([a], [b]) => a - b)
  const total = sorted.reduce((sum, [, count]) => sum + count, 0)
  return {
    count: total,
    bins: sorted,
    quantile(fraction) {
      let left = Math.max(1, Math.ceil(fraction * total))
      for (const [bin, count] of sorted) {
        left -= count
        if (left <= 0) return waitOfBin(bin)
      }
      return Number.NaN
    },
  }
}
