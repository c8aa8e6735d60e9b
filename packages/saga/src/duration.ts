/** Milliseconds, or a number with its unit: `'250ms'`, `'2s'`, `'10m'`, `'1h'`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h'}`

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

export function milliseconds(duration: Duration): number {
  if (typeof duration === 'number') return positive(duration, duration)
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(duration)
  if (!parts) throw new RangeError(`'${duration}' is no duration: write '250ms', '2s', '10m' or '1h'`)
  return positive(Number(parts[1]) * unitMs[parts[2] as keyof typeof unitMs], duration)
}

/** For people: `90 s` reads `1.5 min`. */
export function spoken(ms: number): string {
  const [unit, size] = (
    [
      ['h', unitMs.h],
      ['min', unitMs.m],
      ['s', unitMs.s],
    ] as const
  ).find((candidate) => ms >= candidate[1]) ?? ['ms', 1]
  return `${Math.round((ms / size) * 10) / 10} ${unit}`
}

function positive(ms: number, given: Duration): number {
  if (Number.isFinite(ms) && ms >= 0) return ms
  throw new RangeError(`${given} is no duration: it must be finite and not negative`)
}
