/** Which cells there are: every point of a move with everything that can be killed there. */
import { moveNameOf, moveVictims, type MoveCell, type MoveVictim } from './cell.ts'
import { movePoints } from './points.ts'

const names = movePoints.map(({ name }) => name)

function pointsOf(victim: MoveVictim): string[] {
  switch (victim) {
    case 'guard':
      // It is there from the request for completion to the cutover's end.
      return ['livePending', 'liveCommitted', 'liveRecorded']
    case 'copy':
      return ['restCopying', 'bringingUp']
    default:
      return names
  }
}

export const allMoveCells = (): MoveCell[] =>
  names.flatMap((point) =>
    moveVictims.filter((victim) => pointsOf(victim).includes(point)).map((victim) => ({ point, victim })),
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
