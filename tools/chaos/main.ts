/**
 * Breaks the whole system at random while guests write and volumes migrate: `npm run chaos -- --minutes 5 --seed 7`.
 * In rounds: things are broken for a while, then left alone, and then everything must be well. Exits 0 if it always was.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect, parseArgs } from 'node:util'
import { messageOf } from '@volant/contract/errors.ts'
import { assertRest, migrationsOf, problemsNow } from './checks.ts'
import { cut, fill, kill, lockDatabase, stop, strike, throttle } from './faults.ts'
import { attachOrDetach, cancel, migrate, pause, setRate } from './operator.ts'
import { openPlace, type Place } from './place.ts'
import { roundOf, textOf, type Planned } from './schedule.ts'

const usage = `Usage: npm run chaos -- [--minutes M] [--seed S] [--guests N] [--keep]
Breaks the whole system at random while guests write and volumes migrate, and checks that nothing is lost, stuck or
left over. Needs root: it makes network namespaces and mounts small file systems below /var/tmp.
  --minutes M   for how long, 1 to 600 (default 5); the round under way is brought to its end
  --seed S      a whole number: the same seed does the same things at the same times (default: by the clock)
  --guests N    guests that write all the time, 1 to 4 (default 2)
  --keep        keep logs, database and images also where all was well
Examples:
  npm run chaos -- --minutes 30
  npm run chaos -- --minutes 1 --seed 42`

interface Options {
  minutes: number
  seed: number
  guests: number
  keep: boolean
}

/** Undefined where help is asked for; throws where an option is wrong. */
function readOptions(argv: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      minutes: { type: 'string', default: '5' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      guests: { type: 'string', default: '2' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const number = (name: 'minutes' | 'seed' | 'guests', least: number, most: number): number => {
    const value = Number(values[name])
    if (Number.isFinite(value) && value >= least && value <= most && values[name].trim() !== '') return value
    throw new Error(`--${name} ${values[name]}: it is a number from ${least} to ${most}`)
  }
  return {
    minutes: number('minutes', 0.1, 600),
    seed: Math.floor(number('seed', 0, 4_000_000)),
    guests: Math.floor(number('guests', 1, 4)),
    keep: values.keep,
  }
}

/** The last of what was done and seen, for whoever looks for the reason of a failure. */
class Story {
  readonly #lines: string[] = []
  readonly #began = performance.now()

  /** Said, and remembered. */
  readonly say = (text: string): void => {
    console.log(this.#note(text))
  }

  /** Only remembered, and said where it fails. */
  readonly tell = (text: string): void => {
    this.#note(text)
  }

  last(count: number): string[] {
    return this.#lines.slice(-count)
  }

  #note(text: string): string {
    const line = `${((performance.now() - this.#began) / 1000).toFixed(1).padStart(7)} s  ${text}`
    this.#lines.push(line)
    return line
  }
}

async function carryOut(place: Place, deed: Planned, tell: Story['tell']): Promise<void> {
  switch (deed.what) {
    case 'migrate':
      return migrate(place, deed.pick, deed.rate, tell)
    case 'pause':
      return pause(place, deed.pick, deed.ms, tell)
    case 'cancel':
      return cancel(place, deed.pick, tell)
    case 'rate':
      return setRate(place, deed.pick, deed.rate, tell)
    case 'attach or detach':
      return attachOrDetach(place, tell)
    case 'stop':
      return stop(place, deed.victim, deed.pick, deed.ms, tell)
    case 'cut':
      return cut(place, deed.pick, deed.ms, tell)
    case 'throttle':
      return throttle(place, deed.pick, deed.ms, tell)
    case 'fill':
      return fill(place, deed.pick, deed.ms, tell)
    case 'lock database':
      return lockDatabase(place, deed.ms, tell)
    case 'kill':
    case 'strike': {
      const isControlPlane =
        deed.what === 'kill'
          ? await kill(place, deed.victim, deed.pick, tell)
          : await strike(place, deed, tell)
      if (!isControlPlane) return
      await sleep(deed.ms)
      // Where something else is broken it may not come up now; at the end of the round it must.
      await place.plane.start().then(
        () => tell('the control plane runs again'),
        (error: unknown) => tell(`the control plane does not start: ${messageOf(error)}`),
      )
    }
  }
}

/** Breaks things for a while; returns when all that was broken for a time is whole again. */
async function breakThings(
  place: Place,
  deeds: readonly Planned[],
  story: Story,
  signal: AbortSignal,
): Promise<void> {
  const began = performance.now()
  const underWay: Promise<void>[] = []
  const faults: unknown[] = []
  for (const deed of deeds) {
    await sleep(Math.max(0, began + deed.at - performance.now()))
    if (signal.aborted || faults.length > 0) break
    const problems = problemsNow(place)
    if (problems.length > 0) throw new Error(problems.join('\n'))
    story.tell(textOf(deed))
    underWay.push(carryOut(place, deed, story.tell).catch((error: unknown) => void faults.push(error)))
  }
  await Promise.all(underWay)
  if (faults.length > 0) throw faults[0]
}

async function run(options: Options, story: Story, signal: AbortSignal): Promise<number> {
  const { minutes, seed, guests, keep } = options
  story.say(`seed ${seed}, ${minutes} min, ${guests} guests`)
  let place: Place | undefined
  let well = false
  try {
    place = await openPlace({ guests, say: story.say })
    signal.throwIfAborted()
    const roundMs = Math.min(40_000, minutes * 30_000)
    story.say(`state folder ${place.plane.stateDir}`)
    const end = performance.now() + minutes * 60_000
    for (let round = 1; round === 1 || performance.now() < end; round++) {
      const deeds = roundOf(seed, round, roundMs)
      story.say(`round ${round}: ${deeds.length} deeds in ${roundMs / 1000} s`)
      await breakThings(place, deeds, story, signal)
      signal.throwIfAborted()
      story.say(`round ${round}: ${await assertRest(place, story.tell, signal)}`)
      story.say(`so far: ${migrationsOf(place)}`)
    }
    well = true
    return 0
  } catch (error) {
    if (signal.aborted) {
      story.say('interrupted')
      return 130
    }
    story.tell(`FAILED: ${inspect(error)}`)
    console.error(`\nThe last of it:\n${story.last(60).join('\n')}`)
    console.error(`\nAgain: npm run chaos -- --seed ${seed} --minutes ${minutes} --guests ${guests}`)
    if (place !== undefined)
      console.error(`Logs, database and state: ${place.plane.stateDir}; images: ${place.disksDir}`)
    return 1
  } finally {
    const keeps = keep || (!well && !signal.aborted)
    await place?.close(keeps)
    if (keep && place !== undefined) story.say(`kept: ${place.plane.stateDir}`)
  }
}

async function main(): Promise<number> {
  let options: Options | undefined
  try {
    options = readOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`${messageOf(error)}\n\n${usage}`)
    return 2
  }
  if (options === undefined) {
    console.log(usage)
    return 0
  }
  if (process.getuid?.() !== 0) {
    console.error('chaos makes network namespaces and mounts file systems: run it as root')
    return 2
  }
  const interrupt = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => interrupt.abort(new Error(`ended by ${signal}`)))
  }
  return run(options, new Story(), interrupt.signal)
}

process.exitCode = await main()
