/** What must hold in every state, and at the end. */
import { acceptsWrites, hasEnded, transitions } from './world.ts'
import { copyOf, type Place, type State, type World } from './state.ts'

/** What a system that comes back would take for the truth. */
export function truthOf(s: State): Place {
  return s.record === 'target' || s.registers.includes('committed') ? 'target' : 'source'
}

/** The first invariant that does not hold; undefined: all do. */
export function violationIn(s: State, world: World): string | undefined {
  const truth = truthOf(s)
  const isWhole = truth === 'source' ? s.sourceWhole && s.sourceExists : s.targetWhole && s.targetExists
  if (!isWhole) return `the truth (${truth}) does not hold every acknowledged write`
  if (s.registers.filter((register) => register === 'committed').length > 1) {
    return 'two attempts are committed'
  }
  const isUnfinished = s.journal === 'copy' || s.journal === 'cutover'
  if (isUnfinished && s.record === 'target' && !s.registers.includes('committed')) {
    return 'there are two truths: the record names the target, and no register says committed'
  }
  const isUndone = s.journal === 'undo' || s.journal === 'undone'
  if (isUndone && truth === 'target') return 'a cutover that happened is undone'
  if (truth === 'target' && s.targetGone) return 'the truth moved to a target that answers nobody'
  const writes = s.standsOn === 'source' ? s.sourceWhole : s.targetWhole
  if (acceptsWrites(s) && !writes) return `the guest is served by an image that lacks its own writes`
  if (isHeldForEver(s, world)) return 'the guest is held for as long as the control plane is away'
  return undefined
}

/** With control plane and agent dead, the guards and the holder alone bring I/O back. A guard that was killed is excused. */
function isHeldForEver(from: State, world: World): boolean {
  if (!from.alive || (from.guards.includes('killed') && !from.isUnguarded)) return false
  if (from.job !== 'pending' && from.job !== 'completing' && from.job !== 'hung') return false
  let s = copyOf(from)
  s.planes = s.planes.map((plane) => ({ ...plane, step: 'off' as const }))
  Object.assign(s, { agentUp: false, failuresLeft: 0, late: [] })
  for (let i = 0; i < 20; i++) {
    const next = transitions(s, world).find(({ name }) => /^(guard|holder)/.test(name))
    if (next === undefined) break
    s = next.next
  }
  return s.alive && (s.job === 'pending' || s.job === 'hung')
}

/** Whether the operation is over, nothing is left of it, and the guest is served by the truth. */
export function isGoodEnd(s: State): boolean {
  if (!hasEnded(s) || s.late.length > 0 || !s.alive || !acceptsWrites(s)) return false
  const truth = truthOf(s)
  const hasLitter =
    s.mark !== 0 ||
    s.job !== 'none' ||
    s.registers.some((register) => register !== 'gone') ||
    s.guards.some((guard) => guard !== 'ended' && guard !== 'killed') ||
    s.planes.some(({ step }) => step !== 'off')
  const isTidy = s.journal === 'succeeded' ? !s.sourceExists : !s.targetExists
  const isRight = s.journal === 'succeeded' ? truth === 'target' : truth === 'source'
  return !hasLitter && isTidy && isRight && s.standsOn === truth
}
