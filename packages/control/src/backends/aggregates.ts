import type { Caller, ImageAccess, ImageRef } from '@volant/contract'
import type { Copy, FlexVol } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolRecords } from '../ports/records.ts'

/** An export serves one image to one holder. */
export const exportIdOf = (copy: { imageId: string }, holderId: string): string =>
  `${holderId}.${copy.imageId}`

/** Volant's own storage: raw images in folders of aggregates, behind the agents of the storage nodes. */
export function aggregatesBackend(options: {
  agents: Agents
  flexvols: FlexVolRecords
  machineOf: (node: string) => string
}): Backend {
  const { agents, flexvols, machineOf } = options

  const refOf = async (copy: Copy): Promise<ImageRef> => {
    const flexvol = await flexvols.get(copy.flexvolId)
    return { imageId: copy.imageId, aggregate: copy.aggregate, flexvol: flexvol.name }
  }
  const isLocal = (copy: Copy, machine: string): boolean => machineOf(copy.node) === machine

  return {
    ensureFlexVol: (caller: Caller, flexvol: FlexVol) =>
      agents
        .storage(flexvol.node)
        .ensureFlexVol(caller, { aggregate: flexvol.aggregate, name: flexvol.name }),
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
    imageInfo: async (copy) => agents.storage(copy.node).imageInfo(await refOf(copy)),
    ensureReadOnly: async (caller, copy, readOnly) =>
      agents.storage(copy.node).ensureImageReadOnly(caller, await refOf(copy), readOnly),
    async openFor(caller, copy, machine, holderId): Promise<ImageAccess> {
      const node = agents.storage(copy.node)
      const ref = await refOf(copy)
      return isLocal(copy, machine)
        ? node.fileAccess(ref)
        : node.ensureExport(caller, exportIdOf(copy, holderId), ref, machine)
    },
    async revoke(caller, copy, machine, holderId) {
      if (isLocal(copy, machine)) return false
      await agents.storage(copy.node).ensureNoExport(caller, exportIdOf(copy, holderId))
      return true
    },
    space: (flexvol) => agents.storage(flexvol.node).aggregateSpace(flexvol.aggregate),
  }
}
