import { DomainError } from '@volant/contract'
import type {
  AggregateInfo,
  ImageCopyRequest,
  ImageCopyStatus,
  ImageRef,
  StorageAgent,
} from '@volant/contract'
import type { FenceGuard } from '../fence-guard.ts'
import type { SimulatedImage } from './storage.ts'

export interface SimulatedImageCopy extends ImageCopyStatus {
  request: ImageCopyRequest
  /** Looks at its status while it was copying. */
  looks: number
}

export interface SimulatedImageCopies {
  /** By the target's id. To clear it is what a restart of the agent does to copies. */
  readonly imageCopies: Map<string, SimulatedImageCopy>
  /** Sets what `imageCopyStatus` reports, e.g. `{ phase: 'failed', error: 'no space' }`. */
  setImageCopy(imageId: string, change: Partial<ImageCopyStatus>): void
}

type CopyMethods = Pick<
  StorageAgent,
  | 'ensureClone'
  | 'ensureImageCopy'
  | 'imageCopyStatus'
  | 'setImageCopyRate'
  | 'ensureImageCopyPaused'
  | 'ensureNoImageCopy'
>

const absent: ImageCopyStatus = { phase: 'absent', doneBytes: 0, totalBytes: 0, rate: 0 }

/** So many looks at its status, and a copy is done. */
const looksOfCopy = 3

/** Clones, and copies. */
export function simulatedImageCopies(node: {
  guard: FenceGuard
  images: ReadonlyMap<string, SimulatedImage>
  openImages: ReadonlySet<string>
  aggregate: (name: string) => AggregateInfo
  create: (ref: ImageRef, sizeBytes: number) => SimulatedImage
  onExported?: (target: string, from: SimulatedImage) => void
}): { methods: CopyMethods & SimulatedImageCopies; isCopied: (imageId: string) => boolean } {
  const { guard, images } = node
  const copies = new Map<string, SimulatedImageCopy>()

  const existing = ({ imageId, aggregate }: ImageRef): SimulatedImage => {
    const image = images.get(imageId)
    if (image?.ref.aggregate === aggregate) return image
    throw new DomainError('notFound', `There is no image ${imageId} on aggregate ${aggregate}.`)
  }
  const existingCopy = (imageId: string): SimulatedImageCopy => {
    const copy = copies.get(imageId)
    if (copy) return copy
    throw new DomainError('notFound', `There is no copy to image ${imageId}.`)
  }
  /** What the copy need not move, for `base` has it already. */
  const sharedBytes = ({ from, to, base }: ImageCopyRequest): number =>
    base === undefined || !node.aggregate(to.aggregate).reflink
      ? 0
      : Math.min(existing(from).allocatedBytes, existing(base.from).allocatedBytes)
  const check = (request: ImageCopyRequest): void => {
    const { from, to, base, ontoOpen, toExport } = request
    const source = existing(from)
    if (node.openImages.has(from.imageId)) {
      throw new DomainError('conflict', `Image ${from.imageId} is open for writing.`)
    }
    if (base && toExport) throw new DomainError('invalid', 'A copy to another node has no base.')
    if (base && existing(base.from).content !== existing(base.to).content) {
      throw new DomainError('conflict', 'The two base images are not equal.')
    }
    const found = toExport ? undefined : images.get(to.imageId)
    if (ontoOpen === true && !found) throw new DomainError('notFound', `There is no image ${to.imageId}.`)
    if (ontoOpen === true && base && found?.content !== existing(base.to).content) {
      throw new DomainError('conflict', 'The target did not begin as a clone of the base.')
    }
    if (found && found.sizeBytes !== source.sizeBytes) {
      throw new DomainError('conflict', `Image ${to.imageId} has ${found.sizeBytes} bytes.`)
    }
  }
  const finish = ({ request }: SimulatedImageCopy): void => {
    const { from, to, toExport } = request
    const source = existing(from)
    if (toExport) return node.onExported?.(to.imageId, source)
    const target = node.create(to, source.sizeBytes)
    target.allocatedBytes = source.allocatedBytes
    target.sharedBytes = sharedBytes(request)
    target.content = source.content
    target.changes += 1
  }

  const isCopied = (imageId: string): boolean =>
    [...copies.values()].some(({ phase, request: { from, to, base } }) => {
      const used = [from, to, ...(base ? [base.from, base.to] : [])]
      return ['copying', 'paused'].includes(phase) && used.some((image) => image.imageId === imageId)
    })

  const methods: CopyMethods & SimulatedImageCopies = {
    imageCopies: copies,
    setImageCopy: (imageId, change) => void Object.assign(existingCopy(imageId), change),
    async ensureClone(caller, ref, fromRef) {
      guard.admit(caller)
      const from = existing(fromRef)
      if (ref.aggregate !== fromRef.aggregate || !node.aggregate(ref.aggregate).reflink) {
        throw new DomainError('notImplemented', `Aggregate ${ref.aggregate} cannot clone.`)
      }
      const isNew = !images.has(ref.imageId)
      const image = node.create(ref, from.sizeBytes)
      if (isNew) {
        const { allocatedBytes, content } = from
        Object.assign(image, { allocatedBytes, sharedBytes: allocatedBytes, content })
      }
      const { imageId, sizeBytes, allocatedBytes, readOnly, changes } = image
      return { imageId, sizeBytes, allocatedBytes, readOnly, changeMark: `${imageId}.${changes}` }
    },
    async ensureImageCopy(caller, request) {
      guard.admit(caller)
      const { imageId } = request.to
      const phase = copies.get(imageId)?.phase
      if (phase !== undefined && phase !== 'failed') return
      const { from, toExport, ontoOpen, rate } = request
      check(request)
      const found = toExport === undefined && ontoOpen !== true && images.has(imageId)
      const totalBytes = existing(from).allocatedBytes - sharedBytes(request)
      const doneBytes = found ? totalBytes : 0
      const phaseNow = found ? 'done' : 'copying'
      copies.set(imageId, { phase: phaseNow, doneBytes, totalBytes, rate, request, looks: 0 })
    },
    async imageCopyStatus(imageId) {
      const copy = copies.get(imageId)
      if (!copy) return absent
      if (copy.phase === 'copying') {
        copy.looks += 1
        if (copy.looks >= looksOfCopy) finish(copy)
        copy.phase = copy.looks < looksOfCopy ? 'copying' : 'done'
        copy.doneBytes = Math.floor((copy.totalBytes * Math.min(copy.looks, looksOfCopy)) / looksOfCopy)
      }
      const { phase, doneBytes, totalBytes, rate, error } = copy
      return { phase, doneBytes, totalBytes, rate, ...(error === undefined ? {} : { error }) }
    },
    async setImageCopyRate(caller, imageId, rate) {
      guard.admit(caller)
      existingCopy(imageId).rate = rate
    },
    async ensureImageCopyPaused(caller, imageId, paused) {
      guard.admit(caller)
      const copy = existingCopy(imageId)
      if (paused && copy.phase === 'copying') copy.phase = 'paused'
      if (!paused && copy.phase === 'paused') copy.phase = 'copying'
    },
    async ensureNoImageCopy(caller, imageId) {
      guard.admit(caller)
      copies.delete(imageId)
    },
  }
  return { methods, isCopied }
}
