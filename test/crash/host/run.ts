/** Runs cells one after the other in one world, as long as none fails in it; keeps the table of what was run. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '@volant/contract/errors.ts'
import { skipHosts } from '../../host/network.ts'
import { hostNameOf, hostVictims, runHostCell, type HostCell, type HostOutcome } from './cell.ts'
import { allHostCells } from './matrix.ts'
import { livePoints } from './points.ts'
import { openHostWorld, type HostWorld } from './world.ts'

interface Row {
  name: string
  outcome?: HostOutcome
  failure?: string
}

export async function runHostCells(
  cells: readonly HostCell[],
  results: string,
  isEnded: () => boolean,
): Promise<{ count: number; failed: string[] }> {
  if (cells.length === 0) return { count: 0, failed: [] }
  // What could not be run has not passed.
  if (skipHosts !== false) return { count: cells.length, failed: [`host: ${skipHosts}`] }
  const rowsFile = join(results, 'host-rows.json')
  // Read each time: another part may be run beside this one.
  const rowsSoFar = (): Row[] =>
    existsSync(rowsFile) ? (JSON.parse(readFileSync(rowsFile, 'utf8')) as Row[]) : []
  if (cells.length === allHostCells().length) rmSync(rowsFile, { force: true })
  const ran: Row[] = []
  let world: HostWorld | undefined
  for (const cell of cells) {
    if (isEnded()) break
    const name = hostNameOf(cell)
    const began = performance.now()
    const row: Row = { name }
    try {
      world ??= await openHostWorld()
      row.outcome = await runHostCell(world, cell)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      console.log(`ok     ${name} (${seconds} s): ${textOf(row, true)}`)
    } catch (error) {
      row.failure = messageOf(error)
      console.log(`FAILED ${name}: ${row.failure}\n       again: npm run crash -- ${name}`)
      if (world !== undefined) await keep(world)
      world = undefined
    }
    ran.push(row)
    const rows = [...rowsSoFar().filter((one) => one.name !== name), row]
    writeFileSync(rowsFile, JSON.stringify(rows))
    writeFileSync(join(results, 'host-table.md'), hostTableOf(rows))
  }
  await world?.close()
  return {
    count: ran.length,
    failed: ran.filter(({ failure }) => failure !== undefined).map(({ name }) => name),
  }
}

/** What went wrong in it is looked at there; the next cell begins with another one. */
async function keep(world: HostWorld): Promise<void> {
  const wish = process.env['VOLANT_TEST_KEEP']
  process.env['VOLANT_TEST_KEEP'] = '1'
  try {
    await world.close()
  } catch (error) {
    console.log(`       ${messageOf(error)}`)
  } finally {
    if (wish === undefined) delete process.env['VOLANT_TEST_KEEP']
  }
}

function textOf(row: Row | undefined, isCell: boolean): string {
  if (row === undefined) return isCell ? '(not run)' : ''
  if (row.outcome === undefined) return '**FAILED**'
  const { ended, pauseMs } = row.outcome
  const where = ended === 'succeeded' ? 'there' : 'here'
  return pauseMs === null ? `${where} (${ended})` : `${where}, ${Math.round(pauseMs)} ms`
}

function hostTableOf(rows: readonly Row[]): string {
  const known = new Set(allHostCells().map(hostNameOf))
  const lines = [
    '## Live migration; two compute hosts and a storage node in network namespaces of their own, with their agents',
    '',
    'The migration of a server with two volumes is brought to the point, and what the column names is killed there with',
    'SIGKILL (`exports`: the daemons of the storage, `cancel`: nothing, but it is cancelled); the control plane and agents',
    'are started again. A cell tells where the server runs afterwards, at the destination (there) or at the source (here),',
    'and for how long its guest stood still by what the operation tells (on a busy machine). In every cell that did not',
    'fail it runs at that one place and nowhere else; each write that was acknowledged is on the images, each of which is',
    'open once; and no process, head, export or row is left over. A guest that was killed is started again.',
    '',
    `| point | ${hostVictims.join(' | ')} |`,
    `|---|${hostVictims.map(() => '---').join('|')}|`,
    ...livePoints.map(({ name: point }) => {
      const cells = hostVictims.map((victim) => {
        const name = hostNameOf({ point, victim })
        return textOf(
          rows.find((row) => row.name === name),
          known.has(name),
        )
      })
      return `| ${point} | ${cells.join(' | ')} |`
    }),
    '',
    '| point | what it means | by the record it is at the |',
    '|---|---|---|',
    ...livePoints.map(
      ({ name, means, truth }) => `| ${name} | ${means} | ${truth === 'source' ? 'source' : 'destination'} |`,
    ),
  ]
  const failed = rows.filter(({ failure }) => failure !== undefined)
  if (failed.length > 0) lines.push('', '### Failed', '')
  for (const { name, failure } of failed)
    lines.push(`- \`npm run crash -- ${name}\`: ${failure?.split('\n')[0]}`)
  return `${lines.join('\n')}\n`
}
