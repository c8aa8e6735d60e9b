import { DomainError, type Caller, type ImageAccess, type ImageRef } from '@volant/contract'
import { placeForNew, type Copy, type FlexVol } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { FencedHeadRecords } from '../ports/fenced-heads.ts'
import type { FlexVolRecords } from '../ports/records.ts'

/** An export serves one image to one holder. */
export const exportIdOf = (copy: { imageId: string }, holderId: string): string =>
  `${holderId}.${copy.imageId}`

/** Volant's own storage: raw images in folders of aggregates, behind the agents of the storage nodes. */
export function aggregatesBackend(options: {
  agents: Agents
  flexvols: FlexVolRecords
  fencedHeads: Pick<FencedHeadRecords, 'isFenced'>
  machineOf: (node: string) => string
}): Backend {
  const { agents, flexvols, fencedHeads, machineOf } = options

  const refOf = async (copy: Copy): Promise<ImageRef> => {
    const flexvol = await flexvols.get(copy.flexvolId)
    return { imageId: copy.imageId, aggregate: copy.aggregate, flexvol: flexvol.name }
  }
  const isLocal = (copy: Copy, machine: string): boolean => machineOf(copy.node) === machine

  /** One that names no client admits every machine. */
  const exportsTo: Backend['exportsTo'] = async (copy, machine) =>
    (await agents.storage(copy.node).listExports())
      .filter(({ imageId, clientHost = machine }) => imageId === copy.imageId && clientHost === machine)
      .map(({ exportId }) => exportId)

  async function requireNotFenced(holderId: string): Promise<void> {
    if (!(await fencedHeads.isFenced(holderId))) return
    throw new DomainError(
      'conflict',
      `Head ${holderId} gets no access to storage: its host was fenced, and has not answered since.`,
    )
  }

  /**
   * A fence is written down before anything is revoked. So either the second look sees it, and nobody is told the name of
   * what was just opened; or the export was there before the fence, and is revoked with the others.
   */
  async function unlessFenced<T>(
    copy: Copy,
    caller: Caller,
    holderId: string,
    open: () => Promise<T>,
  ): Promise<T> {
    await requireNotFenced(holderId)
    const opened = await open()
    try {
      await requireNotFenced(holderId)
    } catch (error) {
      await agents.storage(copy.node).ensureNoExport(caller, exportIdOf(copy, holderId))
      throw error
    }
    return opened
  }

  /** Between two nodes the target is served to the one that reads; the export is named by the copy. */
  const transferId = (to: Copy): string => `copy-${to.imageId}`
  const ensureFlexVolAt: Backend['ensureFlexVolAt'] = (caller, { name }, { node, aggregate }) =>
    agents.storage(node).ensureFlexVol(caller, { aggregate, name })
  const spaceAt: Backend['spaceAt'] = ({ node, aggregate }) => agents.storage(node).aggregateSpace(aggregate)
  return {
    ensureFlexVol: (caller: Caller, flexvol: FlexVol) =>
      ensureFlexVolAt(caller, flexvol, placeForNew(flexvol)),
    ensureFlexVolAt,
    ensureNoFlexVolAt: (caller, { name }, { node, aggregate }) =>
      agents.storage(node).ensureNoFlexVol(caller, { aggregate, name }),
    usageAt: ({ name }, { node, aggregate }) => agents.storage(node).flexVolUsage({ aggregate, name }),
    async canShare({ node, aggregate }) {
      const all = await agents.storage(node).listAggregates()
      return all.some((one) => one.name === aggregate && one.reflink)
    },
    async ensureClone(caller, copy, from) {
      if (copy.node !== from.node || copy.aggregate !== from.aggregate) {
        throw new DomainError('notImplemented', 'Images on different aggregates cannot share blocks.')
      }
      return agents.storage(copy.node).ensureClone(caller, await refOf(copy), await refOf(from))
    },
    async ensureCopy(caller, { to, from, base, ontoOpen, rate }) {
      const pair = { from: await refOf(from), to: await refOf(to), rate }
      const source = agents.storage(from.node)
      if (from.node === to.node) {
        return source.ensureImageCopy(caller, {
          ...pair,
          ...(base !== undefined && { base: { from: await refOf(base.from), to: await refOf(base.to) } }),
          ...(ontoOpen !== undefined && { ontoOpen }),
        })
      }
      const target = agents.storage(to.node)
      await target.ensureImage(caller, pair.to, to.sizeBytes)
      const toExport = await target.ensureExport(caller, transferId(to), pair.to, machineOf(from.node))
      await source.ensureImageCopy(caller, { ...pair, toExport })
    },
    copyStatus: ({ to, from }) => agents.storage(from.node).imageCopyStatus(to.imageId),
    setCopyRate: (caller, { to, from }, rate) =>
      agents.storage(from.node).setImageCopyRate(caller, to.imageId, rate),
    ensureCopyPaused: (caller, { to, from }, paused) =>
      agents.storage(from.node).ensureImageCopyPaused(caller, to.imageId, paused),
    async ensureNoCopy(caller, { to, from }) {
      await agents.storage(from.node).ensureNoImageCopy(caller, to.imageId)
      if (from.node !== to.node) await agents.storage(to.node).ensureNoExport(caller, transferId(to))
    },
    ensureImage: async (caller, copy) =>
      agents.storage(copy.node).ensureImage(caller, await refOf(copy), copy.sizeBytes),
    ensureImageFrom: async (caller, copy, from) =>
      agents.storage(copy.node).ensureImageFrom(caller, await refOf(copy), copy.sizeBytes, from),
    ensureImageSize: async (caller, copy, sizeBytes) =>
      agents.storage(copy.node).ensureImageSize(caller, await refOf(copy), sizeBytes),
    async ensureServedSize(caller, copy, machine, holderId, sizeBytes) {
      if (isLocal(copy, machine)) return
      await agents.storage(copy.node).ensureExportSize(caller, exportIdOf(copy, holderId), sizeBytes)
    },
    ensureNoImage: async (caller, copy) => agents.storage(copy.node).ensureNoImage(caller, await refOf(copy)),
    isOpen: async (copy) => agents.storage(copy.node).isImageOpen(await refOf(copy)),
    imageInfo: async (copy) => agents.storage(copy.node).imageInfo(await refOf(copy)),
    ensureReadOnly: async (caller, copy, readOnly) =>
      agents.storage(copy.node).ensureImageReadOnly(caller, await refOf(copy), readOnly),
    async openFor(caller, copy, machine, holderId): Promise<ImageAccess> {
      const node = agents.storage(copy.node)
      const ref = await refOf(copy)
      return unlessFenced<ImageAccess>(copy, caller, holderId, () =>
        isLocal(copy, machine)
          ? node.fileAccess(ref)
          : node.ensureExport(caller, exportIdOf(copy, holderId), ref, machine),
      )
    },
    isFenced: (holderId) => fencedHeads.isFenced(holderId),
    async revoke(caller, copy, machine, holderId) {
      if (isLocal(copy, machine)) return false
      await agents.storage(copy.node).ensureNoExport(caller, exportIdOf(copy, holderId))
      return true
    },
    async standBy(caller, copy, machine, holderId) {
      if (isLocal(copy, machine)) return null
      const ref = await refOf(copy)
      return unlessFenced(copy, caller, holderId, () =>
        agents.storage(copy.node).ensureExportStandby(caller, exportIdOf(copy, holderId), ref, machine),
      )
    },
    async handOver(caller, copy, from, to) {
      if (isLocal(copy, from.machine) || isLocal(copy, to.machine)) return false
      const image = await refOf(copy)
      const request = { image, from: exportIdOf(copy, from.holderId), to: exportIdOf(copy, to.holderId) }
      await unlessFenced(copy, caller, to.holderId, () =>
        agents.storage(copy.node).handOverExport(caller, { ...request, clientHost: to.machine }),
      )
      return true
    },
    exportsTo,
    async revokeAllTo(caller, copy, machine) {
      const node = agents.storage(copy.node)
      const found = await exportsTo(copy, machine)
      await Promise.all(found.map((exportId) => node.ensureNoExport(caller, exportId)))
    },
    space: (flexvol) => spaceAt(placeForNew(flexvol)),
    spaceAt,
  }
}
