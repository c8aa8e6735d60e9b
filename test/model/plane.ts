/** The control plane: the migration's steps, each one call or one write, with what can come between. */
import { perform, registerOf, type Reply } from './agent.ts'
import {
  copyOf,
  type Call,
  type ControlPlane,
  type State,
  type Step,
  type Verb,
  type World,
} from './state.ts'

export interface Transition {
  name: string
  isFailure: boolean
  next: State
}

type Answer = (plane: ControlPlane, reply: Reply, next: State) => void

/** What control plane `index` can do next. */
export function planeSteps(s: State, index: number, world: World): Transition[] {
  const plane = s.planes[index]
  if (plane === undefined || plane.step === 'off') return []
  return steps[plane.step](new Turn(s, index, plane, world))
}

/** One turn of a control plane: makes the states that can follow. */
class Turn {
  readonly s: State
  readonly plane: ControlPlane
  readonly world: World
  readonly #index: number

  constructor(s: State, index: number, plane: ControlPlane, world: World) {
    this.s = s
    this.#index = index
    this.plane = plane
    this.world = world
  }

  #named(name: string, isFailure: boolean, change: (next: State, plane: ControlPlane) => void): Transition {
    const next = copyOf(this.s)
    if (isFailure) next.failuresLeft -= 1
    change(next, next.planes[this.#index] as ControlPlane)
    return { name: `plane ${this.#index + 1}: ${name}`, isFailure, next }
  }

  /** Something that asks nobody. */
  go(name: string, change: (next: State, plane: ControlPlane) => void): Transition[] {
    return [this.#named(name, false, change)]
  }

  fail(name: string, change: (next: State, plane: ControlPlane) => void): Transition[] {
    return this.s.failuresLeft > 0 ? [this.#named(name, true, change)] : []
  }

  /**
   * A call to the agent: answered; carried out with its answer lost; given up and carried out later, or never;
   * sent by a control plane that dies at once.
   */
  call(verb: Verb, answer: Answer, attempt = this.plane.attempt): Transition[] {
    const { s, world } = this
    const { fence } = this.plane
    const request: Call = { verb, fence, attempt, image: s.record }
    const reply = (next: State, plane: ControlPlane, given: Reply): void => {
      // Another control plane has taken over: this one stops.
      if (given === 'stale') plane.step = 'off'
      else answer(plane, given, next)
    }
    const all = [this.#named(verb, false, (next, plane) => reply(next, plane, deliver(next, request, world)))]
    if (s.failuresLeft === 0 || !s.agentUp) return all
    all.push(
      this.#named(`${verb}, and the answer is lost`, true, (next, plane) => {
        deliver(next, request, world)
        reply(next, plane, 'unavailable')
      }),
    )
    if (s.late.length === 0) {
      all.push(
        this.#named(`${verb}, given up while it is under way`, true, (next, plane) => {
          next.late.push(request)
          reply(next, plane, 'unavailable')
        }),
        this.#named(`${verb}, and dies while it is under way`, true, (next, plane) => {
          next.late.push(request)
          plane.step = 'off'
        }),
      )
    }
    return all
  }

  /** A question to the agent: the answer may be lost. */
  look(name: string, answer: (next: State, plane: ControlPlane) => void, lost: Step): Transition[] {
    if (!this.s.agentUp) return [this.#named(`${name}: no answer`, false, (_, plane) => (plane.step = lost))]
    const all = [this.#named(name, false, answer)]
    if (this.s.failuresLeft > 0) {
      all.push(this.#named(`${name}: no answer`, true, (_, plane) => (plane.step = lost)))
    }
    return all
  }

  /** A write of the journal, refused to one that was replaced. None while the database is away. */
  journal(journal: State['journal'], step: Step): Transition[] {
    const { s, plane, world } = this
    if (!s.dbUp) return []
    return this.go(`notes ${journal}`, (next, own) => {
      if (world.rules.journalChecksFence && plane.fence < s.dbFence) {
        own.step = 'off'
        return
      }
      next.journal = journal
      own.step = step
    })
  }

  /** The write of the record: it may be refused, and its answer may be lost. */
  record(done: Step, notDone: Step): Transition[] {
    const { s, plane, world } = this
    const write = (next: State, own: ControlPlane, after: Step): void => {
      if (world.rules.recordChecksFence && plane.fence < s.dbFence) {
        own.step = 'off'
        return
      }
      next.record = 'target'
      own.step = after
    }
    if (!s.dbUp) return this.go('record: the database is away', (_, own) => (own.step = notDone))
    const all = this.go('record', (next, own) => write(next, own, done))
    if (s.failuresLeft > 0) {
      all.push(
        this.#named('record: refused', true, (_, own) => (own.step = notDone)),
        this.#named('record, and the answer is lost', true, (next, own) => write(next, own, notDone)),
      )
    }
    return all
  }

  /** The storage takes the source away from the holder. A failure does not hold the client, but `settle` repeats it. */
  revoke(done: Step, notDone: Step): Transition[] {
    const { s, world } = this
    if (!s.sourceOpen || !world.sourceServed || !world.rules.revokeBeforeFinalize) {
      return this.go('no source to take away', (_, own) => (own.step = done))
    }
    const all = this.go('the source is taken away', (next, own) => {
      next.sourceOpen = false
      own.step = done
    })
    if (s.failuresLeft > 0) {
      all.push(this.#named('the source is not taken away: no answer', true, (_, own) => (own.step = notDone)))
    }
    return all
  }
}

/** A call that is answered: what the same control plane sent before it is not carried out after it. */
function deliver(next: State, request: Call, { rules, ...world }: World): Reply {
  if (rules.callsInOrder) next.late = next.late.filter(({ fence }) => fence !== request.fence)
  return perform(next, request, { rules, ...world })
}

/** Goes on, or comes back to the same step until it answers. */
const then =
  (step: Step): Answer =>
  (plane, reply) => {
    if (reply === 'ok') plane.step = step
  }

const thenElse =
  (step: Step, otherwise: Step): Answer =>
  (plane, reply) => {
    plane.step = reply === 'ok' ? step : otherwise
  }

const committed: Answer = (plane, reply) => {
  plane.committed = reply === 'ok'
  plane.step = reply === 'ok' ? 'record' : 'giveUp'
}

const steps: Record<Exclude<Step, 'off'>, (turn: Turn) => Transition[]> = {
  copy: (turn) =>
    turn.s.cancelWanted || turn.s.targetGone
      ? turn.journal('undo', 'undoCopy')
      : turn.call('ensureMirror', then('sync')),

  sync(turn) {
    const { s } = turn
    if (s.cancelWanted) return turn.journal('undo', 'undoCopy')
    const step = s.agentUp && s.alive ? afterLook(s) : 'copy'
    if (step === undefined) return []
    return turn.look(`sees ${s.job}`, (_, plane) => (plane.step = step), 'sync')
  },

  begin(turn) {
    const { rules } = turn.world
    const early = !rules.recordAfterPending
    const all = turn.journal('cutover', 'prepare')
    for (const { next } of all) if (early && next.journal === 'cutover') next.record = 'target'
    return all
  },

  prepare: (turn) =>
    turn.call('prepare', (plane, reply, next) => {
      plane.attempt = reply === 'ok' ? next.mark : plane.attempt
      plane.step = reply === 'ok' ? 'complete' : 'ask'
    }),

  complete: (turn) => turn.call('complete', thenElse('await', 'giveUp')),

  await(turn) {
    const { s } = turn
    if (s.agentUp && s.alive && s.job === 'completing') return []
    const isPending = s.alive && s.job === 'pending'
    const { rules } = turn.world
    return turn
      .look(
        isPending ? 'sees PENDING' : 'sees no PENDING',
        (_, plane) => (plane.step = isPending ? 'probe' : 'giveUp'),
        'giveUp',
      )
      .map((transition) => {
        // Broken on purpose: the record before the register.
        if (!rules.recordAfterCommit && isPending && !transition.isFailure) transition.next.record = 'target'
        return transition
      })
  },

  probe(turn) {
    if (!turn.world.rules.probe) return turn.go('no probe', (_, plane) => (plane.step = 'commit'))
    if (turn.s.targetGone) return turn.go('probe: no answer', (_, plane) => (plane.step = 'giveUp'))
    return turn.go('probe', (next, plane) => {
      if (!turn.world.rules.retireAfterCommit) next.sourceExists = false
      next.probed = Math.max(next.probed, plane.attempt)
      plane.step = 'commit'
    })
  },

  commit(turn) {
    if (turn.world.rules.commitBeforeFinalize) {
      return turn.call('commit', committed)
    }
    return turn.s.standsOn === 'target'
      ? turn.call('commit', committed)
      : turn.call('finalize', thenElse('commit', 'giveUp'))
  },

  giveUp: (turn) => turn.call('abandon', (plane) => (plane.step = 'ask')),

  ask,
  no: didNotHappen,

  record: (turn) => turn.record('revoke', 'revoke'),
  revoke: (turn) => turn.revoke('finalize', 'finalize'),
  finalize: (turn) => [...turn.call('finalize', thenElse('confirm', 'ask')), ...hangs(turn, 'confirm')],
  confirm: (turn) => turn.call('confirm', thenElse('tidy', 'ask')),
  tidy: (turn) => turn.call('tidy', thenElse('note', 'ask')),

  // The target is the truth: everything is repeated until it is done.
  note: (turn) => turn.journal('after', 'settle'),
  settle: (turn) =>
    turn.s.record === 'target' || !turn.world.rules.recordBeforeClean
      ? turn.go('the record names the target', (_, plane) => (plane.step = 'settleRevoke'))
      : turn.record('settleRevoke', 'settle'),
  settleRevoke: (turn) => turn.revoke('settleFinalize', 'settleRevoke'),
  settleFinalize: (turn) => [
    ...turn.call('finalize', then('settleConfirm'), turn.s.mark),
    ...hangs(turn, 'settleConfirm'),
  ],
  settleConfirm: (turn) => turn.call('confirm', then('settleTidy'), turn.s.mark),
  settleTidy: (turn) => turn.call('tidy', then('settleHead'), turn.s.mark),
  settleHead: (turn) => turn.call('ensureHead', then('retire')),
  retire: (turn) =>
    turn.go('the source is removed', (next, plane) => {
      next.sourceExists = false
      plane.step = 'clean'
    }),
  clean: (turn) => turn.call('clean', then('finish')),
  finish: (turn) => turn.journal('succeeded', 'off'),

  // The source stays the truth.
  undoCopy: (turn) =>
    turn.world.rules.undoEndsCopy
      ? turn.call('endCopy', then('undoTarget'))
      : turn.go('no end of the copy', (_, plane) => (plane.step = 'undoTarget')),
  undoTarget: (turn) =>
    turn.go('the target is removed', (next, plane) => {
      next.targetExists = false
      plane.step = 'undoClean'
    }),
  undoClean: (turn) => turn.call('clean', then('undoFinish')),
  undoFinish: (turn) => turn.journal('undone', 'off'),
}

function afterLook(s: State): Step | undefined {
  switch (s.job) {
    case 'copying':
      // A target that does not come back: the copy stopped too often.
      return s.targetGone ? 'copy' : undefined
    case 'none':
      return 'copy'
    case 'concluded':
      return 'ask'
    default:
      return 'begin'
  }
}

/** `job-finalize` reaches the daemon, which says nothing more. */
function hangs(turn: Turn, step: Step): Transition[] {
  const { s, world } = turn
  const isRefused = world.rules.agentChecksFence && turn.plane.fence < s.fence
  if (!s.agentUp || isRefused || !s.alive || s.job !== 'pending') return []
  return turn.fail('finalize hangs', (next, plane) => {
    next.job = 'hung'
    plane.step = step
  })
}

/** After a failure at the cutover, and after a restart there: did it happen? */
function ask(turn: Turn): Transition[] {
  const { s, world } = turn
  const { rules } = world
  const not = (): Transition[] => didNotHappen(turn)
  if (!s.dbUp) return []
  if (!rules.happenedAsks) {
    return turn.plane.committed ? turn.go('remembers', (_, plane) => (plane.step = 'note')) : not()
  }
  if (rules.happenedAsksRecord && s.record === 'target') {
    return turn.go('the record names the target', (_, plane) => (plane.step = 'note'))
  }
  if (!rules.happenedAsksRegister || (!s.agentUp && !rules.happenedWaitsForAnswer)) return not()
  if (!s.agentUp) return []
  const decided = s.mark === 0 ? s.registers.indexOf('committed') : registerOf(s.mark, rules)
  if (s.registers[decided] === 'committed') {
    return turn.look('the register says committed', (_, plane) => (plane.step = 'note'), 'ask')
  }
  // A call, not a look: from it on the agent refuses the commit of an older control plane.
  return rules.noIsFenced ? turn.call('decision', noOrAgain) : not()
}

const noOrAgain = thenElse('no', 'ask')

function didNotHappen(turn: Turn): Transition[] {
  const { s, world } = turn
  const isLast = s.guards.length > world.attempts || s.targetGone || s.cancelWanted
  return isLast ? turn.journal('undo', 'undoCopy') : turn.journal('copy', 'copy')
}
