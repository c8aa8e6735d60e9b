import type { LogEntry, RunRecord } from '@volant/saga'
import type { Attachment, Copy, Volume } from './volume.ts'

/**
 * What undoing an operation means, decided from what is on record. Pure: `app/undo.ts` asks the world and carries
 * it out, docs/protocol/undo.md has the reasons.
 */

/** A volume's move to another pool, as the input of `volume.migrate` and of `volume.revertMigration` has it. */
export interface Move {
  volumeId: string
  /** The truth before, and its pool. */
  sourceImageId: string
  sourceFlexvolId: string
  /** The truth since. */
  targetImageId: string
  targetFlexvolId: string
  /** Not null: the volume was locked meanwhile. */
  lockedFrom: Volume['status'] | null
}

/** On record in the input of an operation that undoes another. */
export interface UndoOf {
  operationId: string
  /** Why in this way. */
  reason: string
}

/**
 * What the move of a detached volume notes at its end, when nobody had either image open: by it can be told later
 * that nobody has written since.
 */
export interface MoveSeal {
  /** `ImageInfo.changeMark` of both images. */
  sourceMark: string
  targetMark: string
  /** `updatedAt` that the move gave the volume's row. Whoever claims the volume for a use gives it another. */
  volumeUpdatedAt: string
}

/** Kinds of operations that move a volume, and can be undone by bringing it back. */
const moveKinds = ['volume.migrate', 'volume.revertMigration'] as const

export const isMove = (run: Pick<RunRecord, 'kind'>): boolean =>
  (moveKinds as readonly string[]).includes(run.kind)

export const moveOf = (run: Pick<RunRecord, 'input'>): Move & { undoOf?: UndoOf } =>
  run.input as Move & { undoOf?: UndoOf }

/** Absent: the move ended before seals were noted, or a person did the step by hand. Null: nothing could be sealed. */
export function sealOf(log: readonly LogEntry[]): MoveSeal | null | undefined {
  const end = log.findLast((entry) => entry.step === 'finish' && entry.event === 'done')
  return (end?.output as { seal?: MoveSeal | null } | null | undefined)?.seal
}

type Verdict =
  /** Nothing was committed: what was done is undone backwards. */
  | { action: 'cancel'; reason: string }
  /** It is being undone, and stopped on the way: the undoing goes on. */
  | { action: 'unwind'; reason: string }
  /** It is over: the volume is to be brought back. */
  | { action: 'bring-back' }
  | { action: 'refuse'; reason: string }

/** What follows from the operation itself, wherever its volume may be by now. */
export function judgeRun(run: RunRecord, log: readonly LogEntry[]): Verdict {
  const name = `Operation ${run.id} (${run.kind})`
  if (run.state === 'failed' || run.state === 'cancelled') {
    const why = run.state === 'failed' ? 'it failed' : 'it was cancelled'
    return refuse(`There is nothing to undo: ${name} did not succeed, ${why}, and all it did is undone.`)
  }
  if (run.state !== 'succeeded') return judgeUnfinished(run, log, name)
  if (!isMove(run)) return refuse(`${name} is not undone by 'volant undo'. ${insteadOf(run)}`)
  return { action: 'bring-back' }
}

function judgeUnfinished(run: RunRecord, log: readonly LogEntry[], name: string): Verdict {
  const watch = `volant operations watch ${run.id}`
  const resume = `volant operations resume ${run.id}`
  const stuck = run.state === 'needs-attention'
  if (run.state === 'cancelling' || run.state === 'unwinding' || isUnwinding(log)) {
    return stuck
      ? { action: 'unwind', reason: 'It is half undone and stopped; the undoing goes on.' }
      : refuse(`${name} is being undone already. Watch it with '${watch}'.`)
  }
  if (run.cancellable) {
    return {
      action: 'cancel',
      reason: 'It has not passed its point of no return, so all it did is undone backwards.',
    }
  }
  const at = `${name} has passed its point of no return and has not ended: it is ${run.state} at '${run.step ?? ''}'.`
  return refuse(
    stuck || run.control.paused
      ? `${at} Resume it first ('${resume}'); when it has ended, undo it.`
      : `${at} Wait for its end ('${watch}'), then undo it.`,
  )
}

/** Once an operation has turned back it never goes forward again. */
const isUnwinding = (log: readonly LogEntry[]): boolean =>
  log.some(
    ({ event, decision }) =>
      event === 'cancelled' || event === 'undone' || event === 'undo-failed' || decision === 'unwind',
  )

const refuse = (reason: string) => ({ action: 'refuse' as const, reason })

/** How to get the opposite of an operation that is no move. */
function insteadOf(run: RunRecord): string {
  const input = run.input as Record<string, unknown>
  const [server, volume] = [String(input['serverId']), String(input['volumeId'])]
  const commands: Record<string, string> = {
    'volume.create': `cinder delete ${volume}`,
    'volume.attach': `nova volume-detach ${server} ${volume}`,
    'volume.detach': `nova volume-attach ${server} ${volume}`,
    'server.create': `nova delete ${server}`,
    'server.start': `nova stop ${server}`,
    'server.stop': `nova start ${server}`,
    'server.resize':
      input['confirm'] === true
        ? `nova migrate --host ${String(input['from'])} ${server}`
        : `nova resize-revert ${server}`,
    'server.pause': input['paused'] === false ? `nova pause ${server}` : `nova unpause ${server}`,
  }
  const command = commands[run.kind]
  if (command !== undefined) return `The opposite is: ${command}`
  if (run.kind === 'volume.extend') return 'A volume cannot shrink, so there is no way back.'
  if (run.kind.endsWith('.delete')) return 'What was deleted is gone, so there is no way back.'
  return 'There is nothing that takes it back.'
}

export interface PlaceFacts {
  run: RunRecord
  /** The move that `run` made. */
  move: Move
  /** Undefined: it does not exist any more. */
  volume: Volume | undefined
  /** The copy that the move left, while it is kept. */
  kept: Copy | undefined
  /** Host string of the pool that the volume was in; null: that pool does not exist any more. */
  formerPool: string | null
  /** The move by which the volume came to where it is now, where that is not `run`. */
  movedOnBy: { id: string; undoes: string | null } | undefined
  now: Date
}

/** Why a volume can't be brought back; undefined where it can. */
export function whyNotBack(facts: PlaceFacts): string | undefined {
  const { run, move, volume, kept, formerPool, movedOnBy, now } = facts
  if (volume === undefined) return `Volume ${move.volumeId} does not exist any more.`
  if (volume.imageId !== move.targetImageId) {
    if (movedOnBy === undefined)
      return 'The volume has another image since, and not by a move on record: it was reverted to a snapshot, for example.'
    return movedOnBy.undoes === run.id
      ? `It was undone already, by operation ${movedOnBy.id}. To undo that one: volant undo ${movedOnBy.id}`
      : `The volume has moved on since, by operation ${movedOnBy.id}. Undo that one first: volant undo ${movedOnBy.id}`
  }
  if (formerPool === null) return 'The pool that the volume was in does not exist any more.'
  if (isKept(kept, now)) return undefined
  return (
    'The retention time is over, and with it the time to undo. An ordinary migration brings the volume back: ' +
    `volant migrate ${move.volumeId} '${formerPool}'`
  )
}

/** Until when the move can be undone; undefined: no more. Cheap, for lists: `whyNotBack` has the reasons. */
export function undoableUntil(facts: {
  move: Move
  volume: Volume | undefined
  kept: Copy | undefined
  isHeld: boolean
  now: Date
}): string | undefined {
  const { move, volume, kept, isHeld, now } = facts
  if (isHeld || volume?.imageId !== move.targetImageId || !isKept(kept, now)) return undefined
  return kept?.retainedUntil ?? undefined
}

const isKept = (kept: Copy | undefined, now: Date): boolean =>
  kept?.state === 'retained' && kept.retainedUntil !== null && kept.retainedUntil > now.toISOString()

/** One part of the proof that nobody has written to the volume since it moved. */
export interface ProofPart {
  /** A stable name for scripts. */
  name: string
  ok: boolean
  /** What was found. */
  reason: string
}

export interface ProofFacts {
  log: readonly LogEntry[]
  runId: string
  seal: MoveSeal | null | undefined
  /** The newest operation on record that held or holds the volume, the undo itself left out. */
  newestOnVolume: { id: string; kind: string } | undefined
  volume: Pick<Volume, 'updatedAt'>
  attachments: Attachment[]
  /** The former image is where its FlexVol is, or moves to. */
  isAtHome: boolean
  /** What the storage nodes say of both images; a text: why they don't. */
  source: ImageFacts | string
  target: ImageFacts | string
}

export interface ImageFacts {
  /** Undefined: it is not there. */
  info: { imageId: string; sizeBytes: number; readOnly: boolean; changeMark: string } | undefined
  copy: Pick<Copy, 'imageId' | 'sizeBytes'>
}

type Rule = (facts: ProofFacts) => Omit<ProofPart, 'name'>

const pass = (reason: string) => ({ ok: true, reason })
const fail = (reason: string) => ({ ok: false, reason })

const proof: Record<string, Rule> = {
  'was-detached': ({ seal }) => {
    if (seal === undefined) return fail('The move left no note of how the images were at its end.')
    return seal === null
      ? fail('The volume was in use when it moved; its client may have written ever since.')
      : pass('the volume was detached when it moved')
  },
  'nothing-by-hand': ({ log }) =>
    log.some(({ event }) => event === 'skipped')
      ? fail('A step of the move was done by hand; whether it left nobody writing is not on record.')
      : pass('no step was done by hand'),
  'is-detached': ({ attachments }) =>
    attachments.length === 0
      ? pass('the volume is detached')
      : fail('The volume is attached, or is being attached; its client may have written.'),
  'no-operation-since': ({ newestOnVolume, runId }) =>
    newestOnVolume === undefined || newestOnVolume.id === runId
      ? pass('no other operation has worked on the volume since')
      : fail(`Operation ${newestOnVolume.id} (${newestOnVolume.kind}) has worked on the volume since.`),
  'record-untouched': ({ seal, volume }) =>
    seal != null && volume.updatedAt === seal.volumeUpdatedAt
      ? pass("the volume's record is as the move left it")
      : fail("The volume's record has changed since; somebody may have used the volume."),
  'same-place': ({ isAtHome }) =>
    isAtHome
      ? pass('the former image is where its pool is')
      : fail('The pool of the former image has moved to another aggregate since.'),
  'source-as-left': ({ seal, source }) => asLeft('former source', source, seal?.sourceMark, true),
  'target-unwritten': ({ seal, target }) => asLeft('present image', target, seal?.targetMark, false),
}

function asLeft(what: string, facts: ImageFacts | string, mark: string | undefined, readOnly: boolean) {
  if (typeof facts === 'string') return fail(`The ${what} can't be looked at: ${facts}`)
  const { info, copy } = facts
  if (info === undefined || info.imageId !== copy.imageId) return fail(`The ${what} is not there.`)
  if (info.sizeBytes !== copy.sizeBytes) {
    return fail(`The ${what} has ${info.sizeBytes} bytes instead of ${copy.sizeBytes}.`)
  }
  if (info.readOnly !== readOnly) return fail(`The ${what} is ${readOnly ? 'not ' : ''}read-only.`)
  return mark !== undefined && info.changeMark === mark
    ? pass(`the ${what}'s file is unchanged since the move's end`)
    : fail(`The ${what}'s file was written to or changed since the move's end.`)
}

/** Every part, in the order in which they are reported. All of them hold: the former source has every write. */
export function proveUnwritten(facts: ProofFacts): ProofPart[] {
  return Object.entries(proof).map(([name, rule]) => ({ name, ...rule(facts) }))
}

/** Why the volume is brought back in this way, in one sentence. */
export function reasonFor(parts: readonly ProofPart[]): string {
  const missing = parts.find((part) => !part.ok)
  return missing === undefined
    ? 'Nobody has written to the volume since it moved, so its former image has every write: it is made the truth again.'
    : `Every write since has to be brought back, so the volume migrates: ${missing.reason}`
}
