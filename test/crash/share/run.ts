/** Runs cells one after the other in one world, as long as none fails in it; keeps the table of what was run. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '@volant/contract/errors.ts'
import { runShareCell, shareNameOf, shareVictims, type ShareCell, type ShareOutcome } from './cell.ts'
import { allShareCells } from './matrix.ts'
import { sharePoints } from './points.ts'
import { openShareWorld, type ShareWorld } from './world.ts'

interface Row {
  name: string
  outcome?: ShareOutcome
  failure?: string
}

export async function runShareCells(
  cells: readonly ShareCell[],
  results: string,
  isEnded: () => boolean,
): Promise<{ count: number; failed: string[] }> {
  const rowsFile = join(results, 'share-rows.json')
  // Read each time: another part may be run beside this one.
  const rowsSoFar = (): Row[] =>
    existsSync(rowsFile) ? (JSON.parse(readFileSync(rowsFile, 'utf8')) as Row[]) : []
  if (cells.length === allShareCells().length) rmSync(rowsFile, { force: true })
  const ran: Row[] = []
  let world: ShareWorld | undefined
  for (const cell of cells) {
    if (isEnded()) break
    const name = shareNameOf(cell)
    const began = performance.now()
    const row: Row = { name }
    try {
      world ??= await openShareWorld()
      row.outcome = await runShareCell(world, cell)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      console.log(`ok     ${name} (${seconds} s): ${row.outcome.ended}`)
    } catch (error) {
      row.failure = messageOf(error)
      console.log(`FAILED ${name}: ${row.failure}\n       again: npm run crash -- ${name}`)
      if (world !== undefined) await keep(world)
      world = undefined
    }
    ran.push(row)
    const rows = [...rowsSoFar().filter((one) => one.name !== name), row]
    writeFileSync(rowsFile, JSON.stringify(rows))
    writeFileSync(join(results, 'share-table.md'), shareTableOf(rows))
  }
  const failed = ran.filter(({ failure }) => failure !== undefined).map(({ name }) => name)
  try {
    await world?.close()
  } catch (error) {
    // What is found on the disks at the end is nobody's in particular.
    console.log(`FAILED at the end: ${messageOf(error)}`)
    failed.push('share')
  }
  return { count: ran.length, failed }
}

/** What went wrong in it is looked at there; the next cell begins with another one, which goes when it is over. */
async function keep(world: ShareWorld): Promise<void> {
  const wish = process.env['VOLANT_TEST_KEEP']
  process.env['VOLANT_TEST_KEEP'] = '1'
  try {
    await world.close()
  } catch (error) {
    console.log(`       ${messageOf(error)}`)
  } finally {
    if (wish === undefined) delete process.env['VOLANT_TEST_KEEP']
  }
  const { stateDir } = world.plane
  console.log(existsSync(stateDir) ? `       kept: ${stateDir}` : '       nothing of it is kept')
}

function textOf(row: Row | undefined, isCell: boolean): string {
  if (row === undefined) return isCell ? '(not run)' : ''
  return row.outcome === undefined ? '**FAILED**' : row.outcome.ended
}

function shareTableOf(rows: readonly Row[]): string {
  const known = new Set(allShareCells().map(shareNameOf))
  const lines = [
    '## Shares; agents in a process of their own',
    '',
    'What is asked for is brought to the point, and what the column names is killed there with SIGKILL (`block device`: the',
    'worker and the supervisor at once; `cancel`: nothing, but the operation is cancelled). In every cell that did not',
    'fail, each record that was synced into the file system is there, a client that is allowed reads and writes and no',
    "other sees anything, the handle of the share's root is the same, and nothing is left over. After the last of them",
    '`xfs_repair -n` finds nothing. All cells take about 50 minutes.',
    '',
    `| point | ${shareVictims.join(' | ')} |`,
    `|---|${shareVictims.map(() => '---').join('|')}|`,
    ...sharePoints.map(({ name: point }) => {
      const cells = shareVictims.map((victim) => {
        const name = shareNameOf({ point, victim })
        return textOf(
          rows.find((row) => row.name === name),
          known.has(name),
        )
      })
      return `| ${point} | ${cells.join(' | ')} |`
    }),
    '',
    '| point | what it means |',
    '|---|---|',
    ...sharePoints.map(({ name, means }) => `| ${name} | ${means} |`),
  ]
  const failed = rows.filter(({ failure }) => failure !== undefined)
  if (failed.length > 0) lines.push('', '### Failed', '')
  for (const { name, failure } of failed)
    lines.push(`- \`npm run crash -- ${name}\`: ${failure?.split('\n')[0]}`)
  return `${lines.join('\n')}\n`
}
