import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { GuestHardware, GuestSpec, OutgoingRequest } from '@volant/contract'
import { readJson, writeJsonDurably } from '@volant/qemu'
import type { ProcessIdentity } from '@volant/qemu'
import { guestsFolder } from './names.ts'
import type { GuestPaths } from './names.ts'

/** A guest that comes from another host, until `ensureArrived`. */
export interface IncomingRecord {
  migrationId: string
  hardware: GuestHardware
  sourceMachine: string
  channels: number
}

/** A live migration to another host. What QEMU itself knows of it, `query-migrate` says. */
export interface OutgoingRecord {
  request: OutgoingRequest
  /** QEMU was told to begin: what it says of a migration before that is about an earlier one. */
  begun: boolean
  /** `beginSwitchover` was said. */
  switching: boolean
  /** Why it was given up; QEMU may still have to be told so. */
  failure?: string
}

/** What the agent must still know of a server when it starts again. */
export interface GuestRecord {
  /** As last started; `disks` follows what is plugged in and out. */
  spec: GuestSpec
  accelerator: 'kvm' | 'tcg'
  /**
   * `starting` before QEMU is started and until it is known to run: a process may exist without an identity here.
   * `incoming` from before its start until `ensureArrived`, its process's death included. `stopped` after its end was
   * seen.
   */
  phase: 'starting' | 'started' | 'incoming' | 'stopped'
  process?: ProcessIdentity
  /** The user paused the guest, so a storage fault's end does not continue it. */
  pausedByUser: boolean
  /** Why the guest stopped, where nobody asked for it. */
  reason?: string
  incoming?: IncomingRecord
  outgoing?: OutgoingRecord
  /** The migration that this QEMU received the guest by. */
  arrivedBy?: string
  /**
   * Makes the names of its taps other ones than those of the server's taps on the host that it comes from, which may be
   * in the same network namespace.
   */
  tapSalt?: string
}

type RecordPaths = Pick<GuestPaths, 'record' | 'switching'>

export const readGuestRecord = ({ record: path, switching }: RecordPaths): GuestRecord | undefined => {
  const record = readJson(path) as GuestRecord | undefined
  const { outgoing } = record ?? {}
  if (record === undefined || outgoing === undefined) return record
  const isMarked = readMark(switching) === outgoing.request.migrationId
  return isMarked ? { ...record, outgoing: { ...outgoing, switching: true } } : record
}

export const writeGuestRecord = ({ record: path }: RecordPaths, record: GuestRecord): void =>
  writeJsonDurably(path, record)

/**
 * That this migration switches over, for whoever reads the record before that says so: the guest stands still meanwhile, and a
 * disk may be slow. Not durable, and need not be: it is for the agent that comes after one that died, and a machine that
 * crashes takes the guest with it. Of a migration that has ended it says nothing.
 */
export const markSwitching = ({ switching }: RecordPaths, migrationId: string): void =>
  writeFileSync(switching, migrationId, { mode: 0o600 })

export const unmarkSwitching = ({ switching }: RecordPaths): void => rmSync(switching, { force: true })

function readMark(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Ids of the servers that have a folder on this host. */
export const listServerIds = (stateDir: string): string[] => {
  try {
    return readdirSync(guestsFolder(stateDir)).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
