import { DomainError } from '@volant/contract'
import type {
  HolderAgent,
  HolderSpec,
  HolderStatus,
  ImageAccess,
  MirrorPhase,
  MirrorStatus,
} from '@volant/contract'
import { createFenceGuard } from '../fence-guard.ts'
import { withFaults } from './faults.ts'
import type { Faults } from './faults.ts'

export interface SimulatedMirror extends MirrorStatus {
  jobId: string
  target: ImageAccess
}

export interface SimulatedHolder {
  spec: HolderSpec
  /** The image that the export stands on. */
  image: ImageAccess
  pid: number
  /** Died at its cutover: only the caller's word starts it again. */
  dead?: boolean
  mirror?: SimulatedMirror
}

export interface SimulatedHolders {
  readonly holders: Map<string, SimulatedHolder>
  /** Sets what `mirrorStatus` reports, e.g. `{ phase: 'copying', doneBytes: 4096 }`. */
  setMirror(holderId: string, change: Partial<MirrorStatus>): void
  /**
   * The daemon dies. Its supervisor starts it again on its image and the mirror is lost; at a cutover (PENDING) it
   * stays away until `ensureHolder`, `finalizeCutover` or `abandonCutover` decides.
   */
  crashHolder(holderId: string): void
}

export interface SimulatedHolderOptions {
  host?: string
  /** What a new mirror's phase is; 'ready' (the default) is an instant copy. */
  firstPhase?: MirrorPhase
  /** Told of each image that is opened or closed, e.g. to keep a simulated storage node's `openImages`. */
  onOpen?: (imageId: string) => void
  onClose?: (imageId: string) => void
}

const absent: MirrorStatus = { phase: 'absent', doneBytes: 0, totalBytes: 0, rate: 0, pausedByUser: false }

/** Holders in memory, for tests of what calls them. Mirrors are instant, or are led by `setMirror`. */
export function createSimulatedHolderAgent(
  options: SimulatedHolderOptions = {},
): HolderAgent & SimulatedHolders & Faults {
  const holders = new Map<string, SimulatedHolder>()
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
    imageId: image.imageId,
    ...(spec.serves
      ? { socketPath: `/simulated/${spec.holderId}.sock`, exportName: `x.${spec.holderId}` }
      : {}),
  })
  const dropMirror = (holder: SimulatedHolder): void => {
    if (holder.mirror && holder.mirror.target.imageId !== holder.image.imageId) {
      options.onClose?.(holder.mirror.target.imageId)
    }
    delete holder.mirror
  }
  const stand = (holder: SimulatedHolder, image: ImageAccess): void => {
    if (holder.image.imageId !== image.imageId) options.onClose?.(holder.image.imageId)
    holder.image = image
    options.onOpen?.(image.imageId)
  }

  const agent: HolderAgent & SimulatedHolders = {
    holders,
    setMirror: (holderId, change) => void Object.assign(existing(holderId).mirror ?? {}, change),
    crashHolder(holderId) {
      const holder = existing(holderId)
      if (holder.mirror?.phase === 'pending') {
        holder.dead = true
        return
      }
      holder.pid = nextPid++
      if (holder.mirror) {
        const error = 'The copy ended with its storage daemon; start it again.'
        Object.assign(holder.mirror, { phase: 'failed', error })
      }
    },
    async ensureHolder(caller, spec) {
      guard.admit(caller)
      const holder = holders.get(spec.holderId) ?? { spec, image: spec.image, pid: nextPid++ }
      if (holder.image.imageId !== spec.image.imageId) {
        const { mirror } = holder
        const decided = mirror?.phase === 'pending' && mirror.target.imageId === spec.image.imageId
        if (!decided && holder.dead !== true) {
          throw new DomainError('conflict', `Holder ${spec.holderId} runs on image ${holder.image.imageId}.`)
        }
      }
      if (holder.dead === true || holder.image.imageId !== spec.image.imageId) dropMirror(holder)
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
      dropMirror(holder)
      options.onClose?.(holder.image.imageId)
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
      if (holder.mirror)
        throw new DomainError('conflict', `Holder ${holderId} is copying; it cannot grow now.`)
      if (sizeBytes < holder.image.sizeBytes) throw new DomainError('invalid', 'A volume cannot shrink.')
      holder.image = { ...holder.image, sizeBytes }
    },
    async ensureMirror(caller, { holderId, jobId, target, rate }) {
      guard.admit(caller)
      const holder = existing(holderId)
      if (holder.mirror?.jobId === jobId && holder.mirror.phase !== 'failed') return
      if (holder.mirror && holder.mirror.jobId !== jobId) {
        throw new DomainError('conflict', `Holder ${holderId} already copies for ${holder.mirror.jobId}.`)
      }
      if (target.sizeBytes !== holder.image.sizeBytes) {
        throw new DomainError('conflict', 'Source and target image have different sizes.')
      }
      const phase = options.firstPhase ?? 'ready'
      const doneBytes = phase === 'ready' ? target.sizeBytes : 0
      holder.mirror = {
        jobId,
        target,
        rate,
        phase,
        doneBytes,
        totalBytes: target.sizeBytes,
        pausedByUser: false,
      }
      options.onOpen?.(target.imageId)
    },
    async ensureNoMirror(caller, holderId, jobId) {
      guard.admit(caller)
      const holder = holders.get(holderId)
      if (holder?.mirror?.jobId === jobId) dropMirror(holder)
    },
    async mirrorStatus(holderId, jobId) {
      const mirror = holders.get(holderId)?.mirror
      if (mirror?.jobId !== jobId) return absent
      const { phase, doneBytes, totalBytes, rate, pausedByUser, error } = mirror
      return { phase, doneBytes, totalBytes, rate, pausedByUser, ...(error === undefined ? {} : { error }) }
    },
    async setMirrorRate(caller, holderId, jobId, rate) {
      guard.admit(caller)
      mirrorOf(holderId, jobId).rate = rate
    },
    async ensureMirrorPaused(caller, holderId, jobId, paused) {
      guard.admit(caller)
      const mirror = mirrorOf(holderId, jobId)
      if (paused && !mirror.pausedByUser) mirror.phase = 'paused'
      if (!paused && mirror.phase === 'paused') {
        mirror.phase = mirror.doneBytes < mirror.totalBytes ? 'copying' : 'ready'
      }
      mirror.pausedByUser = paused
    },
    async prepareCutover(caller, holderId, jobId) {
      guard.admit(caller)
      const mirror = mirrorOf(holderId, jobId)
      if (mirror.phase !== 'ready' && mirror.phase !== 'pending') {
        throw new DomainError('conflict', `Mirror ${jobId} is ${mirror.phase}, not ready.`)
      }
      mirror.phase = 'pending'
      return { drainMs: 1 }
    },
    async finalizeCutover(caller, holderId, jobId, target) {
      guard.admit(caller)
      const holder = existing(holderId)
      if (holder.image.imageId !== target.imageId) {
        const mirror = mirrorOf(holderId, jobId)
        if (mirror.phase !== 'pending' || mirror.target.imageId !== target.imageId) {
          throw new DomainError(
            'conflict',
            `Mirror ${jobId} is ${mirror.phase} to image ${mirror.target.imageId}.`,
          )
        }
      }
      delete holder.dead
      stand(holder, target)
      dropMirror(holder)
      return { imageId: target.imageId, pauseMs: 2, finalizeMs: 1 }
    },
    async abandonCutover(caller, holderId, jobId) {
      guard.admit(caller)
      const holder = holders.get(holderId)
      if (holder?.mirror?.jobId === jobId) dropMirror(holder)
      if (holder) delete holder.dead
    },
  }
  return withFaults(agent, ['setMirror', 'crashHolder'])
}
