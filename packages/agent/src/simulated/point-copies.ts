import { DomainError } from '@volant/contract'
import type { HolderAgent, ImageAccess, InventoryItem, PointCopyStatus } from '@volant/contract'
import type { FenceGuard } from '../fence-guard.ts'
import type { SimulatedHolder, SimulatedHolderOptions } from './holder.ts'
import { simulatedItem } from './inventory.ts'
import { imageOf } from './standby.ts'

export interface SimulatedPointCopy extends PointCopyStatus {
  jobId: string
  target: ImageAccess
  rate: number
}

type Copying = SimulatedHolder & { pointCopy: SimulatedPointCopy }

export const isCopyingPoint = (holder: SimulatedHolder): holder is Copying =>
  holder.pointCopy?.phase === 'copying'

export function endPointCopy(holder: SimulatedHolder, onClose: SimulatedHolderOptions['onClose']): void {
  if (isCopyingPoint(holder)) onClose?.(holder.pointCopy.target.imageId)
  delete holder.pointCopy
}

export function pointCopyItem({ spec, pointCopy }: SimulatedHolder): InventoryItem[] {
  if (!pointCopy) return []
  const { holderId, volumeId } = spec
  const { jobId, target } = pointCopy
  const copy = { holderId, volumeId, jobId, imageId: target.imageId, isAtCutover: false }
  return [simulatedItem({ kind: 'mirror', id: `${holderId} ${jobId}`, ...copy })]
}

/** Copies of an instant: at once, or led by `setPointCopy` where new mirrors are not ready at once either. */
export function simulatedPointCopies(given: {
  existing: (holderId: string) => SimulatedHolder
  find: (holderId: string) => SimulatedHolder | undefined
  guard: FenceGuard
  options: SimulatedHolderOptions
}) {
  const { existing, find, guard, options } = given
  const setPointCopy = (holderId: string, change: Partial<PointCopyStatus>): void => {
    const { pointCopy } = existing(holderId)
    if (!pointCopy) return
    const wasOpen = pointCopy.phase === 'copying'
    Object.assign(pointCopy, change)
    if (wasOpen && pointCopy.phase !== 'copying') options.onClose?.(pointCopy.target.imageId)
  }
  const copies: Pick<HolderAgent, 'ensurePointCopy' | 'pointCopyStatus' | 'ensureNoPointCopy'> = {
    async ensurePointCopy(caller, { holderId, jobId, target, rate }) {
      guard.admit(caller)
      const holder = existing(holderId)
      const { pointCopy, mirror } = holder
      if (holder.dead === true) {
        throw new DomainError('unavailable', `The storage daemon of holder ${holderId} does not run.`)
      }
      if (pointCopy?.jobId === jobId && pointCopy.phase !== 'failed') return
      const other = pointCopy?.phase === 'copying' ? pointCopy : mirror
      if (other) throw new DomainError('conflict', `Holder ${holderId} already copies for ${other.jobId}.`)
      if (target.sizeBytes !== imageOf(holder).sizeBytes) {
        throw new DomainError('conflict', 'Source and target image have different sizes.')
      }
      const totalBytes = target.sizeBytes
      holder.pointCopy = { jobId, target, rate, phase: 'copying', doneBytes: 0, totalBytes }
      options.onOpen?.(target.imageId)
      if ((options.firstPhase ?? 'ready') === 'ready') {
        setPointCopy(holderId, { phase: 'done', doneBytes: totalBytes })
      }
    },
    async pointCopyStatus(holderId, jobId) {
      const pointCopy = find(holderId)?.pointCopy
      if (pointCopy?.jobId !== jobId) return { phase: 'absent', doneBytes: 0, totalBytes: 0 }
      const { phase, doneBytes, totalBytes, error } = pointCopy
      return { phase, doneBytes, totalBytes, ...(error === undefined ? {} : { error }) }
    },
    async ensureNoPointCopy(caller, holderId, jobId) {
      guard.admit(caller)
      const holder = find(holderId)
      if (holder?.pointCopy?.jobId === jobId) endPointCopy(holder, options.onClose)
    },
  }
  return { ...copies, setPointCopy }
}
