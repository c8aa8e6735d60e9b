import type { Caller } from './caller.ts'
import type { Inventoried } from './inventory.ts'
import type { DiskLatency } from './latency.ts'

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
  /** A QEMU that waits for a guest from another host, or has it and was not told to go on. */
  | 'incoming'
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
  /** Of the live migration that is under way with it, or that it came by. */
  migrationId?: string
  /** That migration is one to another host, which nobody has abandoned yet, though QEMU may have given it up. */
  isLeaving?: true
}

/** What another host must have the same of for a guest to go on there, as its QEMU says it (`qom-get`, `query-pci`). */
export interface GuestHardware {
  /** A versioned machine type such as `pc-i440fx-7.2`. */
  machine: string
  accelerator: 'kvm' | 'tcg'
  /** Where its devices are on the PCI bus, by the device's id: hot-plugged ones are wherever there was room. */
  pciAddresses: Record<string, string>
}

/** A guest that comes from another host. */
export interface IncomingRequest {
  /** The operation's id; of two requests with different ids the second is refused while the first is there. */
  migrationId: string
  /** As the source has it, with the destination's heads (in standby) as disks. */
  guest: GuestSpec
  hardware: GuestHardware
  /** Whose certificate alone is let in: the source's machine. */
  sourceMachine: string
  /** Connections for the memory (multifd); 1: a single stream. The same at both ends. */
  channels: number
}

/** Where an incoming guest is waited for. */
export interface IncomingAddress {
  host: string
  port: number
  /** Name in the destination's certificate. */
  tlsHostname: string
}

/** What a live migration may cost. */
export interface MigrationLimits {
  /** Milliseconds that the guest may stand still at the end; the copy goes on until what is left fits in. */
  downtimeMs: number
  /** Bytes per second; 0: unlimited. */
  bandwidth: number
  /** Slows the guest's processors where it dirties memory faster than it is copied. */
  autoConverge: boolean
}

export interface OutgoingRequest {
  migrationId: string
  to: IncomingAddress
  limits: MigrationLimits
  channels: number
}

export type MigrationPhase =
  /** No such migration: it was not begun, or was abandoned. */
  | 'absent'
  /** The memory is copied while the guest runs. */
  | 'copying'
  /**
   * The guest stands still, its writes are flushed, the rest is being sent, or was: the moment for the fence. Without
   * `beginSwitchover` within 3 s the agent gives the migration up, and the guest goes on here.
   */
  | 'pre-switchover'
  /** `beginSwitchover` was said: the rest is being sent, and only the caller decides from now on. */
  | 'switching'
  /**
   * Everything was sent. The guest stands still here. It need not have arrived: a destination that dies now leaves the
   * source with this phase; `awaitIncoming` tells.
   */
  | 'completed'
  /** Given up by QEMU or by the agent. The guest goes on here unless its access was closed. */
  | 'failed'

/** Of the memory; from `query-migrate`. */
export interface MigrationStatus {
  migrationId: string
  phase: MigrationPhase
  /** Bytes. */
  totalBytes: number
  transferredBytes: number
  remainingBytes: number
  /** Bytes per second at which the guest dirties memory, and at which it is sent. */
  dirtyBps: number
  sentBps: number
  /** Milliseconds: what QEMU expects, and once `completed` what it measured from the guest's stop on. */
  downtimeMs?: number
  /**
   * Milliseconds that the guest has stood still for its migration, from QEMU's event STOP to this answer; absent while it runs,
   * and where that was seen by an earlier agent.
   */
  stillMs?: number
  /** Percent by which the guest's processors are slowed. */
  throttlePercent: number
  error?: string
}

export interface IncomingStatus {
  migrationId: string
  /** `arrived`: everything is here, devices loaded, and the guest stands still until `ensureArrived`. */
  phase: 'absent' | 'waiting' | 'arrived' | 'running' | 'failed'
  error?: string
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
  /** Since the machine's last start. */
  uptimeSeconds?: number
  /** Of the machine, over the last 1, 5 and 15 minutes. */
  loadAverage?: number[]
  /** The processor as /proc/cpuinfo names it; what `-cpu host` gives the guest depends on it. */
  cpuModel?: string
  /** Digest of its feature flags: a guest under KVM goes on only where they are the same. */
  cpuFlagsDigest?: string
  /** Machine types that its QEMU has, versioned names (`query-machines`). */
  machines?: string[]
  /** Bridges that a server's port can be put on. */
  bridges?: string[]
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
  /**
   * What the guest waited for at each of its disks since it was first asked, or since the disk was plugged in. Cheap enough
   * for several times a second: one `query-blockstats`. Throws `notFound` or `conflict` where the guest does not run here.
   */
  guestLatency(serverId: string): Promise<DiskLatency[]>
  /** The end of the serial console's log. */
  consoleOutput(serverId: string, lines?: number): Promise<string>
  /** Hot-plugs a virtio-blk disk with its own I/O thread; its serial is the first 20 characters of the volume's id. */
  ensureDisk(caller: Caller, serverId: string, disk: GuestDisk): Promise<void>
  /** Asks the guest to give the disk back and waits for DEVICE_DELETED, for `timeoutMs` at most. */
  ensureNoDisk(caller: Caller, serverId: string, attachmentId: string, timeoutMs: number): Promise<void>
  /** Tells QEMU, and through it the guest, of the disk's new size. */
  ensureDiskSize(caller: Caller, serverId: string, attachmentId: string, sizeBytes: number): Promise<void>

  /** What a destination must have the same of. Throws `conflict` where the guest does not run. */
  guestHardware(serverId: string): Promise<GuestHardware>
  /**
   * Destination: starts the guest's QEMU with `-incoming defer -S`, listening with TLS; repeated, it finds it. Refused
   * (`conflict`) where a guest of the server runs here. Throws `unavailable` with QEMU's words where it does not start.
   * An agent that finds one again after a restart keeps it waiting.
   */
  ensureIncoming(caller: Caller, request: IncomingRequest): Promise<IncomingAddress>
  /** Waits until the phase is another one than `waiting`, for `timeoutMs` at most. */
  awaitIncoming(serverId: string, migrationId: string, timeoutMs: number): Promise<IncomingStatus>
  /**
   * Destination, after the commit: the guest goes on here (`cont`, but not one that its user paused), is announced to the network
   * and is a guest like any other. Its console begins with `earlierConsole`, what it printed at the source until its
   * standstill. The first call returns as soon as the guest goes on, and what the agent writes down of it is on its way to
   * disk; once another has returned it is there. Throws `notFound` where its QEMU is gone, `conflict` where the guest has
   * not arrived.
   */
  ensureArrived(
    caller: Caller,
    serverId: string,
    migrationId: string,
    paused: boolean,
    earlierConsole?: string,
  ): Promise<void>
  /** Destination, before the commit: ends the incoming QEMU and removes its files. Never touches a guest that arrived. */
  ensureNoIncoming(caller: Caller, serverId: string, migrationId: string): Promise<void>
  /**
   * Source: begins to copy the guest's memory, with `pause-before-switchover`, and never post-copy. Repeated, it finds
   * the migration. Refused (`conflict`) beside another one.
   */
  ensureMigration(caller: Caller, serverId: string, request: OutgoingRequest): Promise<void>
  setMigrationLimits(
    caller: Caller,
    serverId: string,
    migrationId: string,
    limits: Partial<MigrationLimits>,
  ): Promise<void>
  /** Answers at once where the phase is another one than `knownPhase`, else when it changes, `timeoutMs` later at most. */
  awaitMigration(
    serverId: string,
    migrationId: string,
    knownPhase: MigrationPhase,
    timeoutMs: number,
  ): Promise<MigrationStatus>
  /**
   * Source, at `pre-switchover`: the agent gives nothing up by itself any more, which is on disk when it answers; the rest of the
   * memory is sent, where it is not already. Throws `conflict` where the migration was given up.
   */
  beginSwitchover(caller: Caller, serverId: string, migrationId: string): Promise<void>
  /** Source, after `beginSwitchover`: waits until all of the memory is sent, `timeoutMs` at most. */
  continueMigration(
    caller: Caller,
    serverId: string,
    migrationId: string,
    timeoutMs: number,
  ): Promise<MigrationStatus>
  /**
   * Source, before the commit: the migration ends, and the guest goes on here, unless its user paused it. Its access to
   * storage must be there again. Right in every phase, and where nothing was begun.
   */
  ensureMigrationAbandoned(caller: Caller, serverId: string, migrationId: string): Promise<void>
}
