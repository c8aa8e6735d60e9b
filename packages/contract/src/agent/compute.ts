import type { Caller } from './caller.ts'
import type { Inventoried } from './inventory.ts'

export interface GuestDisk {
  /** The attachment's id; names the device in QEMU. */
  attachmentId: string
  volumeId: string
  /** Where the head listens. */
  socketPath: string
  exportName: string
  /** The disk the server boots from. */
  boot: boolean
}

export interface GuestSpec {
  serverId: string
  name: string
  vcpus: number
  memoryMiB: number
  /** Direct kernel boot; absent: the firmware boots from a disk. */
  kernel?: { path: string; initrdPath?: string; commandLine: string }
  /** A root disk of the server's own, on the compute host, made from an image once. */
  rootDisk?: { sourcePath: string; sourceFormat: 'raw' | 'qcow2'; sizeBytes: number }
  disks: GuestDisk[]
  /** Bridges by name, with the port's MAC address. */
  nics: { bridge: string; mac: string }[]
}

export type GuestState =
  | 'absent'
  | 'running'
  /** Paused by a storage fault (`rerror=stop`, `werror=stop`); resumed by the agent when storage is back. */
  | 'paused-io-error'
  | 'paused'
  | 'stopped'

/** A process for good: a pid alone is reused, a start time alone repeats after a reboot. */
export interface ClientProcess {
  pid: number
  /** Clock ticks from boot to its start. */
  startTime: string
  bootId: string
}

export interface GuestStatus {
  serverId: string
  state: GuestState
  pid?: number
  /** Of a guest that runs: what a cutover may hold for a moment. */
  process?: ClientProcess
  accelerator?: 'kvm' | 'tcg'
  diskAttachmentIds: string[]
  /** Why the guest is in this state, where nobody asked for it: the fault of its storage, its process's death. */
  reason?: string
}

export interface HypervisorFacts {
  host: string
  accelerator: 'kvm' | 'tcg'
  /** Why KVM is not used, where it is not. */
  acceleratorReason?: string
  qemuVersion: string
  vcpus: number
  memoryMiB: number
  freeMemoryMiB: number
  localDiskGiB: number
  freeDiskGiB: number
}

/** The agent of one compute host: one QEMU for each server, over QMP. Idempotent like `StorageAgent`. */
export interface ComputeAgent extends Inventoried {
  readonly host: string
  facts(): Promise<HypervisorFacts>
  /** Starts the guest, or adopts it where it runs. */
  ensureGuest(caller: Caller, spec: GuestSpec): Promise<GuestStatus>
  /** Powers the guest off: politely where `graceMs` > 0, then by force. The guest's own files stay. */
  ensureGuestStopped(caller: Caller, serverId: string, graceMs: number): Promise<void>
  /** Resets the guest (hard), or asks it to reboot (soft). */
  rebootGuest(caller: Caller, serverId: string, how: 'soft' | 'hard'): Promise<void>
  ensureGuestPaused(caller: Caller, serverId: string, paused: boolean): Promise<void>
  /** Stops the guest and removes its files. */
  ensureNoGuest(caller: Caller, serverId: string): Promise<void>
  guestStatus(serverId: string): Promise<GuestStatus>
  listGuests(): Promise<GuestStatus[]>
  /** The end of the serial console's log. */
  consoleOutput(serverId: string, lines?: number): Promise<string>
  /** Hot-plugs a virtio-blk disk with its own I/O thread; its serial is the first 20 characters of the volume's id. */
  ensureDisk(caller: Caller, serverId: string, disk: GuestDisk): Promise<void>
  /** Asks the guest to give the disk back and waits for DEVICE_DELETED, for `timeoutMs` at most. */
  ensureNoDisk(caller: Caller, serverId: string, attachmentId: string, timeoutMs: number): Promise<void>
  /** Tells QEMU, and through it the guest, of the disk's new size. */
  ensureDiskSize(caller: Caller, serverId: string, attachmentId: string, sizeBytes: number): Promise<void>
}
