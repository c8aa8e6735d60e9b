/** Which cells there are: every point of a move with everything that can be killed there. */
import { moveNameOf, moveVictims, type MoveCell, type MoveVictim } from './cell.ts'
import { movePoints } from './points.ts'
import { moveWheres, type MoveWhere } from './world.ts'

/** Of sharing blocks, for which both aggregates must be on one node. */
const sharing = [
  'targetCloned',
  'mirrorNotes',
  'sourceCloned',
  'bringingUp',
  'broughtUp',
  'cloneRemoved',
  'mirrorGoesOn',
]

export const movePointsOf = (where: MoveWhere): string[] =>
  movePoints.map(({ name }) => name).filter((name) => where === 'here' || !sharing.includes(name))

function pointsOf(where: MoveWhere, victim: MoveVictim): string[] {
  const names = movePointsOf(where)
  switch (victim) {
    case 'guard':
      // It is there from the request for completion to the cutover's end.
      return ['livePending', 'liveCommitted', 'liveRecorded']
    case 'copy':
      return names.filter((name) => name === 'restCopying' || name === 'bringingUp')
    default:
      return names
  }
}

export const allMoveCells = (): MoveCell[] =>
  moveWheres.flatMap((where) =>
    movePointsOf(where).flatMap((point) =>
      moveVictims
        .filter((victim) => pointsOf(where, victim).includes(point))
        .map((victim) => ({ where, point, victim })),
    ),
  )

/** Cells whose name contains one of the parts; all of them where there is none. */
export const selectedMoveCells = (parts: readonly string[]): MoveCell[] =>
  allMoveCells().filter(
    (cell) => parts.length === 0 || parts.some((part) => `${moveNameOf(cell)}/`.includes(part)),
  )

/** The cells of `npm test`: one for each kind of fault and each part of the move. */
export const quickMoveCells: readonly string[] = [
  'move/restCopying/storage-agent',
  'move/snapshotFlipped/control-plane',
  'move/bringingUp/control-plane',
  'move/liveCommitted/everything',
  'move/backFlipped/control-plane',
]
