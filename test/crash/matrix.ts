/** Which cells there are: every point with everything that can be killed there. */
import { nameOf, type Cell, type Victim } from './cell.ts'
import { points } from './points.ts'
import type { Where } from './world.ts'

const names = points.map(({ name }) => name)
/** From the one point to the other, both included. */
const between = (first: string, last: string): string[] =>
  names.slice(names.indexOf(first), names.indexOf(last) + 1)

const undoing = points.filter((point) => point.undoing).map(({ name }) => name)

/** Where somebody has a process to kill; without an entry: everywhere. */
function pointsOf(where: Where, volume: Cell['volume'], victim: Victim): string[] {
  const isMover = volume === 'detached'
  switch (victim) {
    case 'head':
      return isMover ? [...between('openHolder', 'finalized'), 'undoMirror', 'mirrorUndone'] : names
    case 'guest':
      return isMover ? [] : names
    case 'source export':
      // The mover of a detached volume is on the machine of the source: it opens a file.
      return where === 'remote' && !isMover ? [...between('reserveTarget', 'recorded'), ...undoing] : []
    case 'target export':
      if (where === 'local') return []
      return [...between('startMirror', isMover ? 'settle' : 'finish'), 'undoMirror', 'mirrorUndone']
    case 'storage agent':
    case 'compute agent':
      // Elsewhere they are a part of the control plane.
      return where === 'remote' ? names : []
    case 'guard':
      return between('pending', 'revoked')
    case 'control plane':
    case 'everything':
      return names
    default:
      return []
  }
}

export function allCells(victims: readonly Victim[]): Cell[] {
  const cells: Cell[] = []
  for (const where of ['local', 'remote'] as const) {
    for (const volume of ['attached', 'detached'] as const) {
      for (const point of names) {
        for (const victim of victims) {
          if (pointsOf(where, volume, victim).includes(point)) cells.push({ where, volume, point, victim })
        }
      }
    }
  }
  return cells
}

/** Cells whose name contains one of the parts, those of the first part first; all of them where there is none. */
export function selected(cells: readonly Cell[], parts: readonly string[]): Cell[] {
  if (parts.length === 0) return [...cells]
  return [...new Set(parts.flatMap((part) => cells.filter((cell) => `${nameOf(cell)}/`.includes(part))))]
}

/**
 * The cells of `npm test`, by their names: one for each kind of fault and each side of the commit. The control plane's own death
 * there is in guest-alone.test.ts, which lets it be dead for longer.
 */
export const quick: Record<Where, readonly string[]> = {
  local: [
    'local/attached/inSync/control-plane',
    'local/attached/ready/head',
    'local/attached/pending/guest',
    'local/attached/committed/head',
    'local/attached/committed/everything',
    'local/attached/finalized/control-plane',
    'local/attached/undoMirror/control-plane',
    'local/detached/committed/control-plane',
  ],
  remote: [
    'remote/attached/createTarget/storage-agent',
    'remote/attached/inSync/source-export',
    'remote/attached/pending/target-export',
    'remote/attached/pending/compute-agent',
    'remote/attached/committed/everything',
    'remote/attached/recorded/head',
    'remote/detached/pending/head',
  ],
}
