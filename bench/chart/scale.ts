/** From a value to a place, and the values that are worth a line. Pure, so that a chart of the same figures is the same file. */
export interface Scale {
  at(value: number): number
  ticks: number[]
}

/** Steps of 1, 2 or 5 times a power of ten; from 0 to at least `largest`, `places` long. About `count` ticks. */
export function linear(largest: number, places: number, count = 5): Scale {
  const step = niceStep((largest > 0 ? largest : 1) / count)
  const end = Math.ceil((largest > 0 ? largest : 1) / step - 1e-9) * step
  const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, i) => clean(i * step))
  return { at: (value) => (value / end) * places, ticks }
}

/** From the power of ten, or its double or fivefold, below `least` to that above `largest`. What is not above 0 is at the start. */
export function logarithmic(least: number, largest: number, places: number): Scale {
  const all: number[] = []
  for (let power = -6; power <= 9; power += 1) for (const one of [1, 2, 5]) all.push(clean(one * 10 ** power))
  const first = Math.max(
    0,
    all.findLastIndex((tick) => tick <= least * 1.001),
  )
  const above = all.findIndex((tick) => tick >= largest * 0.999)
  const last = Math.max(above === -1 ? all.length - 1 : above, first + 1)
  const [from, to] = [Math.log10(all[first] ?? 1), Math.log10(all[last] ?? 10)]
  const inside = all.slice(first, last + 1)
  const ticks =
    inside.length <= 7 ? inside : inside.filter((tick) => Number.isInteger(exact(Math.log10(tick))))
  const at = (value: number): number => {
    const place = value > 0 ? (Math.log10(value) - from) / (to - from) : 0
    return Math.min(1, Math.max(0, place)) * places
  }
  return { at, ticks: ticks.length >= 2 ? ticks : [inside[0] ?? 1, inside.at(-1) ?? 10] }
}

function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough))
  const times = [1, 2, 5, 10].find((one) => one * power >= rough * 0.999) ?? 10
  return times * power
}

const exact = (value: number): number => Math.round(value * 1e9) / 1e9
/** Without the noise of floating point: 0.30000000000000004 is 0.3. */
const clean = (value: number): number => Number(value.toPrecision(12))
