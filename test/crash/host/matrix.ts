/** Which cells there are: every point with everything that can be killed there. */
import { hostNameOf, hostVictims, type HostCell, type HostVictim } from './cell.ts'
import { livePoints, type HostPoint } from './points.ts'

const names = livePoints.map(({ name }) => name)
const from = (name: string): string[] => names.slice(names.indexOf(`live.${name}`))
const upTo = (name: string): string[] => names.slice(0, names.indexOf(`live.${name}`) + 1)
const back = livePoints.filter(({ undoing }) => undoing).map(({ name }) => name)

/** Where it is there; without an entry: everywhere. */
const present: Partial<Record<HostVictim, readonly string[]>> = {
  'source guest': [...upTo('retiring'), ...back],
  // It is ended while the rest goes back.
  'destination guest': from('incoming').filter((name) => !back.includes(name) || name === 'live.goingBack'),
  'source heads': [...upTo('retired'), ...back],
  'destination heads': from('headStandsBy').filter((name) => name !== 'live.headEnded'),
  // What is being undone, or past its commit, can't be cancelled.
  cancel: upTo('sent').filter((name) => name !== 'live.reserved'),
}

const isThere = ({ name }: HostPoint, victim: HostVictim): boolean => present[victim]?.includes(name) ?? true

export const allHostCells = (): HostCell[] =>
  livePoints.flatMap((point) =>
    hostVictims.filter((victim) => isThere(point, victim)).map((victim) => ({ point: point.name, victim })),
  )

/** Cells whose name contains one of the parts; all of them where there is none. */
export const selectedHostCells = (parts: readonly string[]): HostCell[] =>
  allHostCells().filter(
    (cell) => parts.length === 0 || parts.some((part) => `${hostNameOf(cell)}/`.includes(part)),
  )

/** The cells of `npm test`: the guest stands still, the source has no access any more, and nothing is on record yet. */
export const quickHostCells: readonly string[] = ['host/live/given/control-plane']
