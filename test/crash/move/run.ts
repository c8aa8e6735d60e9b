/** Runs cells one after the other in one world, as long as none fails in it; keeps the table of what was run. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '@volant/contract/errors.ts'
import { moveNameOf, moveVictims, runMoveCell, type MoveCell, type MoveOutcome } from './cell.ts'
import { allMoveCells, movePointsOf } from './matrix.ts'
import { movePoints } from './points.ts'
import { moveWheres, openMoveWorld, type MoveWhere, type MoveWorld } from './world.ts'

interface Row {
  name: string
  outcome?: MoveOutcome
  failure?: string
}

export async function runMoveCells(
  cells: readonly MoveCell[],
  results: string,
  isEnded: () => boolean,
): Promise<{ count: number; failed: string[] }> {
  const rowsFile = join(results, 'move-rows.json')
  const isWhole = cells.length === allMoveCells().length
  let rows = !isWhole && existsSync(rowsFile) ? (JSON.parse(readFileSync(rowsFile, 'utf8')) as Row[]) : []
  const ran: Row[] = []
  let world: MoveWorld | undefined
  for (const cell of cells) {
    if (isEnded()) break
    const name = moveNameOf(cell)
    const began = performance.now()
    const row: Row = { name }
    try {
      if (world !== undefined && world.where !== cell.where) {
        const former = world
        world = undefined
        await former.close()
      }
      world ??= await openMoveWorld(cell.where)
      row.outcome = await runMoveCell(world, cell)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      console.log(`ok     ${name} (${seconds} s): ${row.outcome.ended}, ${row.outcome.again} parts again`)
    } catch (error) {
      row.failure = messageOf(error)
      console.log(`FAILED ${name}: ${row.failure}\n       again: npm run crash -- ${name}`)
      if (world !== undefined) await closeAndKeep(world)
      world = undefined
    }
    ran.push(row)
    rows = [...rows.filter((one) => one.name !== name), row]
    writeFileSync(rowsFile, JSON.stringify(rows))
    writeFileSync(join(results, 'move-table.md'), moveTableOf(rows))
  }
  await world?.close()
  return {
    count: ran.length,
    failed: ran.filter(({ failure }) => failure !== undefined).map(({ name }) => name),
  }
}

/** What went wrong in it is looked at there; the next cell begins with another one, which goes when it is over. */
async function closeAndKeep(world: MoveWorld): Promise<void> {
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
  const { ended, again } = row.outcome
  return again === 0 ? ended : `${ended}, ${again} ${again === 1 ? 'part' : 'parts'} again`
}

const titles: Record<MoveWhere, string> = {
  here: '## The move of a FlexVol; agents in processes of their own',
  apart: '## The same between two storage nodes, each on a machine of its own',
}

function tableOf(where: MoveWhere, rows: readonly Row[]): string[] {
  const known = new Set(allMoveCells().map(moveNameOf))
  return [
    titles[where],
    '',
    `| point | ${moveVictims.join(' | ')} |`,
    `|---|${moveVictims.map(() => '---').join('|')}|`,
    ...movePointsOf(where).map((point) => {
      const cells = moveVictims.map((victim) => {
        const name = moveNameOf({ where, point, victim })
        return textOf(
          rows.find((row) => row.name === name),
          known.has(name),
        )
      })
      return `| ${point} | ${cells.join(' | ')} |`
    }),
    '',
  ]
}

function moveTableOf(rows: readonly Row[]): string {
  const lines = [
    ...moveWheres.flatMap((where) => tableOf(where, rows)),
    '| point | what it means | truth |',
    '|---|---|---|',
    ...movePoints.map(({ name, means, truth }) => `| ${name} | ${means} | ${truth} |`),
  ]
  return `${lines.join('\n')}\n`
}
