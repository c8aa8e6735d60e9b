/** The table of points, processes and outcomes, as markdown. */
import { nameOf, victims, type Cell, type Outcome } from './cell.ts'
import { allCells } from './matrix.ts'
import { points } from './points.ts'

export interface Row {
  cell: Cell
  outcome?: Outcome
  failure?: string
}

const titles: Record<string, string> = {
  'local/attached': 'In use, all on one machine',
  'local/detached': 'Not in use, all on one machine',
  'remote/attached': 'In use; the compute host and both storage nodes machines of their own',
  'remote/detached': 'Not in use; both storage nodes machines of their own',
}

function textOf(row: Row | undefined, isCell: boolean): string {
  if (row === undefined) return isCell ? '(not run)' : ''
  if (row.outcome === undefined) return '**FAILED**'
  const { ended, attempts, longestMs } = row.outcome
  const tries = attempts === 0 ? '' : `, tried ${attempts + 1}×`
  const pause = longestMs === null ? '' : `, ${longestMs < 1000 ? '< 1' : (longestMs / 1000).toFixed(0)} s`
  return `${ended}${tries}${pause}`
}

export function tableOf(rows: readonly Row[]): string {
  const lines = [
    '# What was killed where, and what came of it',
    '',
    'Written by `npm run crash` (test/crash): a migration is brought to the point, the process is killed there with',
    'SIGKILL, and only the control plane (and a server whose guest was killed) is started again by hand. A cell tells how',
    "the operation ended, how often it tried, and the longest write that the guest's probe saw (on a busy machine). In",
    'every cell that did not fail, each write that was acknowledged was found on the image that the record names; that',
    'image was open once, and no other was; no process, image, row, socket, log or record was left over; and the stock',
    'APIs showed the volume and the server as they should be.',
    '',
    'An empty cell has nothing to kill.',
    '',
    'SIGKILL leaves the page cache alone: what a loss of power does to a disk is not shown by it.',
  ]
  const known = new Set(
    allCells(victims).map(({ where, volume, point, victim }) => `${where}/${volume}/${point}/${victim}`),
  )
  for (const [key, title] of Object.entries(titles)) {
    const here = rows.filter(({ cell }) => `${cell.where}/${cell.volume}` === key)
    if (here.length === 0) continue
    const columns = victims.filter((victim) => here.some(({ cell }) => cell.victim === victim))
    lines.push('', `## ${title}`, '', `| point | ${columns.join(' | ')} |`)
    lines.push(`|---|${columns.map(() => '---').join('|')}|`)
    for (const point of points) {
      const cells = columns.map((victim) =>
        textOf(
          here.find(({ cell }) => cell.point === point.name && cell.victim === victim),
          known.has(`${key}/${point.name}/${victim}`),
        ),
      )
      if (cells.some((text) => text !== '')) lines.push(`| ${point.name} | ${cells.join(' | ')} |`)
    }
  }
  lines.push('', '## The points', '', '| point | what it means | truth |', '|---|---|---|')
  for (const { name, means, truth } of points) lines.push(`| ${name} | ${means} | ${truth} |`)
  const failed = rows.filter(({ failure }) => failure !== undefined)
  if (failed.length > 0) lines.push('', '## Failed', '')
  for (const { cell, failure } of failed) {
    lines.push(`- \`npm run crash -- ${nameOf(cell)}\`: ${failure?.split('\n')[0] ?? ''}`)
  }
  return `${lines.join('\n')}\n`
}
