/** Moves of FlexVols in ONTAP's words: `movement.*` of `/storage/volumes`. Pure. */
import { cutoverActions, cutoverWindowSeconds, type CutoverAction } from '../flexvol-move.ts'
import { numberField, referenceField, textField, type Fields, type Reference } from './body.ts'
import { OntapError } from './error.ts'
import type { OntapRecord } from './query.ts'
import { aggregateReference } from './records.ts'

/** What is shown of a move, whoever keeps it. */
export interface MovementFacts {
  destination: string
  state: string
  percentComplete: number
  startedAt: string
  cutoverWindowSeconds: number
  cutoverAction: CutoverAction
}

export const movementRecord = (cluster: { name: string }, facts: MovementFacts): OntapRecord => ({
  destination_aggregate: aggregateReference(cluster, facts.destination),
  state: facts.state,
  percent_complete: Math.floor(facts.percentComplete),
  start_time: facts.startedAt,
  cutover_window: facts.cutoverWindowSeconds,
  cutover_action: facts.cutoverAction,
})

/** What may be asked of a move under way. */
export type MovementWish = 'paused' | 'replicating' | 'aborted' | 'cutover' | 'cutover_wait'

export interface MovementRequest {
  destination?: Reference
  wish?: MovementWish
  cutoverWindowSeconds?: number
  cutoverAction?: CutoverAction
}

export const movementFields = [
  'movement',
  'movement.destination_aggregate',
  'movement.destination_aggregate.name',
  'movement.destination_aggregate.uuid',
  'movement.state',
  'movement.cutover_window',
  'movement.cutover_action',
  'movement.tiering_policy',
]

const wishes: readonly MovementWish[] = ['paused', 'replicating', 'aborted', 'cutover', 'cutover_wait']

/** Undefined: the body has nothing of a movement. Throws `OntapError`. */
export function movementRequestOf(fields: Fields): MovementRequest | undefined {
  if (![...fields.keys()].some((name) => name === 'movement' || name.startsWith('movement.')))
    return undefined
  if (fields.has('movement')) {
    throw OntapError.invalidValue('movement', JSON.stringify(fields.get('movement')), 'an object')
  }
  const destination = referenceField(fields, 'movement.destination_aggregate')
  const { wish, action } = stateOf(textField(fields, 'movement.state'))
  const named = textField(fields, 'movement.cutover_action')
  if (named !== undefined && !isAction(named)) {
    throw OntapError.invalidValue('movement.cutover_action', named, cutoverActions.join(', '))
  }
  // A move that starts waiting is one whose cutovers wait.
  const waits = destination !== undefined && wish === 'cutover_wait'
  const cutoverAction = named ?? action ?? (waits ? 'wait' : undefined)
  const { least, most } = cutoverWindowSeconds
  const window = numberField(fields, 'movement.cutover_window', { least, most, unit: 'seconds' })
  if (destination !== undefined && (wish === 'aborted' || wish === 'cutover')) {
    throw OntapError.invalidValue(
      'movement.state',
      wish,
      'replicating, paused or cutover_wait where a move is to begin',
    )
  }
  return {
    ...(destination !== undefined && { destination }),
    ...(wish !== undefined && !waits && { wish }),
    ...(window !== undefined && { cutoverWindowSeconds: window }),
    ...(cutoverAction !== undefined && { cutoverAction }),
  }
}

const isAction = (text: string): text is CutoverAction => (cutoverActions as readonly string[]).includes(text)

/** Stock clients put the cutover action of the older API into the state. */
function stateOf(text: string | undefined): { wish?: MovementWish; action?: CutoverAction } {
  if (text === undefined) return {}
  if (text === 'wait') return { wish: 'cutover_wait' }
  if (isAction(text)) return { action: text }
  const wish = wishes.find((one) => one === text)
  if (wish === undefined)
    throw OntapError.invalidValue('movement.state', text, `${wishes.join(', ')} or wait`)
  return { wish }
}
