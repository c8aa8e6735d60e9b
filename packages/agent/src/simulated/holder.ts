import { DomainError } from '@volant/contract'
import type {
  CutoverDecision,
  HolderAgent,
  HolderSpec,
  HolderStatus,
  ImageAccess,
  InventoryItem,
  MirrorPhase,
  MirrorStatus,
  PointCopyStatus,
} from '@volant/contract'
import { createFenceGuard } from '../fence-guard.ts'
import { requireInFlight } from '../holder/in-flight.ts'
import { withFaults } from './faults.ts'
import type { Faults } from './faults.ts'
import { simulatedInventory, simulatedItem } from './inventory.ts'
import type { Planted } from './inventory.ts'
import { endPointCopy, isCopyingPoint, pointCopyItem, simulatedPointCopies } from './point-copies.ts'
import type { SimulatedPointCopy } from './point-copies.ts'
import { imageOf, requireNoWriter, requireTakes, simulatedStandby } from './standby.ts'

export interface SimulatedMirror extends MirrorStatus {
  jobId: string
  target: ImageAccess
  /** Begun at rest, to copy only what is written from then on. */
  changesOnly: boolean
  inFlightBytes?: number
}

export interface SimulatedCutover {
  jobId: string
  target: ImageAccess
  decision: Exclude<CutoverDecision, 'none'>
  /** Whether the attempt's guard lives. */
  guarded: boolean
}

export interface SimulatedHolder {
  spec: Omit<HolderSpec, 'image'>
  /** The image that the export stands on; null: in standby. */
  image: ImageAccess | null
  /** In standby: what it serves. */
  sizeBytes?: number
  /** In standby: the image that it has let go of. */
  released?: string
  pid: number
  /** Died at its cutover: only the caller's word starts it again. */
  dead?: boolean
  mirror?: SimulatedMirror
  pointCopy?: SimulatedPointCopy
  /** The attempt under way, with its decision register. */
  cutover?: SimulatedCutover
  /** The job of the last finished cutover. */
  lastCutover?: string
}

export interface SimulatedHolders extends Planted {
  readonly holders: Map<string, SimulatedHolder>
  /** `HOST` or `HOST:PORT` that this machine cannot reach; a test puts them there. */
  readonly unreachableAddresses: Set<string>
  /** Sets what `mirrorStatus` reports, e.g. `{ phase: 'copying', doneBytes: 4096 }`. */
  setMirror(holderId: string, change: Partial<MirrorStatus>): void
  /** Sets what `pointCopyStatus` reports; `done` and `failed` close the target. */
  setPointCopy(holderId: string, change: Partial<PointCopyStatus>): void
  /**
   * The daemon dies. Its supervisor starts it again on its image and the mirror is lost; at a cutover it stays away, and
   * its guard ends with it, until `ensureHolder`, `finalizeCutover` or `abandonCutover` starts it.
   */
  crashHolder(holderId: string): void
  /**
   * The deadline of the cutover's guard: undecided, it gives the attempt up and cancels the job; committed, it
   * finalizes it. False where no guard lives.
   */
  fireGuard(holderId: string): boolean
  killGuard(holderId: string): void
}

export interface SimulatedHolderOptions {
  host?: string
  /**
   * What a new mirror's phase is, one of changes only when it goes on; 'ready' (the default) is an instant copy. With
   * any other a copy of an instant is under way until `setPointCopy` leads it on.
   */
  firstPhase?: MirrorPhase
  /** Told of each image that is opened or closed, e.g. to keep a simulated storage node's `openImages`. */
  onOpen?: (imageId: string) => void
  onClose?: (imageId: string) => void
}

const absent: MirrorStatus = { phase: 'absent', doneBytes: 0, totalBytes: 0, rate: 0, pausedByUser: false }

/**
 * Holders in memory, for tests of what calls them. Mirrors are instant, or are led by `setMirror`. Over 400 lines: each call
 * changes the same holders, as it does in a daemon.
 */
export function createSimulatedHolderAgent(
  options: SimulatedHolderOptions = {},
): HolderAgent & SimulatedHolders & Faults {
  const holders = new Map<string, SimulatedHolder>()
  const unreachableAddresses = new Set<string>()
  const guard = createFenceGuard()
  let nextPid = 2000

  const existing = (holderId: string): SimulatedHolder => {
    const holder = holders.get(holderId)
    if (!holder) throw new DomainError('notFound', `There is no holder ${holderId}.`)
    return holder
  }
  const mirrorOf = (holderId: string, jobId: string): SimulatedMirror => {
    const { mirror } = existing(holderId)
    if (mirror?.jobId !== jobId)
      throw new DomainError('notFound', `Holder ${holderId} has no mirror ${jobId}.`)
    return mirror
  }
  const statusOf = ({ spec, image, pid }: SimulatedHolder): HolderStatus => ({
    holderId: spec.holderId,
    pid,
    imageId: image?.imageId ?? null,
    ...(spec.serves
      ? { socketPath: `/simulated/${spec.holderId}.sock`, exportName: `x.${spec.holderId}` }
      : {}),
  })
  const dropMirror = (holder: SimulatedHolder): void => {
    if (holder.mirror && holder.mirror.target.imageId !== holder.image?.imageId) {
      options.onClose?.(holder.mirror.target.imageId)
    }
    delete holder.mirror
  }
  /** Writes the register, once for each attempt. */
  const decide = (holder: SimulatedHolder, wanted: 'committed' | 'abandoned'): void => {
    const { cutover } = holder
    if (!cutover || cutover.decision === wanted) return
    if (cutover.decision !== 'undecided') {
      throw new DomainError(
        'conflict',
        `The cutover of holder ${holder.spec.holderId} is ${cutover.decision}.`,
      )
    }
    cutover.decision = wanted
  }
  const stand = (holder: SimulatedHolder, image: ImageAccess): void => {
    if (holder.image && holder.image.imageId !== image.imageId) options.onClose?.(holder.image.imageId)
    holder.image = image
    delete holder.released
    delete holder.sizeBytes
    options.onOpen?.(image.imageId)
  }

  const itemsOf = (holder: SimulatedHolder): InventoryItem[] => {
    const { spec, image, pid, mirror, dead } = holder
    const { holderId, volumeId } = spec
    const owner = { holderId, volumeId }
    const of = image ? { imageId: image.imageId } : {}
    const pids = dead === true ? [] : [pid]
    const items = [
      simulatedItem({ kind: 'holder', id: holderId, ...owner, ...of, pids }),
      ...pointCopyItem(holder),
    ]
    if (mirror === undefined) return items
    const { jobId, target, phase } = mirror
    const copy = { jobId, imageId: target.imageId, isAtCutover: phase === 'pending' }
    return [...items, simulatedItem({ kind: 'mirror', id: `${holderId} ${jobId}`, ...owner, ...copy })]
  }
  const remove = ({ kind, holderId = '', jobId }: InventoryItem): void => {
    const holder = holders.get(holderId)
    if (holder === undefined) return
    const all = kind !== 'mirror'
    if (all || holder.pointCopy?.jobId === jobId) endPointCopy(holder, options.onClose)
    if (all || holder.mirror?.jobId === jobId) dropMirror(holder)
    if (!all) return
    if (holder.image) options.onClose?.(holder.image.imageId)
    holders.delete(holderId)
  }

  const agent: HolderAgent & SimulatedHolders = {
    ...simulatedInventory({
      admit: (caller) => guard.admit(caller),
      items: () => [...holders.values()].flatMap(itemsOf),
      remove,
    }),
    ...simulatedPointCopies({ existing, find: (holderId) => holders.get(holderId), guard, options }),
    ...simulatedStandby({
      ...{ holders, guard, statusOf, options },
      newPid: () => nextPid++,
      unreachable: unreachableAddresses,
    }),
    holders,
    unreachableAddresses,
    setMirror: (holderId, change) => void Object.assign(existing(holderId).mirror ?? {}, change),
    crashHolder(holderId) {
      const holder = existing(holderId)
      if (holder.cutover ?? holder.mirror?.phase === 'pending') {
        holder.dead = true
        if (holder.cutover) holder.cutover.guarded = false
        return
      }
      holder.pid = nextPid++
      if (isCopyingPoint(holder)) {
        agent.setPointCopy(holderId, { phase: 'failed', error: 'The copy ended with its storage daemon.' })
      }
      if (holder.mirror) {
        const error = 'The copy ended with its storage daemon; start it again.'
        Object.assign(holder.mirror, { phase: 'failed', error })
      }
    },
    fireGuard(holderId) {
      const holder = existing(holderId)
      const { cutover, mirror } = holder
      if (cutover?.guarded !== true || holder.dead === true) return false
      cutover.guarded = false
      if (cutover.decision === 'undecided') cutover.decision = 'abandoned'
      if (mirror?.phase === 'pending') {
        if (cutover.decision === 'committed') stand(holder, cutover.target)
        mirror.phase = cutover.decision === 'committed' ? 'concluded' : 'failed'
      }
      return true
    },
    killGuard(holderId) {
      const { cutover } = existing(holderId)
      if (cutover) cutover.guarded = false
    },
    async ensureHolder(caller, spec) {
      guard.admit(caller)
      const holder: SimulatedHolder = holders.get(spec.holderId) ?? {
        spec,
        image: spec.image,
        pid: nextPid++,
      }
      const toTarget = holder.cutover?.target.imageId === spec.image.imageId
      if (toTarget) decide(holder, 'committed')
      else if (holder.dead === true) decide(holder, 'abandoned')
      else if (holder.cutover?.decision === 'committed') decide(holder, 'abandoned')
      requireTakes(holder, spec.image)
      requireNoWriter(holders, spec.holderId, spec.image)
      if (holder.image && holder.image.imageId !== spec.image.imageId) {
        const { mirror } = holder
        const decided = mirror?.phase === 'pending' && mirror.target.imageId === spec.image.imageId
        if (!toTarget && !decided && holder.dead !== true) {
          throw new DomainError('conflict', `Holder ${spec.holderId} runs on image ${holder.image.imageId}.`)
        }
      }
      if (toTarget || holder.dead === true || holder.image?.imageId !== spec.image.imageId) dropMirror(holder)
      if (toTarget && holder.cutover) holder.lastCutover = holder.cutover.jobId
      if (toTarget || holder.dead === true) delete holder.cutover
      if (holder.dead === true) holder.pid = nextPid++
      delete holder.dead
      holders.set(spec.holderId, holder)
      holder.spec = spec
      stand(holder, spec.image)
      return statusOf(holder)
    },
    async ensureNoHolder(caller, holderId) {
      guard.admit(caller)
      const holder = holders.get(holderId)
      if (!holder) return
      endPointCopy(holder, options.onClose)
      dropMirror(holder)
      if (holder.image) options.onClose?.(holder.image.imageId)
      holders.delete(holderId)
    },
    async holderStatus(holderId) {
      const holder = holders.get(holderId)
      return holder && holder.dead !== true ? statusOf(holder) : undefined
    },
    listHolders: async () => [...holders.values()].filter(({ dead }) => dead !== true).map(statusOf),
    async ensureLimits(caller, holderId, limits) {
      guard.admit(caller)
      existing(holderId).spec.limits = limits
    },
    async ensureSize(caller, holderId, sizeBytes) {
      guard.admit(caller)
      const holder = existing(holderId)
      if (holder.mirror || isCopyingPoint(holder))
        throw new DomainError('conflict', `Holder ${holderId} is copying; it cannot grow now.`)
      const image = imageOf(holder)
      if (sizeBytes < image.sizeBytes) throw new DomainError('invalid', 'A volume cannot shrink.')
      holder.image = { ...image, sizeBytes }
    },
    async ensureMirror(caller, request) {
      const { holderId, jobId, target, rate, changesOnly = false } = request
      const inFlight = requireInFlight(request)
      guard.admit(caller)
      const holder = existing(holderId)
      if (holder.dead === true) {
        throw new DomainError('unavailable', `The storage daemon of holder ${holderId} does not run.`)
      }
      if (holder.mirror?.jobId === jobId && holder.mirror.phase !== 'failed') return
      if (holder.mirror && holder.mirror.jobId !== jobId) {
        throw new DomainError('conflict', `Holder ${holderId} already copies for ${holder.mirror.jobId}.`)
      }
      if (isCopyingPoint(holder)) {
        const { jobId: other } = holder.pointCopy
        throw new DomainError('conflict', `Holder ${holderId} copies an instant for ${other}.`)
      }
      if (target.sizeBytes !== imageOf(holder).sizeBytes) {
        throw new DomainError('conflict', 'Source and target image have different sizes.')
      }
      const phase = changesOnly ? 'paused' : (options.firstPhase ?? 'ready')
      // Of changes only the job counts what was written, and nothing was yet.
      const totalBytes = changesOnly ? 0 : target.sizeBytes
      const doneBytes = phase === 'ready' ? totalBytes : 0
      const pausedByUser = changesOnly
      const progress = { phase, doneBytes, totalBytes, pausedByUser }
      holder.mirror = { jobId, target, rate, changesOnly, ...inFlight, ...progress }
      options.onOpen?.(target.imageId)
    },
    async ensureNoMirror(caller, holderId, jobId) {
      guard.admit(caller)
      const holder = holders.get(holderId)
      if (holder?.cutover?.jobId === jobId) decide(holder, 'abandoned')
      if (holder?.mirror?.jobId === jobId) dropMirror(holder)
      if (holder?.cutover?.jobId === jobId && holder.dead !== true) delete holder.cutover
    },
    async mirrorStatus(holderId, jobId) {
      const mirror = holders.get(holderId)?.mirror
      if (mirror?.jobId !== jobId) return absent
      const { phase, doneBytes, totalBytes, rate, pausedByUser, error } = mirror
      return { phase, doneBytes, totalBytes, rate, pausedByUser, ...(error === undefined ? {} : { error }) }
    },
    async setMirrorRate(caller, holderId, jobId, rate) {
      guard.admit(caller)
      const { pointCopy } = existing(holderId)
      const job = pointCopy?.jobId === jobId ? pointCopy : mirrorOf(holderId, jobId)
      job.rate = rate
    },
    async ensureMirrorPaused(caller, holderId, jobId, paused) {
      guard.admit(caller)
      const mirror = mirrorOf(holderId, jobId)
      if (paused && !mirror.pausedByUser) mirror.phase = 'paused'
      if (!paused && mirror.phase === 'paused') {
        const first = mirror.changesOnly ? (options.firstPhase ?? 'ready') : 'ready'
        mirror.phase = mirror.doneBytes < mirror.totalBytes ? 'copying' : first
      }
      mirror.pausedByUser = paused
    },
    async prepareCutover(caller, holderId, jobId) {
      guard.admit(caller)
      const holder = existing(holderId)
      const mirror = mirrorOf(holderId, jobId)
      if (mirror.phase !== 'ready' && mirror.phase !== 'pending') {
        throw new DomainError('conflict', `Mirror ${jobId} is ${mirror.phase}, not ready.`)
      }
      if (holder.cutover && holder.cutover.decision !== 'undecided') {
        throw new DomainError('conflict', `The cutover of ${jobId} is ${holder.cutover.decision}.`)
      }
      const { target } = mirror
      if (holder.cutover?.guarded !== true) {
        holder.cutover = { jobId, target, decision: 'undecided', guarded: true }
      }
      mirror.phase = 'pending'
      return { drainMs: 1 }
    },
    async commitCutover(caller, holderId, jobId) {
      guard.admit(caller)
      const { cutover, lastCutover, mirror, dead } = existing(holderId)
      if (cutover?.jobId !== jobId) {
        if (lastCutover === jobId) return
        throw new DomainError('conflict', `Holder ${holderId} is at no cutover of ${jobId}.`)
      }
      if (cutover.decision === 'committed') return
      if (!cutover.guarded || dead === true || mirror?.phase !== 'pending') {
        throw new DomainError('conflict', `The cutover of ${jobId} is ${cutover.decision}, or has no guard.`)
      }
      decide(existing(holderId), 'committed')
    },
    async cutoverDecision(caller, holderId, jobId) {
      guard.admit(caller)
      const holder = holders.get(holderId)
      if (holder?.lastCutover === jobId) return 'committed'
      return holder?.cutover?.jobId === jobId ? holder.cutover.decision : 'none'
    },
    async finalizeCutover(caller, holderId, jobId, target) {
      guard.admit(caller)
      const holder = existing(holderId)
      if (holder.cutover?.jobId === jobId) decide(holder, 'committed')
      if (holder.image?.imageId !== target.imageId) {
        const mirror = mirrorOf(holderId, jobId)
        if (mirror.phase !== 'pending' || mirror.target.imageId !== target.imageId) {
          throw new DomainError(
            'conflict',
            `Mirror ${jobId} is ${mirror.phase} to image ${mirror.target.imageId}.`,
          )
        }
      }
      delete holder.dead
      delete holder.cutover
      holder.lastCutover = jobId
      stand(holder, target)
      dropMirror(holder)
      return { imageId: target.imageId, pauseMs: 2, finalizeMs: 1 }
    },
    async abandonCutover(caller, holderId, jobId) {
      guard.admit(caller)
      const holder = holders.get(holderId)
      if (holder?.lastCutover === jobId) {
        throw new DomainError('conflict', `The cutover of ${jobId} is final; it cannot be given up any more.`)
      }
      if (holder?.cutover?.jobId === jobId) {
        decide(holder, 'abandoned')
        delete holder.cutover
      }
      if (holder?.mirror?.jobId === jobId) dropMirror(holder)
      if (holder) delete holder.dead
    },
  }
  return withFaults(agent, ['setMirror', 'setPointCopy', 'crashHolder', 'fireGuard', 'killGuard'])
}
