/** One call into an operation's own code: with its faults, its time limit, and its result as plain JSON. */
import { Abandoned, type Fault, type Faults } from './faults.ts'
import { final } from './failure.ts'

export type Outcome =
  | { type: 'returned'; value: unknown }
  | { type: 'threw'; error: unknown }
  /** It was told to stop and went on; it may still be running. */
  | { type: 'hung'; error: Error }

export interface Call {
  step: string
  during: 'do' | 'undo'
  invoke: () => unknown
  abort: AbortController
  timeoutMs: number | null
  abortGraceMs: number
  faults: Faults
  /** Whether an `after` fault strikes: a look that came back false is no boundary. */
  isBoundary: (value: unknown) => boolean
  crash: () => void
  cancel: () => Promise<unknown>
}

export async function perform(call: Call): Promise<Outcome> {
  const hung = new AbortController()
  try {
    return await Promise.race([returned(call), overdue(call, hung.signal)])
  } catch (error) {
    if (error instanceof Abandoned) throw error
    return { type: 'threw', error }
  } finally {
    hung.abort()
  }
}

async function returned(call: Call): Promise<Outcome> {
  await strike(call, 'before')
  let value = await call.invoke()
  if (call.isBoundary(value)) {
    const repeats = await strike(call, 'after')
    for (let i = 0; i < repeats; i++) value = await call.invoke()
  }
  return { type: 'returned', value: plain(value) }
}

/** Lets the faults of this place strike; returns how often the call is to be repeated. */
async function strike(call: Call, when: Fault['when']): Promise<number> {
  let repeats = 0
  for (const fault of call.faults.take(call.step, call.during, when)) {
    if (fault.what === 'repeat') repeats++
    if (fault.what === 'throw') throw fault.error ?? final(`injected ${when} ${call.during} of ${call.step}`)
    if (fault.what === 'cancel') await call.cancel().catch((error: unknown) => fault.refused?.(error))
    if (fault.what === 'crash') {
      call.crash()
      throw new Abandoned()
    }
  }
  return repeats
}

/** Resolves only where the call had to stop (time up, or aborted by someone else) and did not within the grace. */
function overdue(call: Call, over: AbortSignal): Promise<Outcome> {
  return new Promise((resolve) => {
    const timers: NodeJS.Timeout[] = []
    over.addEventListener('abort', () => timers.forEach(clearTimeout))
    const timeLeft = (): void => {
      const error = new Error(
        `${call.step} was told to stop and is still running ${call.abortGraceMs} ms later`,
      )
      timers.push(setTimeout(() => resolve({ type: 'hung', error }), call.abortGraceMs))
    }
    if (call.abort.signal.aborted) timeLeft()
    else call.abort.signal.addEventListener('abort', timeLeft, { once: true, signal: over })
    if (call.timeoutMs === null) return
    const { step, timeoutMs } = call
    timers.push(setTimeout(() => call.abort.abort(new OutOfTime(step, timeoutMs)), timeoutMs))
  })
}

/** The reason of `signal` when a step's time is up. */
export class OutOfTime extends Error {
  readonly class = 'retry'

  constructor(step: string, timeoutMs: number) {
    super(`${step} did not end within ${timeoutMs} ms`)
    this.name = 'OutOfTime'
  }
}

/** As it will come back after a crash, so that nothing works only as long as nothing crashes. */
export function plain(value: unknown): unknown {
  const text = JSON.stringify(value)
  return text === undefined ? undefined : JSON.parse(text)
}
