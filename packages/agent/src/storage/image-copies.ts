import { DomainError, messageOf } from '@volant/contract'
import type { ImageCopyRequest, ImageCopyStatus, ImageInfo, ImageRef, NbdAccess } from '@volant/contract'
import { ensureLauncher } from '@volant/qemu/launcher.ts'
import { openIdentified } from '@volant/qemu/nbd-identity.ts'
import { readClientTls } from '@volant/qemu/tls/authority.ts'
import { isWritableInQemu } from '../daemon/file-locks.ts'
import type { Log } from '../daemon/log.ts'
import { Copier, copyTlsId, copyWord, endLeftCopiers } from './copier.ts'
import { finishRemoval, imageInfo } from './images.ts'

export interface ImageCopiesContext {
  log: Log
  /** Throws for a name that is none. */
  path: (image: ImageRef) => string
  /** Whether images of the aggregate can share blocks. */
  canShare: (aggregate: string) => Promise<boolean>
  /** Network namespace, as a path, from which images of other nodes are reached. */
  netns?: string
  /** Folder of this machine's client certificate. Throws where it has none. */
  clientTlsFolder: () => Promise<string>
}

interface ImageCopy extends Omit<ImageCopyStatus, 'phase'> {
  request: ImageCopyRequest
  phase: 'copying' | 'paused' | 'done' | 'failed'
  /** Undefined before it runs, and between two runs. */
  copier?: Copier
  isCancelled: boolean
  /** Settles when nothing of it writes any more. */
  settled: Promise<void>
  /** Lets a run that waits for the end of a pause go on. */
  goOn: () => void
}

const absent: ImageCopyStatus = { phase: 'absent', doneBytes: 0, totalBytes: 0, rate: 0 }
/** How a part of an image is called until it is whole. */
export const partOf = (path: string): string => `${path}.new`

/**
 * Copies of images at rest. They are kept in memory alone: the copiers end with their agent, and what is whole then is
 * found as a file. Calls about one target come one after the other.
 */
export class ImageCopies {
  readonly #context: ImageCopiesContext
  readonly #copies = new Map<string, ImageCopy>()

  constructor(context: ImageCopiesContext) {
    this.#context = context
  }

  async ensure(request: ImageCopyRequest): Promise<void> {
    const { imageId } = request.to
    const found = this.#copies.get(imageId)
    if (found && found.request.from.imageId !== request.from.imageId) {
      throw new DomainError('conflict', `Image ${imageId} is copied from ${found.request.from.imageId}.`)
    }
    if (found && (await this.#stands(found))) return
    await found?.settled
    this.#copies.delete(imageId)

    const source = await this.#check(request)
    await endLeftCopiers(imageId)
    const whole = await this.#wholeTarget(request, source)
    const copy: ImageCopy = {
      request,
      phase: whole ? 'done' : 'copying',
      doneBytes: whole ? source.allocatedBytes : 0,
      // What is known before the copier has looked.
      totalBytes: source.allocatedBytes,
      rate: request.rate,
      isCancelled: false,
      settled: Promise.resolve(),
      goOn: () => {},
    }
    this.#copies.set(imageId, copy)
    if (!whole) copy.settled = this.#carryOut(copy)
  }

  status(imageId: string): ImageCopyStatus {
    const copy = this.#copies.get(imageId)
    if (!copy) return absent
    const { phase, doneBytes, totalBytes, rate, error } = copy
    return { phase, doneBytes, totalBytes, rate, ...(error === undefined ? {} : { error }) }
  }

  async setRate(imageId: string, rate: number): Promise<void> {
    if (!Number.isSafeInteger(rate) || rate < 0) {
      throw new DomainError('invalid', `${rate} is no rate; use whole bytes per second, or 0 for no limit.`)
    }
    const copy = this.#require(imageId)
    if (copy.rate === rate) return
    copy.rate = rate
    copy.copier?.tell(`rate ${rate}`)
  }

  setPaused(imageId: string, paused: boolean): void {
    const copy = this.#require(imageId)
    if (copy.phase !== (paused ? 'copying' : 'paused')) return
    copy.phase = paused ? 'paused' : 'copying'
    copy.copier?.tell(paused ? 'pause' : 'resume')
    if (!paused) copy.goOn()
  }

  /** Returns when nothing of it writes any more. */
  async ensureNone(imageId: string): Promise<void> {
    const copy = this.#copies.get(imageId)
    if (copy) await this.#end(copy)
    else await endLeftCopiers(imageId)
    this.#copies.delete(imageId)
  }

  /** Throws `conflict` while the image is read or written by a copy that is under way. */
  requireNotCopied(imageId: string): void {
    for (const { phase, request } of this.#copies.values()) {
      if (phase !== 'copying' && phase !== 'paused') continue
      const { from, to, base } = request
      const used = [from, to, ...(base ? [base.from, base.to] : [])]
      if (!used.some((image) => image.imageId === imageId)) continue
      throw new DomainError(
        'conflict',
        `Image ${imageId} is in use: ${from.imageId} is being copied to ${to.imageId}; end that first.`,
      )
    }
  }

  /** For an image that is removed: a copy that is over is forgotten, and what a dead agent left of one is ended. */
  async forget(imageId: string): Promise<void> {
    this.requireNotCopied(imageId)
    await this.ensureNone(imageId)
  }

  /** Ends all of them: another agent of the node may begin them anew. One that does not end is logged. */
  async stop(): Promise<void> {
    const ends = await Promise.allSettled([...this.#copies.values()].map((copy) => this.#end(copy)))
    for (const end of ends) {
      if (end.status === 'fulfilled') continue
      this.#context.log.warn({ reason: messageOf(end.reason) }, 'copy of an image does not end')
    }
  }

  #require(imageId: string): ImageCopy {
    const copy = this.#copies.get(imageId)
    if (copy) return copy
    throw new DomainError('notFound', `There is no copying to image ${imageId}.`)
  }

  /** A copy that failed is begun anew, and so is one that is done and whose target was removed since. */
  async #stands({ phase, request }: ImageCopy): Promise<boolean> {
    if (phase === 'failed') return false
    if (phase !== 'done' || request.toExport !== undefined) return true
    return (await imageInfo(this.#context.path(request.to), request.to.imageId)) !== undefined
  }

  async #end(copy: ImageCopy): Promise<void> {
    copy.isCancelled = true
    copy.goOn()
    await copy.copier?.end()
    await copy.settled
  }

  async #check(request: ImageCopyRequest): Promise<ImageInfo> {
    const { from, to, base, toExport, ontoOpen } = request
    if (toExport && (base !== undefined || ontoOpen === true)) {
      throw new DomainError(
        'invalid',
        'A copy to another node is a whole one: it has neither base nor ontoOpen.',
      )
    }
    if (from.imageId === to.imageId)
      throw new DomainError('invalid', 'An image cannot be copied onto itself.')
    const source = await this.#existing(from)
    for (const image of [from, ...(base ? [base.from] : [])]) {
      await this.#existing(image)
      if (!(await isWritableInQemu(this.#context.path(image)))) continue
      throw new DomainError(
        'conflict',
        `Image ${image.imageId} is open for writing; only an image at rest can be copied.`,
      )
    }
    if (base) await this.#existing(base.to)
    if (toExport && toExport.sizeBytes !== source.sizeBytes) {
      throw new DomainError(
        'conflict',
        `Image ${to.imageId} has ${toExport.sizeBytes} bytes, and ${from.imageId} ${source.sizeBytes}.`,
      )
    }
    return source
  }

  async #existing(image: ImageRef): Promise<ImageInfo> {
    const info = await imageInfo(this.#context.path(image), image.imageId)
    if (info) return info
    const { imageId, flexvol, aggregate } = image
    throw new DomainError('notFound', `There is no image ${imageId} in FlexVol ${flexvol} on ${aggregate}.`)
  }

  /** Whether the target is there and complete. Removes what a dead agent has left of one. */
  async #wholeTarget(
    { to, from, toExport, ontoOpen }: ImageCopyRequest,
    source: ImageInfo,
  ): Promise<boolean> {
    if (toExport) return false
    const path = this.#context.path(to)
    const found = ontoOpen === true ? await this.#existing(to) : await imageInfo(path, to.imageId)
    if (found && found.sizeBytes !== source.sizeBytes) {
      throw new DomainError(
        'conflict',
        `Image ${to.imageId} is there with ${found.sizeBytes} bytes; ${from.imageId} has ${source.sizeBytes}.`,
      )
    }
    if (ontoOpen === true) return false
    await finishRemoval(partOf(path))
    return found !== undefined
  }

  async #carryOut(copy: ImageCopy): Promise<void> {
    const { request } = copy
    const { imageId } = request.to
    let reason: string | undefined
    try {
      reason = await (request.toExport ? this.#overNbd(copy, request.toExport) : this.#onNode(copy))
    } catch (error) {
      reason = messageOf(error)
    }
    if (reason === undefined) {
      copy.phase = 'done'
      copy.doneBytes = copy.totalBytes
      return
    }
    if (!copy.isCancelled) this.#context.log.warn({ imageId, reason }, 'copy of an image failed')
    if (!request.toExport && request.ontoOpen !== true) await this.#removePart(request.to)
    copy.error = `Image ${request.from.imageId} was not copied to ${imageId}: ${reason}.`
    copy.phase = 'failed'
  }

  async #removePart(to: ImageRef): Promise<void> {
    try {
      await finishRemoval(partOf(this.#context.path(to)))
    } catch (error) {
      const { imageId } = to
      this.#context.log.warn({ imageId, reason: messageOf(error) }, 'part of an image was not removed')
    }
  }

  /** Returns the reason where it was not done. */
  async #onNode(copy: ImageCopy): Promise<string | undefined> {
    const { from, to, base, ontoOpen } = copy.request
    const { path, canShare } = this.#context
    const words = [copyWord(to.imageId), `from=${path(from)}`, `to=${path(to)}`, `rate=${copy.rate}`]
    if (ontoOpen === true) {
      if (base) words.push(`base=${path(base.from)}`)
    } else {
      words.push(`part=${partOf(path(to))}`)
      // Without reflink there the base saves nothing: all must be written.
      if (base && base.to.aggregate === to.aggregate && (await canShare(to.aggregate))) {
        words.push(`base=${path(base.from)}`, `clone=${path(base.to)}`)
      }
    }
    let rest = ''
    return this.#run(copy, ['image', ...words], (text) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const [word, figure] = line.split(' ')
        if (word === 'total') copy.totalBytes = Number(figure)
        if (word === 'done') copy.doneBytes = Number(figure)
      }
    })
  }

  async #overNbd(copy: ImageCopy, target: NbdAccess): Promise<string | undefined> {
    const { netns, path } = this.#context
    const { from, to } = copy.request
    const folder = await this.#context.clientTlsFolder()
    const open = async () => {
      const tls = readClientTls(folder, target.tlsHostname)
      const address = { host: target.host, port: target.port, tls, ...(netns === undefined ? {} : { netns }) }
      return openIdentified(address, target.exportName, target)
    }
    while (copy.phase === 'paused' && !copy.isCancelled) {
      await new Promise<void>((resolve) => (copy.goOn = resolve))
    }
    const identified = await open()
    identified.close()
    const program = netns === undefined ? [] : [await ensureLauncher(), 'run', '--netns', netns, '--']
    const convert = convertCommand({ imageId: to.imageId, path: path(from), target, folder })
    const words = ['watch', copyWord(to.imageId), '--', ...program, ...convert]
    const reason = await this.#run(copy, words, (text) => {
      const percent = /\((\d+\.\d+)\/100%\)\s*$/.exec(text)?.[1]
      if (percent !== undefined) copy.doneBytes = Math.floor((copy.totalBytes * Number(percent)) / 100)
    })
    if (reason !== undefined) return reason
    // `qemu-img` does not tell whether its last flush has succeeded.
    const flushed = await open()
    await flushed.flush().finally(() => flushed.close())
    return undefined
  }

  async #run(copy: ImageCopy, args: string[], onOutput: (text: string) => void): Promise<string | undefined> {
    const copier = await Copier.start(args, onOutput)
    copy.copier = copier
    // What was asked for while it was being started.
    if (copy.phase === 'paused') copier.tell('pause')
    copier.tell(`rate ${copy.rate}`)
    if (copy.isCancelled) await copier.end()
    const reason = await copier.ended()
    delete copy.copier
    return reason
  }
}

/** QEMU's key=value lists: a comma in a value is doubled. */
const keyed = (values: Record<string, string>): string =>
  Object.entries(values)
    .map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`)
    .join(',')

/**
 * Writes a whole image to another node's, which is all zeroes where nothing was written: blocks of zeroes are left out.
 * The formats are named, never probed.
 */
function convertCommand(copy: {
  imageId: string
  path: string
  target: NbdAccess
  folder: string
}): string[] {
  const { imageId, path, target, folder } = copy
  const id = copyTlsId(imageId)
  const tls = { id, dir: folder, endpoint: 'client', 'verify-peer': 'on' }
  const nbd = {
    driver: 'nbd',
    'server.type': 'inet',
    'server.host': target.host,
    'server.port': String(target.port),
    export: target.exportName,
    'tls-creds': id,
    'tls-hostname': target.tlsHostname,
  }
  return [
    'qemu-img',
    'convert',
    ...['-p', '-n', '-W', '--target-is-zero', '-S', '4k', '-T', 'none', '-t', 'writeback'],
    ...['--object', `tls-creds-x509,${keyed(tls)}`, '-f', 'raw', '--target-image-opts'],
    `file:${path}`,
    keyed(nbd),
  ]
}
