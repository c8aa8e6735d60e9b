/**
 * The named points of a migration at which the control plane is held, and something is killed. Each is a call that the
 * operation makes on its agents or records: held before it is made, or after it returned and before anybody hears of
 * that.
 */
import type { MirrorStatus } from '@volant/contract'

export type Part =
  | 'holders'
  | 'storage'
  | 'shareAgents'
  | 'compute'
  | 'copies'
  | 'volumes'
  | 'flexvols'
  | 'moves'
  | 'shares'
  | 'ground'

export interface Call {
  part: Part
  method: string
  args: readonly unknown[]
}

export interface Point {
  name: string
  /** What has happened, and what has not. */
  means: string
  part: Part
  method: string
  when: 'before' | 'after'
  /** Whether it is this call, of those to the method. */
  is?: (call: Call, result: unknown) => boolean
  /** Only once this method was called. */
  since?: string
  /** What the record names at this point. */
  truth: 'source' | 'target'
  /** Reached only where the operation is cancelled while it copies. */
  undoing?: true
  /** The copy is slowed, so that it lasts until the point. */
  slow?: true
  /** From here until the cutover's end the client's I/O is held: the guard's deadline runs. */
  holdsClient?: true
}

/** Background passes call agents, too, but not on an operation's behalf. */
export const byOperation = ({ args }: Call): boolean =>
  (args[0] as { operationId?: string } | undefined)?.operationId !== undefined

const phaseIs =
  (phase: MirrorStatus['phase'], doneBytes = 0) =>
  (_call: Call, result: unknown): boolean => {
    const status = result as MirrorStatus
    return status.phase === phase && status.doneBytes >= doneBytes
  }

const migrationStatusIs =
  (status: string) =>
  ({ args }: Call): boolean =>
    (args[1] as { migrationStatus?: string | null }).migrationStatus === status

export const points: readonly Point[] = [
  {
    name: 'reserveTarget',
    means: 'the target has its row, and nothing else',
    part: 'copies',
    method: 'create',
    when: 'after',
    truth: 'source',
  },
  {
    name: 'createTarget',
    means: 'the target image is there',
    part: 'storage',
    method: 'ensureImage',
    when: 'after',
    is: byOperation,
    truth: 'source',
  },
  {
    name: 'openHolder',
    means: 'the head is found, or the mover started',
    part: 'holders',
    method: 'ensureHolder',
    when: 'after',
    is: byOperation,
    truth: 'source',
  },
  {
    name: 'startMirror',
    means: 'the mirror runs, and nobody has written that down',
    part: 'holders',
    method: 'ensureMirror',
    when: 'after',
    truth: 'source',
  },
  {
    name: 'inSync',
    means: 'part of the image is copied',
    part: 'holders',
    method: 'mirrorStatus',
    when: 'after',
    is: phaseIs('copying', 2 << 20),
    truth: 'source',
    slow: true,
  },
  {
    name: 'ready',
    means: 'the first pass is over; what the client writes is copied along',
    part: 'holders',
    method: 'mirrorStatus',
    when: 'after',
    is: phaseIs('ready'),
    truth: 'source',
  },
  {
    name: 'beforePrepare',
    means: 'completion is about to be asked for',
    part: 'holders',
    method: 'prepareCutover',
    when: 'before',
    truth: 'source',
  },
  {
    name: 'pending',
    means: 'PENDING: I/O is held, the images are equal, nothing is decided',
    part: 'holders',
    method: 'prepareCutover',
    when: 'after',
    truth: 'source',
    holdsClient: true,
  },
  {
    name: 'committed',
    means: 'the decision register says committed, and the record still names the source',
    part: 'copies',
    method: 'changeTruth',
    when: 'before',
    truth: 'source',
    holdsClient: true,
  },
  {
    name: 'recorded',
    means: 'the record names the target; the source can still be written',
    part: 'copies',
    method: 'changeTruth',
    when: 'after',
    truth: 'target',
    holdsClient: true,
  },
  {
    name: 'revoked',
    means: 'the source is taken away; finalize is about to be sent',
    part: 'holders',
    method: 'finalizeCutover',
    when: 'before',
    truth: 'target',
    holdsClient: true,
  },
  {
    name: 'finalized',
    means: 'the holder stands on the target, and the answer is not noted',
    part: 'holders',
    method: 'finalizeCutover',
    when: 'after',
    truth: 'target',
  },
  {
    name: 'settle',
    means: 'the cutover is noted; the source is about to be closed',
    part: 'copies',
    method: 'find',
    when: 'before',
    since: 'finalizeCutover',
    truth: 'target',
  },
  {
    name: 'retireSource',
    means: 'the source is about to become read-only',
    part: 'storage',
    method: 'ensureImageReadOnly',
    when: 'before',
    is: byOperation,
    truth: 'target',
  },
  {
    name: 'finish',
    means: 'all is done but saying so',
    part: 'volumes',
    method: 'update',
    when: 'before',
    is: migrationStatusIs('success'),
    truth: 'target',
  },
  {
    name: 'undoMirror',
    means: 'cancelled; the mirror is about to be ended',
    part: 'holders',
    method: 'ensureNoMirror',
    when: 'before',
    truth: 'source',
    undoing: true,
    slow: true,
  },
  {
    name: 'mirrorUndone',
    means: 'cancelled; the mirror is gone, and nobody has written that down',
    part: 'holders',
    method: 'ensureNoMirror',
    when: 'after',
    truth: 'source',
    undoing: true,
    slow: true,
  },
  {
    name: 'undoTarget',
    means: 'cancelled; the target image is about to be removed',
    part: 'storage',
    method: 'ensureNoImage',
    when: 'before',
    is: byOperation,
    truth: 'source',
    undoing: true,
    slow: true,
  },
  {
    name: 'targetUndone',
    means: "cancelled; the target's row is gone, and the volume still says that it migrates",
    part: 'copies',
    method: 'remove',
    when: 'after',
    truth: 'source',
    undoing: true,
    slow: true,
  },
]

export function pointOf(name: string, of: readonly Point[] = points): Point {
  const found = of.find((point) => point.name === name)
  if (found === undefined) {
    throw new Error(`there is no point '${name}', but ${of.map((point) => point.name).join(', ')}`)
  }
  return found
}
