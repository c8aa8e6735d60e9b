import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { CutoverReport, ImageAccess, IoLimits } from '@volant/contract'
import { ensurePrivateFolder, readJson, RecordFile } from '@volant/qemu/durable-file.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import type { DaemonState } from '../daemon/supervised-daemon.ts'

/** A head in standby serves a disk of this size, every request to which fails. */
export interface Standby {
  sizeBytes: number
  /** The image that it has let go of: its client knows that one, so it can be given no other. */
  releasedFrom?: string
}

/** What is written down about a holder, in `<stateDir>/holders/<holderId>.json`. */
export interface HolderRecord {
  holderId: string
  volumeId: string
  serves: boolean
  /** What the daemon is started on; null: in standby. */
  image: ImageAccess | null
  /** There where `image` is null. */
  standby?: Standby
  limits: IoLimits
  /** Unguessable, and the same as long as the holder lives: the guest asks for it at each reconnect. */
  exportName?: string
  daemon: DaemonState
  /** A growth that was begun, in bytes; the next start of the daemon brings it to its end. */
  growTo?: number
  /** A mirror that was started and not yet ended. Its job dies with the daemon; this does not. */
  mirror?: {
    jobId: string
    target: ImageAccess
    /** Copies only what is written from its start on. */
    changesOnly?: true
    /** It begins at rest, and nobody has had it go on: whoever starts it again finds it at rest. */
    isToRest?: true
  }
  /** A copy of an instant that was started and not yet ended, and what came of it; no outcome: it is under way, or lost. */
  pointCopy?: { jobId: string; target: ImageAccess; outcome?: 'done' | { error: string } }
  /**
   * Completion was asked for and the caller has not said how it ended. While this stands, the decision register of
   * the attempt says which copy is the truth, and a dead daemon is not started again without the caller's word.
   */
  cutover?: {
    jobId: string
    target: ImageAccess
    /** Unguessable, part of its register's name: no two attempts share one. */
    attempt: string
    guard?: ProcessIdentity
  }
  /** The last finished cutover, for a caller that repeats its call; the source where it has still to be closed. */
  lastCutover?: { jobId: string; report: CutoverReport; source?: ImageAccess }
}

export interface HolderRecords {
  /** Folder of the decision registers. */
  readonly registers: string
  read(holderId: string): HolderRecord | undefined
  file(holderId: string): RecordFile<HolderRecord>
  ids(): string[]
}

export function openHolderRecords(stateDir: string): HolderRecords {
  const folder = join(stateDir, 'holders')
  const registers = join(stateDir, 'cutovers')
  for (const each of [folder, registers]) ensurePrivateFolder(each)
  const pathOf = (holderId: string): string => join(folder, `${holderId}.json`)
  return {
    registers,
    read: (holderId) => readJson(pathOf(holderId)) as HolderRecord | undefined,
    file: (holderId) => new RecordFile(pathOf(holderId)),
    ids: () =>
      readdirSync(folder)
        .filter((name) => name.endsWith('.json'))
        .map((name) => name.slice(0, -'.json'.length)),
  }
}

export const registerPath = ({ registers }: HolderRecords, holderId: string, attempt: string): string =>
  join(registers, `${holderId}.${attempt}`)
