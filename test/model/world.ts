/** Everything that can happen next: the control planes, the daemons, the guards, the guest, and what fails. */
import { die, perform, registerOf, start, switchOver } from './agent.ts'
import { planeSteps, type Transition } from './plane.ts'
import { copyOf, type State, type Step, type World } from './state.ts'

export type { Transition }

export function transitions(s: State, world: World): Transition[] {
  return [
    ...s.planes.flatMap((_, index) => planeSteps(s, index, world)),
    ...holderSteps(s, world),
    ...guardSteps(s, world),
    ...recoveries(s),
    ...lateCalls(s, world),
    ...guestSteps(s),
    ...(s.failuresLeft > 0 ? failures(s, world) : []),
  ]
}

function step(s: State, name: string, change: (next: State) => void, isFailure = false): Transition {
  const next = copyOf(s)
  if (isFailure) next.failuresLeft -= 1
  change(next)
  return { name, isFailure, next }
}

/** Whether the guest's writes are accepted, and where. */
export function acceptsWrites(s: State): boolean {
  if (!s.alive || s.job === 'pending' || s.job === 'hung') return false
  return s.standsOn === 'source' ? s.sourceOpen && s.sourceExists : s.targetExists && !s.targetGone
}

/** A write is acknowledged: the image that it did not reach holds not everything any more. */
function guestSteps(s: State): Transition[] {
  if (!acceptsWrites(s)) return []
  const isNews = s.standsOn === 'source' ? s.targetWhole : s.sourceWhole
  if (!isNews) return []
  return [
    step(s, `guest: a write is acknowledged, at the ${s.standsOn}`, (next) => {
      if (s.standsOn === 'source') next.targetWhole = false
      else next.sourceWhole = false
    }),
  ]
}

function holderSteps(s: State, world: World): Transition[] {
  const all: Transition[] = []
  const { rules } = world
  if (s.alive && s.job === 'copying' && !s.targetGone) {
    all.push(step(s, 'holder: the mirror is ready', (next) => (next.job = 'ready')))
  }
  if (s.alive && s.job === 'completing') {
    all.push(
      step(s, 'holder: PENDING', (next) => {
        next.job = 'pending'
        next.targetWhole = s.sourceWhole
      }),
    )
  }
  // A finalize that hangs, long after everybody's bound for it: nobody is left who would end it.
  if (s.alive && s.job === 'hung' && world.finalizeCanFail && !isWaitedFor(s, world)) {
    all.push(step(s, 'holder: the finalize fails, I/O goes on at the source', (next) => (next.job = 'none')))
  }
  const mayStart = s.mark === 0 || !rules.supervisorKeepsOff
  if (!s.alive && s.agentUp && mayStart) {
    all.push(step(s, `supervisor: starts the holder on the ${s.startsOn}`, (next) => start(next, s.startsOn)))
  }
  return all
}

/** Whether somebody who lives has a bound for the finalize under way. */
function isWaitedFor(s: State, { rules }: World): boolean {
  const byGuard = s.guards.some((guard) => guard === 'armed' || guard === 'finalizing')
  const waiting: Step[] = ['finalize', 'confirm', 'settleFinalize', 'settleConfirm']
  const byPlane = s.planes.some((plane) => waiting.includes(plane.step))
  return (byGuard && rules.guardKillsUnconfirmed) || (byPlane && s.agentUp && rules.killUnconfirmed)
}

/** A guard's time is over at any moment; between its decision and its act anything may come. */
function guardSteps(s: State, { rules }: World): Transition[] {
  return s.guards.flatMap((guard, attempt) => {
    const name = `guard ${attempt}`
    const isOwn = !rules.guardChecksAttempt || s.jobAttempt === attempt
    switch (guard) {
      case 'armed':
        return [
          step(s, `${name}: its time is over`, (next) => {
            const at = registerOf(attempt, rules)
            const isCommitted = rules.guardAsksRegister && s.registers[at] === 'committed'
            if (rules.guardAsksRegister && !isCommitted) next.registers[at] = 'abandoned'
            next.guards[attempt] = isCommitted ? 'finalizing' : 'cancelling'
          }),
        ]
      case 'cancelling':
        return [
          step(s, `${name}: job-cancel`, (next) => {
            next.guards[attempt] = 'ended'
            const isUnderWay = s.job === 'completing' || s.job === 'pending'
            if (s.alive && isUnderWay && isOwn) next.job = 'none'
          }),
        ]
      case 'finalizing':
        return [
          step(s, `${name}: job-finalize`, (next) => {
            next.guards[attempt] = 'ended'
            if (!s.alive || !isOwn) return
            if (s.job === 'pending') switchOver(next)
            else if (s.job === 'hung' && rules.guardKillsUnconfirmed) die(next)
          }),
          ...(s.job === 'pending' && s.failuresLeft > 0 && isOwn
            ? [
                step(
                  s,
                  `${name}: job-finalize is not confirmed`,
                  (next) => {
                    next.guards[attempt] = 'ended'
                    if (rules.guardKillsUnconfirmed) die(next)
                    else next.job = 'hung'
                  },
                  true,
                ),
              ]
            : []),
        ]
      default:
        return []
    }
  })
}

/** Where a control plane that starts goes on, by the journal. */
const startsAt: Record<State['journal'], Step> = {
  copy: 'copy',
  cutover: 'ask',
  after: 'settle',
  undo: 'undoCopy',
  succeeded: 'off',
  undone: 'off',
}

/** Takes over: the newest fence is in the database before anything else. */
function takeOver(next: State, index: number): void {
  next.dbFence += 1
  next.planes[index] = {
    step: startsAt[next.journal],
    fence: next.dbFence,
    attempt: 0,
    committed: false,
  }
}

export const hasEnded = (s: State): boolean => s.journal === 'succeeded' || s.journal === 'undone'

/** What comes back by itself, in time. */
function recoveries(s: State): Transition[] {
  const all: Transition[] = []
  if (!s.agentUp) all.push(step(s, 'agent: starts', (next) => (next.agentUp = true)))
  if (!s.dbUp) all.push(step(s, 'database: is back', (next) => (next.dbUp = true)))
  const newest = s.planes.findIndex((plane) => plane.step !== 'off' && plane.fence === s.dbFence)
  if (newest < 0 && s.dbUp && !hasEnded(s)) {
    const free = s.planes.findIndex((plane) => plane.step === 'off')
    if (free >= 0) all.push(step(s, `plane ${free + 1}: starts`, (next) => takeOver(next, free)))
  }
  return all
}

/** A call that nobody waits for any more is carried out, or gets lost. */
function lateCalls(s: State, world: World): Transition[] {
  return s.late.flatMap((request, index) => {
    const dropped = s.late.toSpliced(index, 1)
    return [
      step(s, `late: ${request.verb}`, (next) => {
        next.late = dropped
        perform(next, request, world)
      }),
      step(s, `late: ${request.verb} gets lost`, (next) => (next.late = dropped)),
    ]
  })
}

function failures(s: State, world: World): Transition[] {
  const all: Transition[] = []
  const fail = (name: string, change: (next: State) => void): void => {
    all.push(step(s, name, change, true))
  }
  for (const [index, plane] of s.planes.entries()) {
    if (plane.step === 'off') continue
    fail(`plane ${index + 1}: dies`, (next) => {
      next.planes[index] = { step: 'off', fence: plane.fence, attempt: 0, committed: false }
    })
  }
  const free = s.planes.findIndex((plane) => plane.step === 'off')
  const isServed = s.planes.some((plane) => plane.step !== 'off')
  if (free >= 0 && isServed && s.dbUp && !hasEnded(s)) {
    fail(`plane ${free + 1}: starts while another one sleeps`, (next) => takeOver(next, free))
  }
  if (s.agentUp) fail('agent: dies', (next) => (next.agentUp = false))
  if (s.alive) fail('holder: dies', die)
  if (s.dbUp) fail('database: is away', (next) => (next.dbUp = false))
  for (const [attempt, guard] of s.guards.entries()) {
    if (guard === 'ended' || guard === 'killed') continue
    fail(`guard ${attempt}: dies`, (next) => (next.guards[attempt] = 'killed'))
  }
  // Whatever is lost after the target answered and was taken for the truth is no matter of this protocol.
  const isTrusted = s.probed !== 0 && s.registers[registerOf(s.probed, world.rules)] !== 'abandoned'
  if (!s.targetGone && s.targetExists && !isTrusted && !hasEnded(s) && s.record === 'source') {
    fail('target: dies for good', (next) => (next.targetGone = true))
  }
  if (!s.cancelWanted && s.journal === 'copy') {
    fail('operator: cancels', (next) => (next.cancelWanted = true))
  }
  return world.failures > 0 ? all : []
}
