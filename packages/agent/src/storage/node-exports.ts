import { DomainError } from '@volant/contract'
import type { ExportStatus, NbdAccess } from '@volant/contract'
import { requireSafeId } from '../daemon/names.ts'
import { endUnrecorded } from '../daemon/supervised-daemon.ts'
import { exportIds, exportPaths, ImageExport, readExportRecord, removeExportRemains } from './exports.ts'
import type { ExportContext } from './exports.ts'

/** What a caller asks for. */
interface WantedExport {
  exportId: string
  imageId: string
  path: string
  sizeBytes: number
  clientHost: string | undefined
}

/** A revoked export whose daemon is still on its way out. */
interface Ending {
  id: string
  imageId: string
  ended: Promise<void>
}

/** All exports of a storage node, by their records. Calls about one come one after the other. */
export class NodeExports {
  readonly #node: string
  readonly #context: ExportContext
  readonly #exports = new Map<string, ImageExport>()
  readonly #endings = new Set<Ending>()

  constructor(node: string, context: ExportContext) {
    this.#node = node
    this.#context = context
  }

  async ensure(wanted: WantedExport): Promise<NbdAccess> {
    await this.#ended(({ id }) => id === wanted.exportId)
    const one = this.#foundOrNew(wanted)
    await one.serve(wanted.sizeBytes)
    return one.access
  }

  async ensureStandby(wanted: WantedExport): Promise<NbdAccess> {
    const { exportId } = wanted
    await this.#ended(({ id }) => id === exportId)
    const one = this.#foundOrNew(wanted)
    if (one.record.isStandby !== true) {
      throw new DomainError('conflict', `Export ${exportId} serves its image; revoke it first.`)
    }
    await one.standBy()
    return one.access
  }

  #foundOrNew({ clientHost, ...place }: WantedExport): ImageExport {
    const { exportId, imageId } = place
    const found = this.#find(exportId)
    if (found && found.record.imageId !== imageId) {
      throw new DomainError(
        'conflict',
        `Export ${exportId} serves image ${found.record.imageId}, not ${imageId}.`,
      )
    }
    if (found?.record.isStandby === true && found.record.clientHost !== clientHost) {
      throw new DomainError(
        'conflict',
        `Export ${exportId} is in standby for ${found.record.clientHost}, not ${clientHost}.`,
      )
    }
    const client = clientHost === undefined ? {} : { clientHost }
    const one = found ?? ImageExport.create(this.#context, { ...place, ...client })
    this.#exports.set(exportId, one)
    return one
  }

  async ensureSize(exportId: string, sizeBytes: number): Promise<NbdAccess> {
    const found = this.#find(exportId)
    if (!found) throw new DomainError('notFound', `There is no export ${exportId} on node ${this.#node}.`)
    await found.grow(sizeBytes)
    return found.access
  }

  /** The image goes from one export to another: to the second when the first is fenced, which is proved. */
  async handOver(from: string, wanted: WantedExport): Promise<NbdAccess> {
    const pid = this.#find(from)?.daemon.pid ?? 0
    const served = Promise.withResolvers<void>()
    const proved = this.#fence(from, served.promise)
    proved.catch(() => {}) // thrown below
    try {
      await this.#ended(({ id }) => id === wanted.exportId)
      const one = this.#foundOrNew(wanted)
      await one.serve(wanted.sizeBytes, { proved, pid })
      return one.access
    } finally {
      served.resolve()
      await proved
    }
  }

  /** Returns when it is proved; its daemon may have the image open until its end. */
  revoke(exportId: string): Promise<void> {
    return this.#fence(exportId)
  }

  async #fence(exportId: string, first?: Promise<void>): Promise<void> {
    const found = this.#find(exportId)
    this.#exports.delete(exportId)
    if (!found) {
      await this.#ended(({ id }) => id === exportId)
      await endUnrecorded(exportPaths(this.#context.runDir, exportId))
      removeExportRemains(this.#context, exportId)
      return
    }
    const { ended } = await found.revoke(first)
    const ending: Ending = { id: exportId, imageId: found.record.imageId, ended }
    this.#endings.add(ending)
    const forget = (): void => void this.#endings.delete(ending)
    void ended.then(forget, forget)
  }

  list(): ExportStatus[] {
    const found = exportIds(this.#context.stateDir).map((exportId) => this.#find(exportId))
    return found
      .filter((one) => one !== undefined)
      .map(({ record: { exportId, imageId, clientHost, isStandby = false }, daemon }) => ({
        exportId,
        imageId,
        pid: daemon.pid,
        ...(clientHost !== undefined && { clientHost }),
        isStandby,
      }))
  }

  ids(): string[] {
    return exportIds(this.#context.stateDir)
  }

  /** Finds the daemon of a recorded export, starts one that died since the machine's start, and watches it. */
  async adopt(exportId: string): Promise<void> {
    const daemon = this.#find(exportId)?.daemon
    if (daemon?.isOfThisBoot === true) await daemon.ensureRunning()
  }

  detach(): void {
    for (const one of this.#exports.values()) one.daemon.detach()
  }

  /** Waits for daemons that served the image, serve nothing any more, and are about to be gone. */
  async imageEnded(imageId: string): Promise<void> {
    await this.#ended((ending) => ending.imageId === imageId)
  }

  #find(exportId: string): ImageExport | undefined {
    const known = this.#exports.get(requireSafeId('export id', exportId))
    if (known) return known
    const record = readExportRecord(this.#context.stateDir, exportId)
    if (!record) return undefined
    const found = new ImageExport(this.#context, record)
    this.#exports.set(exportId, found)
    return found
  }

  async #ended(concerns: (ending: Ending) => boolean): Promise<void> {
    await Promise.all([...this.#endings].filter(concerns).map(({ ended }) => ended))
  }
}
