/** What is done to the system, and when: a pure function of the seed. */

/** Which process a fault is for. `machine` is all of them together. */
export const victims = [
  'control plane',
  'storage agent',
  'compute agent',
  'holder',
  'export',
  'guest',
  'guard',
] as const
export type Victim = (typeof victims)[number]

/** `pick`, from 0 to 1, says which one of those that there are at that moment. `ms`: how long it lasts. */
export type Deed =
  | { what: 'migrate'; pick: number; rate: number }
  | { what: 'pause'; pick: number; ms: number }
  | { what: 'cancel'; pick: number }
  | { what: 'rate'; pick: number; rate: number }
  | { what: 'attach or detach' }
  | { what: 'kill'; victim: Victim | 'machine'; pick: number; ms: number }
  | { what: 'stop'; victim: Victim; pick: number; ms: number }
  /** SIGKILL or SIGSTOP so many milliseconds after the next cutover was begun: it is over in a moment, and luck seldom meets it. */
  | { what: 'strike'; victim: Victim; pick: number; ms: number; delayMs: number; kills: boolean }
  | { what: 'cut'; pick: number; ms: number }
  | { what: 'throttle'; pick: number; ms: number }
  | { what: 'fill'; pick: number; ms: number }
  | { what: 'lock database'; ms: number }

/** A deed, and when: milliseconds since the round began. */
export type Planned = Deed & { at: number }

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** How often each kind is drawn. Migrations are most of it: a fault with nothing under way finds little. */
const weights: Record<Deed['what'], number> = {
  migrate: 12,
  pause: 2,
  cancel: 2,
  rate: 3,
  'attach or detach': 2,
  kill: 10,
  stop: 5,
  strike: 6,
  cut: 2,
  throttle: 2,
  fill: 2,
  'lock database': 2,
}

/** Bytes per second of a copy; unlimited ones are over in a moment, slow ones are there to be hit. */
const rates = [0, 0, 1_000_000, 4_000_000, 16_000_000]

const longestFaultMs = 8000
const longestDelayMs = 150
const meanGapMs = 1500

/** The deeds of one round, which lasts `roundMs`; the same for the same seed and round. */
export function roundOf(seed: number, round: number, roundMs: number): Planned[] {
  const random = randomOf(seed * 1000 + round)
  const oneOf = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T
  const kinds = Object.entries(weights).flatMap(([what, n]) => Array<Deed['what']>(n).fill(what as never))
  const deeds: Planned[] = []
  for (let at = 0; at < roundMs; at += 50 - Math.log(1 - random()) * meanGapMs) {
    // All of it is drawn for each deed, so that one more property of one kind does not change the rest.
    const drawn = {
      what: deeds.length === 0 ? 'migrate' : oneOf(kinds),
      pick: random(),
      ms: Math.round(300 + random() ** 2 * longestFaultMs),
      rate: oneOf(rates),
      delayMs: Math.round(random() ** 2 * longestDelayMs),
      kills: random() < 0.7,
      victim: oneOf([...victims, 'control plane', 'holder', 'machine'] as const),
    }
    const { what, pick, ms, rate, victim, delayMs, kills } = drawn
    const planned = { at: Math.round(at) }
    switch (what) {
      case 'migrate':
      case 'rate':
        deeds.push({ ...planned, what, pick, rate })
        break
      case 'cancel':
        deeds.push({ ...planned, what, pick })
        break
      case 'attach or detach':
        deeds.push({ ...planned, what })
        break
      case 'lock database':
        deeds.push({ ...planned, what, ms })
        break
      case 'kill':
        deeds.push({ ...planned, what, victim, pick, ms })
        break
      case 'stop':
        deeds.push({ ...planned, what, victim: victim === 'machine' ? 'guard' : victim, pick, ms })
        break
      case 'strike':
        deeds.push({
          ...planned,
          what,
          victim: victim === 'machine' ? 'guard' : victim,
          pick,
          ms,
          delayMs,
          kills,
        })
        break
      default:
        deeds.push({ ...planned, what, pick, ms })
    }
  }
  return deeds
}

export function textOf(deed: Deed): string {
  const { what, ...rest } = deed
  const { victim, pick, ms, rate, delayMs, kills } = rest as Partial<
    Record<'pick' | 'ms' | 'rate' | 'delayMs', number> & { victim: string; kills: boolean }
  >
  const parts = [
    delayMs === undefined ? undefined : `${kills ? 'kill' : 'stop'} ${delayMs} ms into a cutover`,
    victim,
    pick === undefined ? undefined : `pick ${pick.toFixed(3)}`,
    rate === undefined ? undefined : `rate ${rate}`,
    ms === undefined ? undefined : `${ms} ms`,
  ].filter((part) => part !== undefined)
  return parts.length === 0 ? what : `${what} (${parts.join(', ')})`
}
