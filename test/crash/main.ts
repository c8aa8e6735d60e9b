/**
 * The whole matrix: `npm run crash`, or a part of it by name: `npm run crash -- remote/attached/pending head`, or
 * `npm run crash -- move`, `npm run crash -- share`, or `npm run crash -- host`. Each cell is one migration, one move of a
 * FlexVol, one operation on a share, or one live migration of a server, with one crash; the tables of all outcomes are written to test/crash/results/.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '@volant/contract/errors.ts'
import { nameOf, runCell, victims, type Cell } from './cell.ts'
import { allCells, selected } from './matrix.ts'
import { selectedHostCells } from './host/matrix.ts'
import { runHostCells } from './host/run.ts'
import { selectedMoveCells } from './move/matrix.ts'
import { runMoveCells } from './move/run.ts'
import { selectedShareCells } from './share/matrix.ts'
import { runShareCells } from './share/run.ts'
import { tableOf, type Row } from './table.ts'
import { openWorld, type World } from './world.ts'

const results = join(import.meta.dirname, 'results')
const all = selected(allCells(victims), process.argv.slice(2))
const moves = selectedMoveCells(process.argv.slice(2))
const shares = selectedShareCells(process.argv.slice(2))
const hosts = selectedHostCells(process.argv.slice(2))
if (all.length + moves.length + shares.length + hosts.length === 0)
  throw new Error(`no cell matches ${process.argv.slice(2).join(' ')}`)
mkdirSync(results, { recursive: true })

const rowsFile = join(results, 'rows.json')
/** A part of the matrix takes its place in the table of the runs before it; the whole begins a new one. */
let rows: Row[] =
  process.argv.length > 2 && existsSync(rowsFile) ? (JSON.parse(readFileSync(rowsFile, 'utf8')) as Row[]) : []
const ran: Row[] = []
let world: World | undefined
let endRequested = false

async function attempt(cell: Cell): Promise<Row> {
  const name = nameOf(cell)
  const began = performance.now()
  try {
    if (world?.where !== cell.where) {
      await world?.close()
      world = undefined
      world = await openWorld(cell.where)
    }
    const outcome = await runCell(world, cell)
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    const pause = outcome.longestMs === null ? '' : `, longest write ${outcome.longestMs.toFixed(0)} ms`
    console.log(`ok     ${name} (${seconds} s): ${outcome.ended}, ${outcome.attempts} attempts${pause}`)
    return { cell, outcome }
  } catch (error) {
    console.log(`FAILED ${name}: ${messageOf(error)}\n       again: npm run crash -- ${name}`)
    await abandon(name)
    return { cell, failure: messageOf(error) }
  }
}

/** A world in which something went wrong is no place for the next cell; its logs and database are kept. */
async function abandon(name: string): Promise<void> {
  const failed = world
  world = undefined
  if (failed === undefined) return
  const kept = join(results, name.replaceAll('/', '_'))
  await cp(failed.plane.stateDir, kept, {
    recursive: true,
    force: true,
    filter: (path) => !/\/(lma|lmb|run|tls)(\/|$)|root\.raw$/.test(path),
  }).catch((error: unknown) => console.log(`       nothing kept: ${messageOf(error)}`))
  console.log(`       kept: ${kept}`)
  await failed.close().catch((error: unknown) => console.log(`       ${messageOf(error)}`))
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    console.log(`ended by ${signal}, when this cell is over`)
    endRequested = true
  })
}
for (const cell of all) {
  if (endRequested) break
  const row = await attempt(cell)
  ran.push(row)
  rows = [...rows.filter((one) => nameOf(one.cell) !== nameOf(cell)), row]
  writeFileSync(rowsFile, JSON.stringify(rows))
  writeFileSync(join(results, 'crash-table.md'), tableOf(rows))
}
await world?.close()
const moved = await runMoveCells(moves, results, () => endRequested)
const shared = await runShareCells(shares, results, () => endRequested)
const hosted = await runHostCells(hosts, results, () => endRequested)
const failed = [
  ...ran.filter((row) => row.failure !== undefined).map(({ cell }) => nameOf(cell)),
  ...moved.failed,
  ...shared.failed,
  ...hosted.failed,
]
console.log(
  `\n${ran.length + moved.count + shared.count + hosted.count - failed.length} passed, ${failed.length} failed`,
)
for (const name of failed) console.log(`  npm run crash -- ${name}`)
process.exitCode = failed.length === 0 ? 0 : 1
