import { DomainError } from '@volant/contract'
import type {
  FileSystemSpec,
  FileSystemStatus,
  NfsClient,
  NfsServerStatus,
  ShareAgent,
  ShareExportSpec,
  ShareStatus,
} from '@volant/contract'
import { createFenceGuard } from '../fence-guard.ts'
import { requireConsistent, requireExportSpec } from '../shares/exports.ts'
import { SimulatedLatency } from './latency.ts'
import type { EndedRequests } from './latency.ts'
import { withFaults, type Faults } from './faults.ts'
import { simulatedInventory, simulatedItem, type Planted } from './inventory.ts'

export interface SimulatedShares extends ShareAgent, Planted {
  /** What clients have written: bytes of the file system in use. */
  setUsed(shareId: string, bytes: number): void
  /** Requests to its block device ended: `shareLatency` counts them. */
  endRequests(shareId: string, ended: EndedRequests): void
  setClients(clients: NfsClient[]): void
  /** The file systems that were flushed, in order. */
  readonly flushed: readonly string[]
}

interface SimulatedShare {
  spec: FileSystemSpec
  usedBytes: number
  latency: SimulatedLatency
  export?: ShareExportSpec
}

/** The shares of a storage node in memory: the same answers, refusals and idempotence as the real agent's. */
export function createSimulatedShareAgent({ node }: { node: string }): SimulatedShares & Faults {
  const shares = new Map<string, SimulatedShare>()
  const guard = createFenceGuard()
  const inventory = simulatedInventory({
    admit: guard.admit,
    items: () => [
      ...[...shares.keys()].map((id) => simulatedItem({ kind: 'file-system', id, shareId: id })),
      ...servers().map(({ svm, pid }) => simulatedItem({ kind: 'nfs-server', id: svm, pids: [pid] })),
    ],
    remove({ kind, id }) {
      const [served] = kind === 'nfs-server' ? exportsOf(id) : []
      if (served || shares.get(id)?.export) {
        throw new DomainError('conflict', `Share ${served?.shareId ?? id} is exported.`)
      }
      shares.delete(id)
    },
  })
  const flushed: string[] = []
  let clients: NfsClient[] = []
  const found = (shareId: string): SimulatedShare => {
    const share = shares.get(shareId)
    if (share === undefined) {
      throw new DomainError('notFound', `Share ${shareId} has no file system on node ${node}.`)
    }
    return share
  }
  const fileSystemOf = ({ spec, usedBytes }: SimulatedShare): FileSystemStatus => ({
    shareId: spec.shareId,
    mountPath: `/simulated/${spec.shareId}`,
    sizeBytes: spec.sizeBytes,
    usedBytes,
    freeBytes: spec.sizeBytes - usedBytes,
    pids: [],
  })
  const statusOf = (shareId: string): ShareStatus => {
    const share = shares.get(shareId)
    if (share === undefined) return { shareId }
    return {
      shareId,
      fileSystem: fileSystemOf(share),
      ...(share.export !== undefined && { export: { ...share.export, isServed: true } }),
    }
  }
  const exportsOf = (svm?: string): ShareExportSpec[] =>
    [...shares.values()]
      .flatMap((share) => (share.export ? [share.export] : []))
      .filter(({ server }) => svm === undefined || server.svm === svm)
  const servers = (): NfsServerStatus[] => {
    const found = new Map(exportsOf().map(({ server }) => [server.svm, server]))
    return [...found.values()].map((server, index) => ({ ...server, pid: 2000 + index }))
  }
  const agent: SimulatedShares = {
    node,
    ...inventory,
    flushed,
    setUsed: (shareId, bytes) => void (found(shareId).usedBytes = bytes),
    endRequests: (shareId, ended) => found(shareId).latency.add(ended),
    setClients: (are) => void (clients = are),
    missing: async () => [],
    async ensureFileSystem(caller, spec) {
      guard.admit(caller)
      const present = shares.get(spec.shareId)
      // Its size is its own once it is there; only the head may have moved.
      const sizeBytes = present?.spec.sizeBytes ?? spec.sizeBytes
      const share = {
        usedBytes: 0,
        latency: new SimulatedLatency(),
        ...present,
        spec: { ...spec, sizeBytes },
      }
      shares.set(spec.shareId, share)
      return fileSystemOf(share)
    },
    async ensureNoFileSystem(caller, shareId) {
      guard.admit(caller)
      if (shares.get(shareId)?.export !== undefined) {
        throw new DomainError('conflict', `Share ${shareId} is exported; end its export first.`)
      }
      shares.delete(shareId)
    },
    async ensureFileSystemSize(caller, shareId, sizeBytes) {
      guard.admit(caller)
      const share = found(shareId)
      if (sizeBytes < share.spec.sizeBytes) {
        throw new DomainError('conflict', `The file system of share ${shareId} can't be made smaller.`)
      }
      share.spec = { ...share.spec, sizeBytes }
      return fileSystemOf(share)
    },
    async flushFileSystem(caller, shareId) {
      guard.admit(caller)
      found(shareId)
      flushed.push(shareId)
    },
    async trimFileSystem(caller, shareId) {
      guard.admit(caller)
      found(shareId)
    },
    async ensureShareExport(caller, spec) {
      guard.admit(caller)
      requireExportSpec(spec)
      const share = shares.get(spec.shareId)
      const { svm, lif } = spec.server
      if (share?.export && share.export.server.svm !== svm) {
        throw new DomainError(
          'conflict',
          `Share ${spec.shareId} is exported by SVM ${share.export.server.svm}.`,
        )
      }
      const server = exportsOf(svm)
      const elsewhere = server.find((one) => one.server.lif !== lif)
      if (elsewhere) {
        throw new DomainError(
          'conflict',
          `The NFS server of SVM ${svm} is at ${elsewhere.server.lif}, not ${lif}.`,
        )
      }
      requireConsistent(spec, server)
      if (share === undefined) {
        throw new DomainError('unavailable', `The file system of share ${spec.shareId} is not mounted.`)
      }
      share.export = spec
    },
    async ensureNoShareExport(caller, shareId) {
      guard.admit(caller)
      delete shares.get(shareId)?.export
    },
    shareStatus: async (shareId) => statusOf(shareId),
    shareLatency: async (shareId) => found(shareId).latency.read(),
    listShares: async () => [...shares.keys()].map(statusOf),
    listServers: async () => servers(),
    listClients: async () => clients,
    async ensureAllStopped(caller) {
      guard.admit(caller)
      shares.clear()
    },
  }
  return withFaults(agent, ['setUsed', 'endRequests', 'setClients'])
}
