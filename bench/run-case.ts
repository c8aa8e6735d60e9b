/**
 * Runs one case, in a process of its own: what makes it fail, or hang, ends none of the others. `runner.ts` starts it,
 * bounds its time, and ends what is left of it.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Measured } from './bench-case.ts'
import { plan } from './cases.ts'
import { sweep } from './sweep.ts'
import { noteTraces, readTraces } from './traces.ts'

/** The program's argument, as JSON. */
export interface CaseOrder {
  /** Marker of its processes. */
  id: string
  name: string
  quick: boolean
  folder: string
  /** Seconds after which it should have come to its end. */
  seconds: number
  /** Where its traces are noted, and its result is written. */
  tracesPath: string
  resultPath: string
}

export interface CaseResult extends Measured {
  /** Why it is not whole; absent: it is. */
  failure?: string
}

const order = JSON.parse(process.argv[2] ?? '') as CaseOrder
const { id, name, quick, folder, seconds, tracesPath, resultPath } = order
noteTraces(tracesPath)
// Whoever started it has died, and can tidy up no more.
process.on('disconnect', () => {
  const { folders, namespaces } = readTraces(tracesPath)
  const own = [folder, dirname(tracesPath)]
  void sweep({ id, folders: [...own, ...folders], namespaces }).then(() => process.exit(1))
})

let kept: Measured = { rows: [] }
const write = (result: CaseResult): void => {
  writeFileSync(`${resultPath}.new`, JSON.stringify(result))
  renameSync(`${resultPath}.new`, resultPath)
}
const say = (text: string): void => console.error(`${name}: ${text}`)
const keep = (measured: Measured): void => {
  kept = measured
  write({ ...kept, failure: 'it did not come to its end' })
}
try {
  const one = plan.find((planned) => planned.one.name === name)?.one
  if (one === undefined) throw new Error(`There is no measurement ${name}.`)
  const deadline = performance.now() + seconds * 1000
  const found = await one.run({ quick, folder, deadline, say, keep })
  write(Array.isArray(found) ? { rows: found } : found)
} catch (error) {
  console.error(error)
  write({ ...kept, failure: error instanceof Error ? error.message : String(error) })
}
process.disconnect?.()
// Whatever it forgot to close must not keep the others waiting.
process.exit(0)
