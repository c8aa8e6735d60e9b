/** Which faults an operation is tested with, and how each must end: pure, from the operation's list of steps. */
import type { Fault } from '../faults.ts'
import { final } from '../failure.ts'
import { hasWayBack, type OperationNode } from '../operation.ts'
import type { RunState } from '../types.ts'

export type FaultKind = 'none' | 'repeated' | 'failed' | 'crashed' | 'cancelled'

export interface Scenario {
  kind: FaultKind
  /** The test's name. */
  name: string
  /** The step, wait or commit at which it strikes; null where nothing does. */
  step: string | null
  faults: Fault[]
  /** The states the run must show whenever it settles; resumed after each `needs-attention`. */
  settles: RunState[]
  /** Whether the injected cancel must be refused. */
  cancelRefused: boolean
  /** Whether undos may fail: only where the fault makes them. */
  undoFails: boolean
}

interface Place {
  node: OperationNode
  /** Before the commit, which itself counts as neither. */
  undoable: boolean
  committed: boolean
}

const boundaries = ['before', 'after'] as const

export function scenarios(nodes: readonly OperationNode[]): Scenario[] {
  const commitAt = nodes.findIndex((node) => node.type === 'commit')
  const places = nodes.map((node, i) => ({
    node,
    undoable: commitAt < 0 || i < commitAt,
    committed: commitAt >= 0 && i > commitAt,
  }))
  return [
    scenario('none', 'succeeds when nothing goes wrong', null, [], ['succeeded']),
    ...places.flatMap(repeated),
    ...places.flatMap(failed),
    ...places.flatMap(crashed),
    ...places.flatMap(cancelled),
    ...places.flatMap((place, i) => stuckAfterWait(place, places.slice(0, i + 1))),
  ]
}

const scenario = (
  kind: FaultKind,
  name: string,
  step: string | null,
  faults: Fault[],
  settles: RunState[],
  more: Partial<Scenario> = {},
): Scenario => ({ kind, name, step, faults, settles, cancelRefused: false, undoFails: false, ...more })

/** Makes the run unwind, from the end of this step. */
const turnBack = (at: string): Fault => ({
  at,
  when: 'after',
  what: 'throw',
  error: final('injected: turn back'),
})

/** After a success a commit is asked, never repeated: `crashed` shows that. */
function repeated({ node, undoable }: Place): Scenario[] {
  const at = node.name
  if (node.type === 'commit') return []
  const again: Fault = { at, when: 'after', what: 'repeat' }
  const twice = [scenario('repeated', `${at}: done twice, changes nothing`, at, [again], ['succeeded'])]
  if (!hasWayBack(node) || !undoable) return twice
  const undone: Fault = { ...again, during: 'undo' }
  return [
    ...twice,
    scenario('repeated', `${at}: undone twice, changes nothing`, at, [turnBack(at), undone], ['failed']),
  ]
}

function failed({ node, undoable, committed }: Place): Scenario[] {
  const at = node.name
  const tests = boundaries.map((when) => {
    // The commit's error proves nothing: what counts is whether it happened. After it, all is tried again.
    const goesOn = committed || (node.type === 'commit' && when === 'after')
    const fault: Fault = { at, when, what: 'throw' }
    const end = goesOn ? 'goes on' : 'unwinds'
    return scenario(
      'failed',
      `${at}: fails ${when} it is done, ${end}`,
      at,
      [fault],
      [goesOn ? 'succeeded' : 'failed'],
    )
  })
  if (committed) {
    const forever: Fault = { at, when: 'before', what: 'throw', times: Infinity }
    const settles: RunState[] = ['needs-attention', 'succeeded']
    tests.push(
      scenario('failed', `${at}: keeps failing, needs attention, is resumed`, at, [forever], settles),
    )
  }
  if (!hasWayBack(node) || !undoable) return tests
  for (const when of boundaries) {
    const fault: Fault = { at, during: 'undo', when, what: 'throw' }
    const name = `${at}: its undo fails ${when} it is done, is tried again`
    tests.push(scenario('failed', name, at, [turnBack(at), fault], ['failed'], { undoFails: true }))
  }
  const forever: Fault = { at, during: 'undo', when: 'before', what: 'throw', times: Infinity }
  const name = `${at}: its undo keeps failing, needs attention, is resumed`
  const settles: RunState[] = ['needs-attention', 'failed']
  return [...tests, scenario('failed', name, at, [turnBack(at), forever], settles, { undoFails: true })]
}

function crashed({ node, undoable }: Place): Scenario[] {
  const at = node.name
  const tests = boundaries.map((when) => {
    const fault: Fault = { at, when, what: 'crash' }
    return scenario('crashed', `${at}: killed ${when} it is done, finishes`, at, [fault], ['succeeded'])
  })
  if (!hasWayBack(node) || !undoable) return tests
  for (const when of boundaries) {
    const fault: Fault = { at, during: 'undo', when, what: 'crash' }
    const name = `${at}: killed ${when} it is undone, unwinds`
    tests.push(scenario('crashed', name, at, [turnBack(at), fault], ['failed']))
  }
  return tests
}

function cancelled({ node, undoable }: Place): Scenario[] {
  const at = node.name
  return boundaries.map((when) => {
    const fault: Fault = { at, when, what: 'cancel' }
    const what = undoable ? 'unwinds' : 'is refused and finishes'
    const settles: RunState[] = [undoable ? 'cancelled' : 'succeeded']
    return scenario('cancelled', `${at}: cancelled ${when} it is done, ${what}`, at, [fault], settles, {
      cancelRefused: !undoable,
    })
  })
}

/** What a wait has seen must not count for what is undone when it is given up, its own way back included. */
function stuckAfterWait({ node, undoable }: Place, upTo: readonly Place[]): Scenario[] {
  const last = upTo.findLast((place) => hasWayBack(place.node))
  if (node.type !== 'wait' || !undoable || last === undefined) return []
  const faults: Fault[] = [
    { at: node.name, when: 'after', what: 'cancel' },
    { at: last.node.name, during: 'undo', when: 'before', what: 'throw', times: Infinity },
  ]
  const name = `${node.name}: cancelled, and the undo of ${last.node.name} keeps failing, needs attention, is resumed`
  return [
    scenario('cancelled', name, node.name, faults, ['needs-attention', 'cancelled'], { undoFails: true }),
  ]
}
