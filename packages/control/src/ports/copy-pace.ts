import type { CopyControl } from '@volant/saga'
import type { PaceView } from '../domain/pace-view.ts'
import type { Copy } from '../domain/volume.ts'

/** A copy of an operation, for whoever says how fast it may go. */
export interface CopyToPace {
  /** The operation's id: it has one copy at a time. */
  id: string
  control: Readonly<CopyControl & { paused: boolean }>
  from: Copy
  to: Copy
  /** The volume whose client waits for the copy's source itself; null: nobody has it open. */
  volumeId: string | null
}

export interface CopySeen {
  /** What it got through so far, holes included; from 0 where it began anew. Bytes. */
  doneBytes: number
  /** What of it had to be read and written, where that is known. Bytes. */
  movedBytes?: number
  /** It may not go below, lest its client outrun it. Bytes per second. */
  leastBps?: number
  /** Its client is held back: what that one waits for is no fault of the copy. */
  isShaped?: boolean
}

export interface Paced {
  /** Bytes per second; 0: unlimited. */
  rate: number
  /** The clients' latency is what limits it, and not a wish of somebody. */
  isGoverned: boolean
  view: PaceView
}

/** How fast copies go. What is remembered is in memory: after a restart each begins at a safe rate. */
export interface CopyPace {
  /**
   * Before the copy starts: looks at its clients for as long as it takes to know what they wait for without it, a second
   * or so, and much less where they are idle. Returns the rate to begin with, in bytes per second; 0: unlimited.
   */
  begin(copy: CopyToPace): Promise<number>
  /**
   * After `begin`, of a mirror: bytes that it may have in flight (`MirrorRequest.inFlightBytes`), which can't be changed later.
   * Little where its client works and is to be spared, much where speed was asked for; undefined: as its agent finds right.
   */
  inFlightBytes(copy: CopyToPace): number | undefined
  /** At each look at the copy. Cheap, and never fails: what can't be found out makes it slower, and is said. */
  at(copy: CopyToPace, seen: CopySeen): Promise<Paced>
  /** It is over. */
  end(operationId: string): void
}

/** Clients that may feel a copy. */
export interface FeltClients {
  /**
   * Volumes in use whose images are at one of the places, except one: a bounded sample, the same as long as nothing
   * changes. A share's has `shareId` and its node as `host`.
   */
  at(
    places: readonly { node: string; aggregate: string }[],
    except: string | null,
    limit: number,
  ): Promise<{ volumeId: string; host: string; serverId: string | null; shareId: string | null }[]>
}
