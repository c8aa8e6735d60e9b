/** Sizes, durations and rates as people write them: `100GiB`, `10m`, `50MiB/s`. A bare number is the base unit. */

export interface Quantity {
  /** In the base unit: bytes, seconds, or bytes per second. */
  value: number
}

export type QuantityResult = Quantity | { problem: string }

const binary: Record<string, number> = {
  '': 1,
  b: 1,
  k: 1024,
  kb: 1000,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1000 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1000 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tb: 1000 ** 4,
  tib: 1024 ** 4,
}
const time: Record<string, number> = { '': 1, s: 1, m: 60, min: 60, h: 3600, d: 86_400 }
const shortTime: Record<string, number> = { '': 1, ms: 1, s: 1000, m: 60_000, min: 60_000 }

const read = (input: unknown, units: Record<string, number>, example: string): QuantityResult => {
  const text = typeof input === 'number' ? String(input) : typeof input === 'string' ? input.trim() : ''
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text)
  const unit = match === null ? undefined : units[(match[2] as string).toLowerCase()]
  if (match === null || unit === undefined) {
    return { problem: `${JSON.stringify(input)} is not understood; write it like ${example}` }
  }
  const value = Math.round(Number(match[1]) * unit)
  if (!Number.isSafeInteger(value)) return { problem: `${text} is too large` }
  return { value }
}

/** Bytes. KiB, MiB, GiB, TiB (and K, M, G, T) are powers of 1024; KB, MB, GB, TB of 1000. */
export const readSize = (input: unknown): QuantityResult => read(input, binary, '100GiB or 107374182400')

/** Seconds; s, m, h, d. */
export const readDuration = (input: unknown): QuantityResult => read(input, time, '30s, 10m or 600')

/** Milliseconds; ms, s, m. */
export const readShortDuration = (input: unknown): QuantityResult => read(input, shortTime, '500ms or 2s')

/** Bytes per second; the units of sizes, with or without `/s`. 0 is unlimited. */
export const readRate = (input: unknown): QuantityResult =>
  read(typeof input === 'string' ? input.replace(/\/s$/i, '') : input, binary, '50MiB/s, or 0 for unlimited')
