import { readdirSync } from 'node:fs'
import type { GuestSpec } from '@volant/contract'
import { readJson, writeJsonDurably } from '@volant/qemu'
import type { ProcessIdentity } from '@volant/qemu'
import { guestsFolder } from './names.ts'

/** What the agent must still know of a server when it starts again. */
export interface GuestRecord {
  /** As last started; `disks` follows what is plugged in and out. */
  spec: GuestSpec
  accelerator: 'kvm' | 'tcg'
  /**
   * `starting` before QEMU is started and until it is known to run: a process may exist without an identity here.
   * `stopped` after its end was seen.
   */
  phase: 'starting' | 'started' | 'stopped'
  process?: ProcessIdentity
  /** The user paused the guest, so a storage fault's end does not continue it. */
  pausedByUser: boolean
  /** Why the guest stopped, where nobody asked for it. */
  reason?: string
}

export const readGuestRecord = (path: string): GuestRecord | undefined =>
  readJson(path) as GuestRecord | undefined

export const writeGuestRecord = (path: string, record: GuestRecord): void => writeJsonDurably(path, record)

/** Ids of the servers that have a folder on this host. */
export const listServerIds = (stateDir: string): string[] => {
  try {
    return readdirSync(guestsFolder(stateDir)).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
