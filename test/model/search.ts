/** Explicit-state search: every state that can be reached, each once, breadth first. */
import { isGoodEnd, violationIn } from './invariants.ts'
import { initial, keyOf, type State, type World } from './state.ts'
import { transitions } from './world.ts'

export interface Finding {
  what: string
  /** What happened, from the start on: no shorter way leads there. */
  trace: string[]
}

export interface Search {
  states: number
  depth: number
  finding?: Finding
}

interface Visit {
  from: number
  name: string
  depth: number
}

/**
 * Searches until nothing new is found. Then every state is asked whether the operation can still end well without
 * another failure: as each of the states on any such way is asked, too, no fair schedule can miss the end for ever.
 * `wanted`: findings of another kind are passed over.
 */
export function search(world: World, wanted = /./): Search {
  const ids = new Map<string, number>()
  const visits: Visit[] = []
  const states: State[] = []
  /** For each state those from which a step that is no failure leads to it. */
  const before: number[][] = []
  const traceTo = (id: number): string[] => {
    const trace: string[] = []
    for (let visit = visits[id]; visit !== undefined && visit.from >= 0; visit = visits[visit.from]) {
      trace.unshift(visit.name)
    }
    return trace
  }
  const add = (s: State, visit: Visit): number => {
    const key = keyOf(s)
    const known = ids.get(key)
    if (known !== undefined) return known
    const id = states.push(s) - 1
    ids.set(key, id)
    visits.push(visit)
    before.push([])
    return id
  }
  add(initial(world), { from: -1, name: '', depth: 0 })
  let depth = 0
  for (let id = 0; id < states.length; id++) {
    const s = states[id] as State
    depth = (visits[id] as Visit).depth
    const what = violationIn(s, world)
    if (what !== undefined && wanted.test(what))
      return { states: states.length, depth, finding: { what, trace: traceTo(id) } }
    for (const { name, isFailure, next } of transitions(s, world)) {
      const to = add(next, { from: id, name, depth: depth + 1 })
      if (!isFailure) (before[to] as number[]).push(id)
    }
  }
  const what = 'the operation cannot end well any more'
  const stuck = wanted.test(what) ? firstStuck(states, before) : undefined
  if (stuck === undefined) return { states: states.length, depth }
  return { states: states.length, depth, finding: { what, trace: traceTo(stuck) } }
}

function firstStuck(states: readonly State[], before: readonly number[][]): number | undefined {
  const ends = new Uint8Array(states.length)
  const queue: number[] = []
  const reach = (id: number): void => {
    if (ends[id] === 1) return
    ends[id] = 1
    queue.push(id)
  }
  for (const [id, s] of states.entries()) if (isGoodEnd(s)) reach(id)
  for (let id = queue.pop(); id !== undefined; id = queue.pop())
    for (const from of before[id] ?? []) reach(from)
  const first = ends.indexOf(0)
  return first < 0 ? undefined : first
}
