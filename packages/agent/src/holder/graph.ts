import type { QmpClient } from '@volant/qemu/qmp.ts'
import { daemonNames } from '@volant/qemu/storage-daemon.ts'

interface RawGraph {
  nodes: { id: number; type: string; name: string }[]
  edges: { parent: number; child: number; name: string }[]
}

/** The block graph of a holder's daemon, as far as relocations need it. */
export interface BlockGraph {
  nodeNames: string[]
  /** The image node below the filters: what the export stands on. */
  standsOn: string | undefined
}

/** Source: `x-debug-query-block-graph`, the only command that tells which node stands on which. */
export async function readGraph(qmp: QmpClient, timeoutMs?: number): Promise<BlockGraph> {
  const raw = (await qmp.execute('x-debug-query-block-graph', {}, timeoutMs)) as RawGraph
  const throttle = raw.nodes.find((node) => node.name === daemonNames.throttleNode)
  const below = (id: number | undefined) => {
    const edge = raw.edges.find((candidate) => candidate.parent === id && candidate.name === 'file')
    return raw.nodes.find((node) => node.id === edge?.child)
  }
  const child = below(throttle?.id)
  return {
    nodeNames: raw.nodes.filter((node) => node.type === 'block-driver').map((node) => node.name),
    standsOn: (child?.name === daemonNames.copyBeforeWrite ? below(child.id) : child)?.name,
  }
}

const stem = (imageId: string): string => `i${imageId.replaceAll('-', '').slice(0, 26).toLowerCase()}`

/** Whether a node is one of the image's. QEMU's names end at 31 characters, so they carry 26 of a UUID's 32 digits. */
export const isNodeOf = (nodeName: string | undefined, imageId: string): boolean =>
  nodeName?.startsWith(`${stem(imageId)}-`) === true

/** A node name for the image that no node of the graph has: a node of an earlier move may still be closing. */
export function freeNodeName(imageId: string, taken: readonly string[]): string {
  for (let n = 0; ; n++) {
    const name = `${stem(imageId)}-${n}`
    if (!taken.includes(name)) return name
  }
}
