import type { Caller } from './caller.ts'
import type { ClientProcess } from './compute.ts'
import type { Inventoried } from './inventory.ts'
import type { DeviceLatency } from './latency.ts'

/**
 * A share is an XFS file system on a block device whose bytes a volume head serves (unix socket, NBD), mounted on the
 * storage node, and exported over NFS at `LIF:/junction`.
 */
export interface FileSystemSpec {
  shareId: string
  /** What the block device stands on: the head on this machine. Its identity is checked at each connection. */
  head: { socketPath: string; exportName: string }
  /** Bytes that the file system has. The image behind the head is far larger, and thin. */
  sizeBytes: number
  /**
   * Where there is no mounted file system of this share yet. `format`: an image without one is formatted; one that has
   * one keeps it. `clone`: the image is a clone of another share's, and gets an identity (UUID) of its own first, once.
   * `keep`: it has one, or this throws `conflict`: nothing is ever formatted by mistake.
   */
  content: 'format' | 'clone' | 'keep'
  /** Mounted read-only: a snapshot that is shown. */
  readOnly?: boolean
}

export interface FileSystemStatus {
  shareId: string
  /** Absolute; on the node. */
  mountPath: string
  /** Bytes, of the file system. */
  sizeBytes: number
  usedBytes: number
  freeBytes: number
  /** The processes of its block device, as far as they run. */
  pids: number[]
  /** Of those the one through which all I/O goes: a cutover may hold it for some milliseconds. Absent: it does not run. */
  client?: ClientProcess
  /** What is wrong with it now, and being mended; absent: it serves. */
  trouble?: string
}

/** One NFS server: of one SVM, at one LIF. */
export interface NfsServerSpec {
  /** Unique on the node. File handles, locks and grace belong to it. */
  svm: string
  /** The only address it listens on. */
  lif: string
}

export type AccessLevel = 'rw' | 'ro'

/** Who may mount, by the address that the NFS server sees. */
export interface ExportClient {
  /** An address, or a network in CIDR notation; IPv4 or IPv6. */
  to: string
  level: AccessLevel
}

export interface ShareExportSpec {
  shareId: string
  server: NfsServerSpec
  /** Unique on its server and never changed: file handles carry it. 1 to 65535. */
  exportId: number
  /** Begins with `/`. */
  junctionPath: string
  /** Empty: nobody has access, and nobody sees it. Where several match, an address wins over a network, a longer prefix over a shorter. */
  clients: ExportClient[]
  /** Requests of a client's root are nobody's. */
  rootSquash: boolean
  readOnly?: boolean
}

export interface ShareStatus {
  shareId: string
  fileSystem?: FileSystemStatus
  export?: ShareExportSpec & { isServed: boolean }
}

/** A client with a session or a connection at a server. */
export interface NfsClient {
  svm: string
  address: string
  /** Such as `4.1`, `3`; null where it can't be told. */
  version: string | null
  /** The shares that it is known to have open; empty where it can't be told. */
  shareIds: string[]
  /** ISO 8601; null where it can't be told. */
  lastSeen: string | null
}

export interface NfsServerStatus extends NfsServerSpec {
  pid: number
  /** Why it does not serve now; absent: it does. */
  trouble?: string
}

/**
 * The shares' agent of one storage node. Every `ensure…` is idempotent. What it started (block devices, NFS servers,
 * their buses) outlives it, is found again, and is brought back when it dies, such that a hard-mounted client sees a pause
 * and no error. A server is never started over a path that is not the share's mounted file system.
 */
export interface ShareAgent extends Inventoried {
  readonly node: string
  /** What this machine lacks for shares, each with its remedy; empty: nothing. */
  missing(): Promise<string[]>

  /** Block device, file system, mount. Throws `unavailable` where the head does not answer within a bound. */
  ensureFileSystem(caller: Caller, spec: FileSystemSpec): Promise<FileSystemStatus>
  /**
   * Unmounts and takes the block device down; returns when nothing of it can write to the head any more. Refused
   * (`conflict`) while it is exported. Does nothing to the image.
   */
  ensureNoFileSystem(caller: Caller, shareId: string): Promise<void>
  /** Grows it while it is in use (`xfs_growfs`). Smaller than it is: `conflict`, XFS does not shrink. */
  ensureFileSystemSize(caller: Caller, shareId: string, sizeBytes: number): Promise<FileSystemStatus>
  /** Everything that clients have written so far is in the image when it returns (`syncfs`): before a snapshot. */
  flushFileSystem(caller: Caller, shareId: string): Promise<void>
  /** Gives the room of deleted files back to the aggregate (`fstrim`). */
  trimFileSystem(caller: Caller, shareId: string): Promise<void>

  /** Exports it, or changes the export, and nothing else. The server is started where it does not run. */
  ensureShareExport(caller: Caller, spec: ShareExportSpec): Promise<void>
  /**
   * Returns when no client can reach it any more. The last export's end stops the server. Clients' requests that hang, for
   * the head is away or has no space, keep the server from it, and from all changes of its other exports. `forGood`, where
   * the content goes, too: then such requests get errors after some seconds.
   */
  ensureNoShareExport(caller: Caller, shareId: string, how?: { forGood: boolean }): Promise<void>

  shareStatus(shareId: string): Promise<ShareStatus>
  /**
   * How long the requests of the share's block device took; holes that are punched are not counted. Cheap: some memory is
   * read. Throws `notFound`, or `unavailable` where the device does not run now or is one of an older Volant.
   */
  shareLatency(shareId: string): Promise<DeviceLatency>
  listShares(): Promise<ShareStatus[]>
  listServers(): Promise<NfsServerStatus[]>
  listClients(): Promise<NfsClient[]>
  /**
   * For a while, such as a restart of the machine: stops servers, unmounts all, ends block devices. What clients may claim
   * of the servers (their locks) stays, and the next agent starts the servers again when the file systems are back. Of
   * file systems that can't be stopped it throws when all others have been.
   */
  ensureAllStopped(caller: Caller): Promise<void>
}
