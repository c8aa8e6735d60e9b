/** The state of the model: one volume, one migration, one holder, and everybody who has a say in it. */

export type Place = 'source' | 'target'

/** The decision register of one attempt; `gone` once the operation has tidied up. */
export type Register = 'undecided' | 'committed' | 'abandoned' | 'gone'

/** The guard of one attempt. `cancelling` and `finalizing`: decided, and not yet carried out. */
export type Guard = 'armed' | 'cancelling' | 'finalizing' | 'ended' | 'killed'

export type Job =
  | 'none'
  | 'copying'
  | 'ready'
  /** `job-complete` was given; the client still writes. */
  | 'completing'
  /** I/O is held, both images are equal. */
  | 'pending'
  /** `job-finalize` was given and is not answered; I/O is held. */
  | 'hung'
  /** Finalized: the export stands on the target. */
  | 'concluded'

export type Step =
  | 'off'
  // before the commit
  | 'copy'
  | 'sync'
  | 'begin'
  | 'prepare'
  | 'complete'
  | 'await'
  | 'probe'
  | 'commit'
  | 'giveUp'
  | 'ask'
  | 'no'
  // after it
  | 'record'
  | 'revoke'
  | 'finalize'
  | 'confirm'
  | 'tidy'
  | 'note'
  | 'settle'
  | 'settleRevoke'
  | 'settleFinalize'
  | 'settleConfirm'
  | 'settleTidy'
  | 'settleHead'
  | 'retire'
  | 'clean'
  | 'finish'
  // the way back
  | 'undoCopy'
  | 'undoTarget'
  | 'undoClean'
  | 'undoFinish'

export interface ControlPlane {
  step: Step
  fence: number
  /** The attempt that it knows of; 0: none, as after a restart. */
  attempt: number
  /** Whether it was told that its attempt is committed. */
  committed: boolean
}

export type Verb =
  | 'ensureMirror'
  | 'prepare'
  | 'complete'
  | 'commit'
  | 'finalize'
  | 'confirm'
  | 'tidy'
  | 'abandon'
  | 'decision'
  | 'ensureHead'
  | 'endCopy'
  | 'clean'

/** A call to the holder's agent. */
export interface Call {
  verb: Verb
  fence: number
  attempt: number
  /** For `ensureHead` and `ensureMirror`: the truth as the caller's record had it. */
  image: Place
}

export interface State {
  /** Whether the image holds every write that was acknowledged to the guest. */
  sourceWhole: boolean
  targetWhole: boolean
  sourceExists: boolean
  targetExists: boolean
  /** The target answers nobody any more, for good. */
  targetGone: boolean
  /** The holder's access to the source, at the storage. */
  sourceOpen: boolean

  /** The holder's daemon. */
  alive: boolean
  standsOn: Place
  job: Job
  /** The attempt that asked the job to complete. */
  jobAttempt: number

  /** What the agent has written down of the holder. */
  startsOn: Place
  /** The attempt under way; 0: none, and the supervisor may start the holder. */
  mark: number
  /** The agent's highest fence. */
  fence: number
  agentUp: boolean
  /** By attempt, from 1 on; index 0 is unused. */
  registers: Register[]
  guards: Guard[]
  /** An attempt was committed though its guard was gone. */
  isUnguarded: boolean
  /** The attempt whose target answered at PENDING; 0: none. */
  probed: number

  dbUp: boolean
  record: Place
  /** The operation's journal: how far it is. */
  journal: 'copy' | 'cutover' | 'after' | 'undo' | 'succeeded' | 'undone'
  dbFence: number

  planes: ControlPlane[]
  /** Calls that their callers have given up, and that may still be carried out. */
  late: Call[]
  cancelWanted: boolean
  /** How many more failures there will be. */
  failuresLeft: number
}

export interface World {
  rules: Rules
  /** The source is reached through a storage node's export; else it is a file on the holder's own machine. */
  sourceServed: boolean
  /** Attempts at the cutover. */
  attempts: number
  failures: number
  /** Whether a finalize that nobody ends can fail back to the source. */
  finalizeCanFail: boolean
}

export function initial(world: World): State {
  return {
    sourceWhole: true,
    targetWhole: false,
    sourceExists: true,
    targetExists: true,
    targetGone: false,
    sourceOpen: true,
    alive: true,
    standsOn: 'source',
    job: 'none',
    jobAttempt: 0,
    startsOn: 'source',
    mark: 0,
    fence: 1,
    agentUp: true,
    registers: ['gone'],
    guards: ['ended'],
    isUnguarded: false,
    probed: 0,
    dbUp: true,
    record: 'source',
    journal: 'copy',
    dbFence: 1,
    planes: [
      { step: 'copy', fence: 1, attempt: 0, committed: false },
      { step: 'off', fence: 0, attempt: 0, committed: false },
    ],
    late: [],
    cancelWanted: false,
    failuresLeft: world.failures,
  }
}

export const copyOf = (s: State): State => ({
  ...s,
  registers: [...s.registers],
  guards: [...s.guards],
  planes: s.planes.map((plane) => ({ ...plane })),
  late: [...s.late],
})

export const keyOf = (s: State): string => JSON.stringify(Object.values(s))

/** Each rule of the protocol; `false` breaks it. */
export type Rules = Record<keyof typeof ruleTexts, boolean>

export const ruleTexts = {
  recordAfterPending: 'the record is not written before PENDING',
  recordAfterCommit: 'the record is not written before the register',
  probe: 'the target is probed at PENDING',
  commitBeforeFinalize: 'nothing is finalized before the register says committed',
  commitAsksRegister: 'an attempt whose register says abandoned is not committed',
  commitNeedsPending: 'an attempt is committed only at its own PENDING',
  commitNamesAttempt: 'a commit names its attempt',
  commitNeedsMark: 'an attempt that is over is not committed',
  commitNeedsGuard: 'an attempt whose guard is gone is not committed',
  abandonAsksRegister: 'an attempt is given up through its register',
  startAsksRegister: 'a holder that died at a cutover is started as the register says',
  freshRegister: 'each attempt has a register of its own',
  guarded: 'an attempt has a guard before completion is asked for',
  guardAsksRegister: 'the guard gives up through the register',
  guardKillsUnconfirmed: 'the guard kills a holder that does not confirm',
  oldGuardsEnd: 'an attempt ends with its guard dead',
  guardChecksAttempt: 'a guard acts only on the completion of its own attempt',
  revokeBeforeFinalize: 'the source is taken away before finalize',
  killUnconfirmed: 'a holder that does not confirm finalize is killed and started on the target',
  supervisorKeepsOff: 'the supervisor starts no holder that is at a cutover',
  agentChecksFence: 'the agent refuses a control plane that was replaced',
  callsInOrder: 'a call is not carried out after a later one of the same control plane',
  recordChecksFence: 'the record refuses a control plane that was replaced',
  journalChecksFence: 'the journal refuses a control plane that was replaced',
  happenedAsks: 'happened() is asked, not remembered',
  happenedAsksRegister: 'happened() asks the register',
  happenedAsksRecord: 'happened() asks the database',
  happenedWaitsForAnswer: 'happened() does not guess where the register cannot be read',
  noIsFenced: 'happened() says no only when no older control plane can commit any more',
  recordBeforeClean: 'the registers are removed after the record names the target',
  retireAfterCommit: 'the source is retired after the commit',
  undoEndsCopy: 'the undo ends the copy before it removes the target',
} as const

export const protocol: Rules = Object.fromEntries(Object.keys(ruleTexts).map((rule) => [rule, true])) as Rules
