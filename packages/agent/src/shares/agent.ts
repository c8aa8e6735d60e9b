import { DomainError, type ShareAgent } from '@volant/contract'
import type { Log } from '../daemon/log.ts'

export interface LocalShareAgent extends ShareAgent {
  /** Finds what an earlier process left, and supervises it. */
  adopt(): Promise<void>
  /** Lets go of everything: it runs on. */
  detach(): void
}

export interface ShareAgentOptions {
  node: string
  stateDir: string
  /** For sockets. */
  runDir: string
  /** Network namespace of the NFS servers, as a path. */
  netns?: string
  log: Log
}

const building = (): never => {
  throw new DomainError('notImplemented', 'This is being built.')
}

export function createShareAgent({ node }: ShareAgentOptions): LocalShareAgent {
  return {
    node,
    missing: () => Promise.resolve(['Shares are being built.']),
    ensureFileSystem: building,
    ensureNoFileSystem: building,
    ensureFileSystemSize: building,
    flushFileSystem: building,
    trimFileSystem: building,
    ensureShareExport: building,
    ensureNoShareExport: building,
    shareStatus: (shareId) => Promise.resolve({ shareId }),
    listShares: () => Promise.resolve([]),
    listServers: () => Promise.resolve([]),
    listClients: () => Promise.resolve([]),
    ensureAllStopped: () => Promise.resolve(),
    inventory: () => Promise.resolve([]),
    removeStray: building,
    adopt: () => Promise.resolve(),
    detach() {},
  }
}
