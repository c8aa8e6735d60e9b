/**
 * `npm run bench [-- NAME… --quick]`: measures what the budgets speak of, and writes bench/results/latest.md and
 * latest.json. A missed target is a figure, not a failure: the exit code is 1 only where a figure could not be taken.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { BenchCase } from './bench-case.ts'
import { api } from './cases/api.ts'
import { copySpeed } from './cases/copy-speed.ts'
import { create } from './cases/create.ts'
import { cutoverPause } from './cases/cutover-pause.ts'
import { durableStep } from './cases/durable-step.ts'
import { fence } from './cases/fence.ts'
import { hostDrain } from './cases/host-drain.ts'
import { journal } from './cases/journal.ts'
import { liveMigration } from './cases/live-migration.ts'
import { memory } from './cases/memory.ts'
import { moveFlexVol } from './cases/move.ts'
import { restart } from './cases/restart.ts'
import { shareCreate } from './cases/share-create.ts'
import { shareCutover } from './cases/share-cutover.ts'
import { shareMany } from './cases/share-many.ts'
import { shareThroughput } from './cases/share-throughput.ts'
import { snapshots } from './cases/snapshots.ts'
import { start } from './cases/start.ts'
import { thinCopy } from './cases/thin-copy.ts'
import { describeMachine, waitForQuiet } from './machine.ts'
import { markdownOf, type Section } from './report.ts'

const cases: BenchCase[] = [
  copySpeed,
  cutoverPause,
  thinCopy,
  api,
  start,
  restart,
  create,
  memory,
  durableStep,
  journal,
  moveFlexVol,
  snapshots,
  shareThroughput,
  shareCutover,
  shareCreate,
  shareMany,
  liveMigration,
  hostDrain,
  fence,
]

const usage = `npm run bench [-- [--quick] [--output FOLDER] [NAME…]]

Measures, side by side with its references, what Volant promises; writes latest.md and latest.json.

  --quick          smaller images and fewer repeats: less exact
  --output FOLDER  where the results go; default bench/results (all cases), .cache/bench (some)
  NAME             only these: ${cases.map(({ name }) => name).join(', ')}
`

process.exitCode = await main(process.argv.slice(2))

async function main(args: string[]): Promise<number> {
  const options = {
    quick: { type: 'boolean' },
    output: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  } as const
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
  const unknown = positionals.filter((name) => !cases.some((one) => one.name === name))
  if (values.help === true || unknown.length > 0) {
    if (unknown.length > 0) console.error(`There is no measurement ${unknown.join(', ')}.\n`)
    console.log(usage)
    return unknown.length > 0 ? 2 : 0
  }
  const wanted = cases.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
  const root = join(import.meta.dirname, '..')
  const folder =
    values.output ?? (positionals.length === 0 ? join(root, 'bench/results') : join(root, '.cache/bench'))
  const [startedAt, begun, load] = [new Date(), performance.now(), loadavg()[0] ?? 0]
  const quick = values.quick ?? false
  const sections: Section[] = []
  for (const one of wanted) sections.push(await runCase(one, quick, root))
  const seconds = (performance.now() - begun) / 1000
  const text = markdownOf({ sections, machine: describeMachine(), quick, startedAt, seconds, load })
  mkdirSync(folder, { recursive: true })
  const rows = sections.flatMap((section) => section.rows)
  writeFileSync(join(folder, 'latest.json'), `${JSON.stringify(rows, undefined, 2)}\n`)
  writeFileSync(join(folder, 'latest.md'), text)
  console.log(`\n${text}`)
  return sections.some(({ failure }) => failure !== undefined) ? 1 : 0
}

async function runCase(one: BenchCase, quick: boolean, root: string): Promise<Section> {
  const { name, title } = one
  const busyBefore = await waitForQuiet(quick ? 5_000 : 45_000)
  const begun = performance.now()
  const say = (text: string) => console.error(`${name}: ${text}`)
  say('begins')
  // On the disk of the repository, not in memory; the name is short because sockets lie in it.
  mkdirSync(join(root, '.cache'), { recursive: true })
  const folder = mkdtempSync(join(root, '.cache/b-'))
  try {
    return { title, busyBefore, rows: await one.run({ quick, folder, say }) }
  } catch (error) {
    console.error(error)
    return { title, busyBefore, rows: [], failure: error instanceof Error ? error.message : String(error) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
    say(`ended after ${((performance.now() - begun) / 1000).toFixed(1)} s`)
  }
}
