import { fork, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Planned } from './cases.ts'
import { waitForQuiet } from './machine.ts'
import type { Section } from './report.ts'
import type { CaseOrder, CaseResult } from './run-case.ts'
import { marker, sweep } from './sweep.ts'
import { readTraces } from './traces.ts'

export interface RunOptions {
  quick: boolean
  root: string
  /** `performance.now()` at which the run is to be over. */
  end: number
  /** Milliseconds that all cases together may wait for a machine that is idle. */
  patienceMs: number
}

/** Carries out cases, each in a process of its own, and leaves nothing of them behind. */
export interface Runner {
  run(planned: Planned): Promise<Section>
  /** Ends the case that runs, if any; its `run` never returns. */
  abandon(): Promise<void>
}

/** Beyond what a case takes on an idle machine: it may take thrice as long, and a minute. */
const limitOf = (seconds: number): number => seconds * 3 + 60
/** Time in which a case cannot begin, do something, and end. */
const leastSeconds = 20

export function createRunner(options: RunOptions): Runner {
  let patienceMs = options.patienceMs
  let current: { child: ChildProcess; tidy: () => Promise<string[]> } | undefined
  let isAbandoned = false
  return {
    async run({ one, seconds, quickSeconds }) {
      const { name, title } = one
      const expected = options.quick ? quickSeconds : seconds
      const begun = performance.now()
      const busyBefore = await waitForQuiet(patienceMs)
      patienceMs = Math.max(0, patienceMs - (performance.now() - begun))
      const left = (options.end - performance.now()) / 1000
      if (left < leastSeconds) {
        return { title, busyBefore, rows: [], seconds: 0, failure: "the run's time was over before its turn" }
      }
      const limit = Math.min(limitOf(expected), left)
      const say = (text: string): void => console.error(`${name}: ${text}`)
      say(`begins; takes about ${expected} s, and may take ${Math.round(limit)} s`)
      const from = performance.now()
      const place = placeOf(options.root)
      const child = startCase(name, options, { ...place, seconds: Math.min(expected, limit * 0.8) })
      const tidy = () => sweepPlace(place)
      current = { child, tidy }
      const inTime = await endsWithin(child, limit * 1000)
      if (isAbandoned) await new Promise(() => {})
      const result = existsSync(place.resultPath)
        ? (JSON.parse(readFileSync(place.resultPath, 'utf8')) as CaseResult)
        : { rows: [], failure: `its process ended with code ${child.exitCode ?? child.signalCode}` }
      const forgotten = await tidy()
      current = undefined
      const took = (performance.now() - from) / 1000
      say(`ended after ${took.toFixed(1)} s`)
      if (!inTime) {
        return {
          title,
          busyBefore,
          ...result,
          seconds: took,
          failure: `it was ended after ${took.toFixed(0)} s`,
        }
      }
      if (forgotten.length > 0) say(`LEFT BEHIND, and ended now: ${forgotten.join('; ')}`)
      return { title, busyBefore, ...result, seconds: took, forgotten }
    },
    async abandon() {
      isAbandoned = true
      current?.child.kill('SIGKILL')
      const found = (await current?.tidy()) ?? []
      if (found.length > 0) console.error(`ended: ${found.join('; ')}`)
    },
  }
}

interface CasePlace {
  id: string
  /** With what belongs to the case but not into its folder. */
  beside: string
  folder: string
  tracesPath: string
  resultPath: string
}

/** On the disk of the repository, not in memory; the name is short because sockets lie in it. */
function placeOf(root: string): CasePlace {
  const cache = join(root, '.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'b-'))
  const beside = `${folder}.run`
  mkdirSync(beside)
  return {
    id: randomUUID(),
    ...{ beside, folder, tracesPath: join(beside, 'traces'), resultPath: join(beside, 'result.json') },
  }
}

function startCase(
  name: string,
  { quick }: RunOptions,
  { id, folder, tracesPath, resultPath, seconds }: CasePlace & { seconds: number },
): ChildProcess {
  const order: CaseOrder = { id, name, quick, folder, seconds, tracesPath, resultPath }
  return fork(join(import.meta.dirname, 'run-case.ts'), [JSON.stringify(order)], {
    execArgv: ['--disable-warning=ExperimentalWarning'],
    env: { ...process.env, [marker]: id },
    // In a session of its own, so that Ctrl-C reaches only this process, which then tidies up.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
}

async function sweepPlace({ id, folder, beside, tracesPath }: CasePlace): Promise<string[]> {
  const { folders, namespaces } = readTraces(tracesPath)
  const found = await sweep({ id, folders: [folder, ...folders], namespaces })
  rmSync(beside, { recursive: true, force: true })
  return found
}

/** False where it was killed because its time was over. */
async function endsWithin(child: ChildProcess, ms: number): Promise<boolean> {
  let inTime = true
  const late = setTimeout(() => {
    inTime = false
    child.kill('SIGKILL')
  }, ms)
  await new Promise<void>((resolve) => child.once('exit', () => resolve()))
  clearTimeout(late)
  return inTime
}
