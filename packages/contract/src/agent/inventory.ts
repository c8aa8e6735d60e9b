import type { Caller } from './caller.ts'

/**
 * What an agent can find on its machine. `process` and `file` are what it cannot put a name to: they are told, and
 * never removed.
 */
export const inventoryKinds = [
  /** An image's file, under its UUID. */
  'image',
  /** A file that is becoming an image (`.new`), or was one (`.gone`). */
  'image-part',
  /** Serves an image to another machine: its record, daemon and keeper, as far as they are there. */
  'export',
  /** A head or a mover: its record, daemon and keeper, as far as they are there. */
  'holder',
  /** A copy that a holder has on record, by the job's id. */
  'mirror',
  /** The decision register of an attempt at a cutover that its holder is not at (any more). */
  'register',
  /** A server's folder and QEMU. */
  'guest',
  /**
   * An aggregate that was made at run time; or, without `aggregate`, a file, perhaps behind a loop device, that lies beside
   * the aggregates, has the name of one, and belongs to none.
   */
  'aggregate',
  /** A share's block device, loop device and mount, as far as they are there; `shareId` names it. */
  'file-system',
  /** An SVM's NFS server with its bus. */
  'nfs-server',
  /** Sockets and logs of something whose record and processes are gone. */
  'remains',
  /** A process that names a folder of the agent's. */
  'process',
  /** A file or folder in a folder of the agent's. */
  'file',
] as const
export type InventoryKind = (typeof inventoryKinds)[number]

/** One thing that exists. All plain JSON. */
export interface InventoryItem {
  kind: InventoryKind
  /** Names it among those of its kind at its agent: a UUID, an id, a path, a pid. */
  id: string
  /** For a person: a path, a command. */
  what: string
  /**
   * What exactly was seen: processes by pid and start time, files by device, inode and time of change. It means
   * nothing to anybody but the agent, which removes nothing that has another one by then.
   */
  identity: string
  /** Seconds since it was made or last changed, the youngest of its parts. By the machine's own clock. */
  ageSeconds: number
  /** Bytes that its files occupy. */
  sizeBytes: number
  /** Its processes that run. */
  pids: number[]

  // What it says of its owner, where it says anything.
  imageId?: string
  aggregate?: string
  flexvol?: string
  /** The attachment's id of a head, the operation's id of a mover. */
  holderId?: string
  volumeId?: string
  serverId?: string
  shareId?: string
  /** Of a mirror. */
  jobId?: string
  /** Of a holder or export: it has no image open, and waits for one. */
  isStandby?: boolean
  /** Of an image: a storage daemon or a converter of this machine has it open. */
  isOpen?: boolean
  /** Of a mirror: it is at its cutover, and only its operation may end it. */
  isAtCutover?: boolean
  /** Of an image's part: it is being removed (`.gone`), not made. */
  isBeingRemoved?: boolean
}

/** What every agent can do for the sweep. */
export interface Inventoried {
  /** Everything of the agent's that exists on its machine now. Changes nothing, and asks no daemon. */
  inventory(): Promise<InventoryItem[]>
  /**
   * Removes one of them. The agent looks again: refused (`conflict`) where it is not what was seen any more, or is in
   * use; `invalid` for what is never removed (`process`, `file`). One that is gone by then is all right.
   */
  removeStray(caller: Caller, item: InventoryItem): Promise<void>
}
