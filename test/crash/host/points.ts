/** The named points of a live migration, and of an evacuation: calls that the operations make on agents. */
import type { IncomingStatus, MigrationStatus } from '@volant/contract'
import { byOperation, type Call, type Point } from '../points.ts'

/** Which of the two places the server is at when all is over, if the control plane dies here and nothing else does. */
export interface HostPoint extends Point {
  /** Of a migration that is cancelled; it goes back. */
  undoing?: true
}

const isCopying = (_call: Call, result: unknown): boolean => {
  const { phase, transferredBytes } = result as MigrationStatus
  return phase === 'copying' && transferredBytes > 4 << 20
}
const hasArrived = (_call: Call, result: unknown): boolean => (result as IncomingStatus).phase === 'arrived'

type Brief = [name: string, means: string, part: Point['part'], method: string, when: Point['when']]

const point = ([name, means, part, method, when]: Brief, more: Partial<HostPoint> = {}): HostPoint => ({
  name: `live.${name}`,
  means,
  part,
  method,
  when,
  truth: 'source',
  is: byOperation,
  ...more,
})

const after = { truth: 'target' } as const
const back = { undoing: true } as const

/** Here `truth` says where the server is by its record: at the source host, or at the target. */
export const livePoints: readonly HostPoint[] = [
  point(['reserved', 'a destination is chosen, nothing is made', 'storage', 'ensureExportStandby', 'before']),
  point(['exportStandsBy', 'an export stands by', 'storage', 'ensureExportStandby', 'after']),
  point(['headStandsBy', 'a head at the destination stands by', 'holders', 'ensureHolder', 'after']),
  point(['incoming', "the destination's QEMU waits", 'compute', 'ensureIncoming', 'after']),
  point([
    'started',
    'the copy has begun, and nobody has written that down',
    'compute',
    'ensureMigration',
    'after',
  ]),
  point(['copying', 'part of the memory is copied', 'compute', 'awaitMigration', 'after'], {
    is: isCopying,
    slow: true,
  }),
  point([
    'stopped',
    'the guest stands still; its agent gives it up in 3 s',
    'compute',
    'beginSwitchover',
    'before',
  ]),
  point([
    'switching',
    'the rest is being sent; the agent gives nothing up any more',
    'compute',
    'beginSwitchover',
    'after',
  ]),
  point([
    'fencing',
    "the source's access is about to be closed, beside all that is under way",
    'storage',
    'handOverExport',
    'before',
  ]),
  point([
    'given',
    "an export of the source's is closed, a head of the destination has its image",
    'storage',
    'handOverExport',
    'after',
  ]),
  point(['sent', 'all of the memory is sent', 'compute', 'continueMigration', 'after']),
  point(
    [
      'arrived',
      'all is at the destination; the record names the source',
      'compute',
      'awaitIncoming',
      'after',
    ],
    {
      is: hasArrived,
    },
  ),
  point(
    [
      'committed',
      'the record names the destination; its guest stands still',
      'compute',
      'ensureArrived',
      'before',
    ],
    after,
  ),
  point(
    ['goneOn', 'the guest goes on, and nobody has written that down', 'compute', 'ensureArrived', 'after'],
    after,
  ),
  point(
    ['retiring', "the source's guest is about to be removed", 'compute', 'ensureNoGuest', 'before'],
    after,
  ),
  point(
    ['retired', "the source's guest is removed, its heads are there", 'compute', 'ensureNoGuest', 'after'],
    after,
  ),
  point(['headRetired', "a head of the source's is removed", 'holders', 'ensureNoHolder', 'after'], {
    ...after,
    since: 'ensureNoGuest',
  }),
  point(
    [
      'goingBack',
      "cancelled; the destination's QEMU is about to be ended, and all else is undone beside that",
      'compute',
      'ensureNoIncoming',
      'before',
    ],
    { ...back, slow: true },
  ),
  point(
    [
      'givingUp',
      'cancelled; the destination has no access, the migration is about to be given up',
      'compute',
      'ensureMigrationAbandoned',
      'before',
    ],
    { ...back, slow: true },
  ),
  point(
    ['wentBack', 'cancelled; the migration is given up', 'compute', 'ensureMigrationAbandoned', 'after'],
    {
      ...back,
      slow: true,
    },
  ),
  point(
    ['waitingEnded', "cancelled; the destination's QEMU is ended", 'compute', 'ensureNoIncoming', 'after'],
    {
      ...back,
      slow: true,
    },
  ),
  point(['headEnded', 'cancelled; a head in standby is removed', 'holders', 'ensureNoHolder', 'after'], {
    ...back,
    slow: true,
  }),
]

export const hostPoints: readonly HostPoint[] = [
  ...livePoints,
  {
    name: 'evacuate.fenced',
    means: 'the old host has provably no access; nothing is opened elsewhere yet',
    part: 'storage',
    method: 'ensureExport',
    when: 'before',
    is: byOperation,
    since: 'ensureNoExport',
    truth: 'source',
  },
]
