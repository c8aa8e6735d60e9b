/** Milliseconds, or a number with its unit: `'250ms'`, `'2s'`, `'10m'`, `'1h'`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h'}`

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

export function milliseconds(duration: Duration): number {
  if (typeof duration === 'number') return positive(duration, duration)
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(duration)
  if (!parts) throw new RangeError(`'${duration}' is no duration: write '250ms', '2s', '10m' or '1h'`)
  return positive(Number(parts[1]) * unitMs[parts[2] as keyof typeof unitMs], duration)
}

function positive(ms: number, given: Duration): number {
  if (Number.isFinite(ms) && ms >= 0) return ms
  throw new RangeError(`${given} is no duration: it must be finite and not negative`)
}
