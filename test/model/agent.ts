/** The holder's agent: what a call does, in one instant. It may die between two calls, and be called twice. */
import type { Call, Guard, State, World } from './state.ts'

export type Reply = 'ok' | 'conflict' | 'unavailable' | 'stale'

/** Carries the call out on `s`, which it changes. */
export function perform(s: State, call: Call, world: World): Reply {
  if (!s.agentUp) return 'unavailable'
  if (world.rules.agentChecksFence && call.fence < s.fence) return 'stale'
  s.fence = Math.max(s.fence, call.fence)
  return verbs[call.verb](s, call, world)
}

type Verb = (s: State, call: Call, world: World) => Reply

const verbs: Record<Call['verb'], Verb> = {
  /** Finds the holder, or starts it on what the caller's record names; then finds the mirror, or starts it. */
  ensureMirror(s, call, world) {
    const found = ensureHolder(s, call, world)
    if (found !== 'ok') return found
    if (s.standsOn !== 'source' || !s.targetExists) return 'conflict'
    if (s.job === 'none') {
      s.job = 'copying'
      s.targetWhole = false
    }
    return 'ok'
  },

  /** The first part of `prepareCutover`: a register and a guard for a new attempt, or the one that is under way. */
  prepare(s, _call, { rules, attempts }) {
    if (s.mark !== 0) {
      const isOpen = s.registers[registerOf(s.mark, rules)] === 'undecided'
      if (isOpen && s.alive && s.job !== 'none') return 'ok'
      giveUp(s, s.mark, rules)
      return 'conflict'
    }
    if (!s.alive || s.job !== 'ready') return 'conflict'
    if (s.guards.length > attempts) return 'conflict'
    s.mark = s.guards.push(rules.guarded ? 'armed' : 'ended') - 1
    s.registers[registerOf(s.mark, rules)] = 'undecided'
    return 'ok'
  },

  complete(s, { attempt }, { rules }) {
    if (s.mark !== attempt || !s.alive) return 'conflict'
    if (s.job === 'completing' || s.job === 'pending') return 'ok'
    if (s.job !== 'ready' || s.registers[registerOf(attempt, rules)] !== 'undecided') return 'conflict'
    s.job = 'completing'
    s.jobAttempt = attempt
    return 'ok'
  },

  /** The commit point. */
  commit(s, call, { rules }) {
    const attempt = rules.commitNamesAttempt ? call.attempt : s.mark
    const at = registerOf(attempt, rules)
    const register = s.registers[at]
    if (register === undefined || attempt === 0) return 'conflict'
    if (register === 'committed') return 'ok'
    if (rules.commitNeedsMark && s.mark !== attempt) return 'conflict'
    if (rules.commitNeedsPending && (s.job !== 'pending' || s.jobAttempt !== attempt)) return 'conflict'
    if (rules.commitNeedsGuard && !isAtWork(s.guards[attempt])) return 'conflict'
    if (rules.commitAsksRegister && register === 'abandoned') return 'conflict'
    s.registers[at] = 'committed'
    s.isUnguarded = !isAtWork(s.guards[attempt])
    return 'ok'
  },

  /** `job-finalize`. What it does is observed by `confirm`. */
  finalize(s, { attempt }, { rules }) {
    if (s.standsOn === 'target') return 'ok'
    if (s.mark !== attempt) return 'conflict'
    if (rules.commitBeforeFinalize && s.registers[registerOf(attempt, rules)] !== 'committed')
      return 'conflict'
    if (s.alive && s.job === 'pending') switchOver(s)
    return 'ok'
  },

  /** Whether the holder stands on the target; where it does not say so, it is killed, and started there. */
  confirm(s, { attempt }, { rules }) {
    if (s.mark === 0 || s.mark !== attempt) return s.startsOn === 'target' ? 'ok' : 'conflict'
    if (s.registers[registerOf(attempt, rules)] !== 'committed') return 'conflict'
    const isConfirmed = s.alive && s.standsOn === 'target'
    if (!isConfirmed) {
      if (s.alive && !rules.killUnconfirmed) return 'unavailable'
      die(s)
      start(s, 'target')
    }
    s.startsOn = 'target'
    return 'ok'
  },

  tidy(s, { attempt }, { rules }) {
    if (s.mark !== attempt) return 'ok'
    if (rules.oldGuardsEnd) endGuard(s, attempt)
    if (s.job === 'concluded') s.job = 'none'
    s.mark = 0
    return 'ok'
  },

  abandon(s, { attempt }, { rules }) {
    return s.mark === 0 || s.mark !== attempt ? 'ok' : giveUp(s, attempt, rules)
  },

  /** Tells what the register says, and from now on knows the caller. */
  decision: (s) => (s.registers[s.mark] === 'committed' ? 'conflict' : 'ok'),

  ensureHead: (s, call, world) => ensureHolder(s, call, world),

  /** The undo of the mirror: of whatever attempt, and of none. */
  endCopy(s, _call, { rules }) {
    if (s.mark !== 0) return giveUp(s, s.mark, rules)
    if (s.standsOn === 'target') return 'conflict'
    s.job = 'none'
    return 'ok'
  },

  clean(s) {
    s.registers = s.registers.map(() => 'gone')
    return 'ok'
  },
}

/** After it the holder stands on the image that the caller's record names, or the call is refused. */
function ensureHolder(s: State, { image }: Call, { rules }: World): Reply {
  if (s.alive) return s.standsOn === image || s.mark !== 0 ? 'ok' : 'conflict'
  if (s.mark === 0) {
    if (image !== s.startsOn) return 'conflict'
    start(s, image)
    return 'ok'
  }
  if (image === 'source' && rules.startAsksRegister) return giveUp(s, s.mark, rules)
  if (image === 'target' && s.registers[registerOf(s.mark, rules)] !== 'committed') return 'conflict'
  s.startsOn = image
  endGuard(s, s.mark)
  s.mark = 0
  start(s, image)
  return 'ok'
}

/** Back to the source, if the register is not committed. */
function giveUp(s: State, attempt: number, rules: World['rules']): Reply {
  if (rules.abandonAsksRegister) {
    const at = registerOf(attempt, rules)
    if (s.registers[at] === 'committed') return 'conflict'
    s.registers[at] = 'abandoned'
  }
  if (rules.oldGuardsEnd) endGuard(s, attempt)
  s.mark = 0
  if (!s.alive) start(s, s.startsOn)
  if (s.standsOn === 'source') s.job = 'none'
  return 'ok'
}

/** Broken on purpose: all attempts share the first one's register. */
export const registerOf = (attempt: number, rules: World['rules']): number =>
  rules.freshRegister ? attempt : Math.min(attempt, 1)

const isAtWork = (guard: Guard | undefined): boolean =>
  guard === 'armed' || guard === 'cancelling' || guard === 'finalizing'

export function die(s: State): void {
  s.alive = false
  s.job = 'none'
}

export function start(s: State, image: State['standsOn']): void {
  s.alive = true
  s.standsOn = image
  s.job = 'none'
}

export function switchOver(s: State): void {
  s.standsOn = 'target'
  s.job = 'concluded'
}

function endGuard(s: State, attempt: number): void {
  if (s.guards[attempt] !== 'killed') s.guards[attempt] = 'ended'
}
