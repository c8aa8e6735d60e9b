import {
  cutoverActions,
  cutoverWindowSeconds as window,
  isUnderWay,
  type FlexVolMove,
} from './flexvol-move.ts'
import { isAt } from './move-order.ts'
import { gib, type AggregatePlace, type FlexVol } from './volume.ts'

/**
 * What must hold before a FlexVol may move. Each condition has its own answer, so a refusal names the thing that is
 * wrong and what would be right; a dry run shows all of them.
 */
export interface MoveCheck {
  /** A stable name for scripts. */
  name: string
  ok: boolean
  reason: string
}

export interface MoveCheckFacts {
  flexvol: FlexVol
  /** As it was asked for. */
  aggregate: string
  /** Names of the cluster's aggregates. */
  known: string[]
  target: {
    place: AggregatePlace
    state: 'online' | 'deleting' | 'unavailable'
    reason: string | null
    /** The operation that empties it; absent: none does. */
    vacatedBy?: string
  } | null
  /** The latest move. */
  latest: FlexVolMove | undefined
  /** The operation that works on the FlexVol now. */
  heldBy: { id: string; kind: string } | undefined
  /** What is to be copied, and what the destination has left for it after what others have reserved. */
  needBytes: number
  freeBytes: number | null
  /** Why the FlexVol's own node does not answer; null: it does. */
  sourceDown: string | null
  /** Compute hosts of attached volumes, and storage nodes that serve shares, that do not answer, with the reason. */
  hostsDown: string[]
  /** Why the data plane could not do it; empty: it can. */
  missingAbilities: string[]
  cutoverWindowSeconds: number
  cutoverAction: string
}

type Rule = (facts: MoveCheckFacts) => Omit<MoveCheck, 'name'>

const pass = (reason: string) => ({ ok: true, reason })
const refuse = (reason: string) => ({ ok: false, reason })
const amount = (bytes: number) => `${(bytes / gib).toFixed(2)} GiB`
/** As whoever reads it calls it: the FlexVol of a share is nobody's name for it. */
const titleOf = ({ name, shareId }: FlexVol) => (shareId === null ? `FlexVol ${name}` : `Share ${shareId}`)
const list = (names: string[]) => (names.length === 0 ? '(none)' : names.join(', '))

const rules: Record<string, Rule> = {
  aggregate: ({ flexvol, aggregate, known, target }) =>
    target !== null
      ? pass(`aggregate ${aggregate} of node ${target.place.node}`)
      : refuse(`Cluster ${flexvol.cluster} has no aggregate '${aggregate}'. It has: ${list(known)}.`),
  'aggregate-online': ({ aggregate, target }) =>
    target === null || target.state === 'online'
      ? pass('the aggregate is online')
      : refuse(`Aggregate ${aggregate} is ${target.state}: ${target.reason ?? 'choose another one'}.`),
  'not-vacated': ({ aggregate, target }) =>
    target?.vacatedBy === undefined
      ? pass('the aggregate is not being emptied')
      : refuse(
          `Aggregate ${aggregate} is being emptied by operation ${target.vacatedBy}. Name another one, or cancel that.`,
        ),
  'another-aggregate': ({ flexvol, aggregate, target }) =>
    target === null || !isAt(target.place, flexvol)
      ? pass('source and destination are different aggregates')
      : refuse(`${titleOf(flexvol)} is on aggregate ${aggregate} already. Name another one.`),
  'not-moving': ({ flexvol, latest }) =>
    flexvol.destination === null && (latest === undefined || !isUnderWay(latest))
      ? pass('no move is under way')
      : refuse(
          `${titleOf(flexvol)} is moving already, to aggregate ` +
            `${(flexvol.destination ?? latest?.to)?.aggregate ?? ''}. Wait for its end, or cancel it.`,
        ),
  'not-busy': ({ flexvol, heldBy }) =>
    heldBy === undefined
      ? pass('no other operation works on the FlexVol')
      : refuse(
          `Operation ${heldBy.id} (${heldBy.kind}) is working on ${titleOf(flexvol)}. Wait for its end.`,
        ),
  'source-up': ({ flexvol, sourceDown }) =>
    sourceDown === null
      ? pass(`node ${flexvol.node} answers`)
      : refuse(`Node ${flexvol.node}, where the FlexVol is, does not answer: ${sourceDown}`),
  'hosts-up': ({ hostsDown }) =>
    hostsDown.length === 0
      ? pass('the hosts where heads of its volumes are answer')
      : refuse(`${list(hostsDown)} does not answer, and heads of volumes are there.`),
  abilities: ({ missingAbilities }) =>
    missingAbilities.length === 0 ? pass('the data plane can do it') : refuse(missingAbilities.join(' ')),
  space: ({ aggregate, needBytes, freeBytes }) =>
    freeBytes === null || freeBytes >= needBytes
      ? pass(`${amount(needBytes)} to move${freeBytes === null ? '' : `, ${amount(freeBytes)} free`}`)
      : refuse(
          `Aggregate ${aggregate} is too small: ${amount(needBytes)} are needed, and ${amount(freeBytes)} are free ` +
            `after what other operations have reserved. ${amount(needBytes - freeBytes)} (${needBytes - freeBytes} ` +
            'bytes) are missing.',
        ),
  'cutover-window': (facts) => windowRule(facts.cutoverWindowSeconds),
  'cutover-action': ({ cutoverAction }) =>
    (cutoverActions as readonly string[]).includes(cutoverAction)
      ? pass(cutoverAction)
      : refuse(`'${cutoverAction}' is no cutover action. There are: ${cutoverActions.join(', ')}.`),
}

export const windowRule = (seconds: number): Omit<MoveCheck, 'name'> =>
  Number.isInteger(seconds) && seconds >= window.least && seconds <= window.most
    ? pass(`${seconds} s`)
    : refuse(
        `A cutover window of ${seconds} s is out of range: it must be ${window.least} to ${window.most} whole seconds.`,
      )

/** All checks, in the order in which they are reported. */
export const checkMove = (facts: MoveCheckFacts): MoveCheck[] =>
  Object.entries(rules).map(([name, rule]) => ({ name, ...rule(facts) }))
