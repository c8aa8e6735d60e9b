import type { RunRecord } from '@volant/saga'
import type { FlexVolMoveProgress } from './flexvol-move.ts'
import type { VacateFacts, VacateFlexVol } from './vacate-plan.ts'

/** The progress of the operation `aggregate.vacate`: of all its moves together. Bytes are of all images. */
export interface VacateProgress extends Omit<FlexVolMoveProgress, 'phase' | 'issues'> {
  phase: 'moving' | 'paused'
  /** `stuck`: they can't move, or their move has failed. */
  flexvols: { total: number; moved: number; moving: number; waiting: number; stuck: number }
  /** Why each of the stuck ones is. */
  stuck: { flexvol: string; reason: string }[]
  /** The operator's wishes that its moves have been told. */
  brought: { paused: boolean; rate: number | null; pace?: string | null; priority?: string | null }
}

type Part = Pick<RunRecord, 'state' | 'endedAt' | 'progress' | 'failure' | 'control'>

export interface VacateSeen {
  facts: VacateFacts
  /** The newest move of each FlexVol that this operation has begun, by the FlexVol's id. */
  parts: ReadonlyMap<string, Part>
  /** Why moves can't be started now, by the FlexVol's id. */
  refused: ReadonlyMap<string, string>
  brought: VacateProgress['brought']
}

type Fate = 'moved' | 'moving' | 'waiting' | 'stuck'

const moveOf = (part: Part): FlexVolMoveProgress | null => part.progress as FlexVolMoveProgress | null
const isGoing = (part: Part | undefined): boolean => part !== undefined && part.endedAt === null
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)

export function vacateProgress(seen: VacateSeen): VacateProgress {
  const { facts, brought } = seen
  const parts = [...seen.parts.values()]
  const fates = fatesOf(seen)
  const count = (fate: Fate): number => fates.filter((one) => one === fate).length
  // Of a move that has just begun no more is known than of one that has not.
  const untold = facts.flexvols.filter(({ id }) => {
    const part = seen.parts.get(id)
    return part === undefined || moveOf(part) === null
  })
  const unbegun = sum(untold.map((one) => one.uniqueBytes))
  const doneBytes = sum(parts.map((part) => moveOf(part)?.doneBytes ?? 0))
  const totalBytes = sum(parts.map((part) => moveOf(part)?.totalBytes ?? 0)) + unbegun
  // A move that brings back counts down what it has done.
  const leftBytes = sum(parts.map((part) => moveOf(part)?.leftBytes ?? 0)) + unbegun
  const rateBps = sum(parts.filter(isGoing).map((part) => moveOf(part)?.rateBps ?? 0))
  const pauses = parts.map((part) => moveOf(part)?.longestPauseMs ?? null).filter((ms) => ms !== null)
  return {
    phase: brought.paused ? 'paused' : 'moving',
    doneBytes,
    totalBytes,
    leftBytes,
    rateBps,
    etaSeconds: rateBps === 0 || brought.paused ? null : Math.ceil(leftBytes / rateBps),
    images: imagesOf(parts),
    longestPauseMs: pauses.length === 0 ? null : Math.max(...pauses),
    flexvols: {
      total: fates.length,
      moved: count('moved'),
      moving: count('moving'),
      waiting: count('waiting'),
      stuck: count('stuck'),
    },
    stuck: facts.flexvols.flatMap((one) => {
      const reason = stuckBecause(one, seen)
      return reason === null ? [] : [{ flexvol: one.name, reason }]
    }),
    brought,
  }
}

/** Of every FlexVol that is there, or that this operation has begun to move. */
function fatesOf(seen: VacateSeen): Fate[] {
  const here = new Map(seen.facts.flexvols.map((one) => [one.id, one]))
  return [...new Set([...seen.parts.keys(), ...here.keys()])].map((id) => {
    const flexvol = here.get(id)
    if (isGoing(seen.parts.get(id))) return 'moving'
    if (flexvol === undefined) return 'moved'
    // Somebody else moves it, away or to here: then it is looked at again.
    if (flexvol.destination !== null) return 'moving'
    return stuckBecause(flexvol, seen) === null ? 'waiting' : 'stuck'
  })
}

function stuckBecause({ id, destination }: VacateFlexVol, { parts, refused }: VacateSeen): string | null {
  const part = parts.get(id)
  if (isGoing(part) || destination !== null) return null
  if (part === undefined || part.state === 'succeeded') return refused.get(id) ?? null
  return part.failure?.message ?? `its move was ${part.state}`
}

const none: FlexVolMoveProgress['images'] = {
  total: 0,
  moved: 0,
  copying: 0,
  inSync: 0,
  queued: 0,
  failed: 0,
}

const imagesOf = (parts: readonly Part[]): FlexVolMoveProgress['images'] =>
  parts
    .map((part) => moveOf(part)?.images ?? none)
    .reduce(
      (a, b) => ({
        total: a.total + b.total,
        moved: a.moved + b.moved,
        copying: a.copying + b.copying,
        inSync: a.inSync + b.inSync,
        queued: a.queued + b.queued,
        failed: a.failed + b.failed,
      }),
      none,
    )

/** Somebody has paused a move, or it waits for somebody to trigger its cutovers: it stands still as it is meant to. */
export const isHeld = (parts: ReadonlyMap<string, Part>): boolean =>
  [...parts.values()].some((part) => {
    const phase = moveOf(part)?.phase
    return isGoing(part) && (part.control.paused || phase === 'paused' || phase === 'cutover_pending')
  })

/** One line for each FlexVol that stays. */
export const reasonsOf = (stuck: VacateProgress['stuck']): string =>
  stuck.map((one) => `${one.flexvol} stays: ${one.reason}`).join('\n')
