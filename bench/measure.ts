/** The value below which `fraction` (0 to 1) of the samples lie: nearest rank, so it is one of the samples. */
export function quantile(samples: readonly number[], fraction: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  const rank = Math.min(sorted.length - 1, Math.max(0, Math.ceil(fraction * sorted.length) - 1))
  return sorted[rank] ?? Number.NaN
}

/** The middle one; of an even number the mean of the two in the middle. NaN counts as the largest: who was not answered waited longest. */
export function median(samples: readonly number[]): number {
  const size = (one: number): number => (Number.isNaN(one) ? Number.MAX_VALUE : one)
  const sorted = [...samples].sort((a, b) => size(a) - size(b))
  const half = Math.floor(sorted.length / 2)
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2
}

/**
 * Runs every variant `repeats` times, in turns, and begins each round with the next one: what the machine does
 * meanwhile, and what one variant leaves to the one after it, falls on all of them alike.
 */
export async function interleave<Key extends string, Result>(
  variants: Record<Key, (round: number) => Promise<Result>>,
  repeats: number,
): Promise<Record<Key, Result[]>> {
  const names = Object.keys(variants) as Key[]
  const results = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Key, Result[]>
  for (let round = 0; round < repeats; round += 1) {
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(round + turn) % names.length] as Key
      results[name].push(await variants[name](round))
    }
  }
  return results
}

/** Round by round `samples` ÷ `reference`. */
export const ratios = (samples: readonly number[], reference: readonly number[]): number[] =>
  samples.map((sample, round) => sample / (reference[round] ?? Number.NaN))

/** Milliseconds on the clock that all processes of this machine share (CLOCK_MONOTONIC). */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

/** Milliseconds that the task took, with its result. */
export async function timed<T>(task: () => Promise<T>): Promise<{ ms: number; result: T }> {
  const begun = performance.now()
  const result = await task()
  return { ms: performance.now() - begun, result }
}
