import type { Caller } from './caller.ts'
import type { ClientProcess } from './compute.ts'
import type { ImageAccess } from './image.ts'
import type { Inventoried } from './inventory.ts'

/**
 * A holder is the one storage daemon that has a volume's image open for writing: the volume head beside the
 * guest, or a mover started for the move of a detached volume. Its graph is
 * `export → throttle filter → image`, and it mirrors the image to another place (blockdev-mirror).
 */
export interface HolderSpec {
  /** The attachment's id for a head; the operation's id for a mover. */
  holderId: string
  volumeId: string
  /** The copy that the volume's record names as its truth. */
  image: ImageAccess
  /** With an export (unix socket, for the guest on the same machine) it is a head; without one a mover. */
  serves: boolean
  limits?: IoLimits
}

/** A head in waiting, for a guest that is to come. */
export interface StandbySpec {
  holderId: string
  volumeId: string
  /** Of the image that it will be given. */
  sizeBytes: number
}

/** Limits on the client's own I/O (the throttle filter). 0 or absent: unlimited. */
export interface IoLimits {
  iopsTotal?: number
  /** Bytes per second. A copy reads through the same filter, and has its share of what this allows. */
  bpsTotal?: number
  /** Bytes per second. Shaping uses it: reads dirty nothing, and the copy's own are not held back. */
  bpsWrite?: number
}

export interface HolderStatus {
  holderId: string
  pid: number
  /** UUID of the image that the export stands on now, as read from the daemon's block graph; null: in standby. */
  imageId: string | null
  /** For a head: where the guest's QEMU connects. */
  socketPath?: string
  exportName?: string
}

export type MirrorPhase =
  /** No such job. */
  | 'absent'
  /** The first pass is copying. */
  | 'copying'
  /** The first pass is over; only what the client writes is left. */
  | 'ready'
  /** Completion was asked for; waiting for the two copies to be equal. */
  | 'completing'
  /** I/O is quiesced, both copies are equal: the moment to decide. */
  | 'pending'
  /** Stopped by an error of source or target, or by a pause. */
  | 'paused'
  | 'concluded'
  | 'failed'

export interface MirrorStatus {
  phase: MirrorPhase
  /** Bytes copied, from query-block-jobs `offset`. */
  doneBytes: number
  /** Bytes in all, `len`; grows while the client writes. */
  totalBytes: number
  /** Bytes per second; 0 is unlimited. */
  rate: number
  /** True while the operator paused it. */
  pausedByUser: boolean
  error?: string
}

export interface MirrorRequest {
  holderId: string
  /** Becomes the QEMU job's id; derived from the operation's id, so that a restart finds it again. */
  jobId: string
  target: ImageAccess
  /** Bytes per second; 0 is unlimited. */
  rate: number
  /**
   * Copies only what is written from now on (`sync=none`), and begins at rest: when the call returns the job is paused,
   * every write of the client is noted, and none is on its way to the target. Then the caller brings the target up to an
   * instant after this one (`ImageCopyRequest.ontoOpen`) and lets the job go on (`ensureMirrorPaused`). It is `ready` at
   * once then, however much it has noted: `totalBytes - doneBytes` is what is left. While it rests both are 0. A daemon
   * that dies takes what was noted with it: the job is `failed`, and the target must be made anew.
   */
  changesOnly?: boolean
  /**
   * Bytes of copy data that may be on their way at a time, which decides what a client beside the copy feels, and how fast
   * the copy can be; fixed for the life of the job. A multiple of 4096, from 64 KiB to 64 MiB; QEMU moves a MiB at a time
   * where it can. Absent: 2 MiB where the head serves a client, else 4 MiB.
   */
  inFlightBytes?: number
}

/** A copy of the image as it is at one instant while the client writes on (`blockdev-backup`, `sync=full`). */
export interface PointCopyRequest {
  holderId: string
  /** Becomes the QEMU job's id. */
  jobId: string
  /** There, thin, of equal size. */
  target: ImageAccess
  rate: number
  /** As of a mirror. */
  inFlightBytes?: number
}

export interface PointCopyStatus {
  /** `done`: the target holds the instant at which the copy began, durably, and is closed. */
  phase: 'absent' | 'copying' | 'done' | 'failed'
  doneBytes: number
  totalBytes: number
  error?: string
}

/**
 * What the decision register of a cutover says. A register is a file beside the holder, written once for each attempt:
 * its first value stands for ever, and it outlives the control plane, the agent and the machine's power.
 */
export type CutoverDecision =
  /** The holder is at no cutover of this job. */
  | 'none'
  /** Completion was asked for, and nobody has decided. */
  | 'undecided'
  /** The target is the truth, or was made so by a cutover that is over: it can only be carried out. */
  | 'committed'
  /** The source stays the truth: this attempt can only be given up. */
  | 'abandoned'

export interface Pending {
  /** Milliseconds from `job-complete` to PENDING. The client's I/O is quiesced for less than this. */
  drainMs: number
}

/** What a finished cutover measured. */
export interface CutoverReport {
  imageId: string
  /**
   * Milliseconds from `job-complete` to the answer that the job concluded: no request of the client waited longer.
   * The client still writes in the first part of it, until the images are equal.
   */
  pauseMs: number
  finalizeMs: number
  /**
   * What the daemon itself says, from the events WAITING to CONCLUDED of its job: a lower bound of the pause.
   * Absent where the daemon was restarted and has no such events any more.
   */
  quiescedMs?: number
  /** The daemon did not confirm and was started again on the target; the client reconnected. */
  restarted?: boolean
}

/**
 * Holders of one machine, on compute hosts and on storage nodes alike. Idempotent like `StorageAgent`.
 * A holder that dies is started again by the agent on the image last given by `ensureHolder` or adopted by a
 * finalized cutover, except between `prepareCutover` and its end, when only the caller starts it, and on no other image
 * than the one that the decision register allows.
 */
export interface HolderAgent extends Inventoried {
  /**
   * Starts the holder, or adopts it where it runs; after it, the export stands on `spec.image`. A head in standby is given
   * the image under its client, which stays connected. One that stands on the same image by another access (the export
   * was revoked, and made anew) comes back on this one, under the same socket and export name.
   */
  ensureHolder(caller: Caller, spec: HolderSpec): Promise<HolderStatus>
  /**
   * A head in standby: it serves a disk of that size, every request to which fails, until `ensureHolder` gives it its image
   * within milliseconds. Repeated, it finds it. Refused (`conflict`) where the holder stands on an image:
   * `ensureReleased` is the way back.
   */
  ensureStandby(caller: Caller, spec: StandbySpec): Promise<HolderStatus>
  /**
   * THE FENCE for an image that is a file here: the head lets go of its image and stays in standby, under the same socket
   * and export name. Returns when no process of it has the image open any more: a daemon that does not let go is
   * killed, and comes back in standby. Its client must be stopped, for its requests fail from now on. Afterwards
   * `ensureHolder` takes the same image only. Refused (`conflict`) while a mirror, cutover or point copy is under way.
   */
  ensureReleased(caller: Caller, holderId: string): Promise<void>
  /** Why a TCP connection from this machine to the address fails; null: it can be opened. */
  unreachable(host: string, port: number): Promise<string | null>
  /** Stops the holder; returns when the process is gone, so nothing of it can write any more. */
  ensureNoHolder(caller: Caller, holderId: string): Promise<void>
  holderStatus(holderId: string): Promise<HolderStatus | undefined>
  listHolders(): Promise<HolderStatus[]>
  ensureLimits(caller: Caller, holderId: string, limits: IoLimits): Promise<void>
  /**
   * Grows the holder's image while it is in use: the new size is offered to the client without dropping its
   * connection for longer than a reconnect. A local file is grown here; a remote one must have been grown at
   * its node before (the export daemon is restarted with the new size).
   */
  ensureSize(caller: Caller, holderId: string, sizeBytes: number): Promise<void>

  /** Opens the target, checks its identity and size, starts the background mirror; repeated, it finds the job. */
  ensureMirror(caller: Caller, request: MirrorRequest): Promise<void>
  /** Cancels the job, waits until it is gone and closes the target. The client's I/O goes on at the source. */
  ensureNoMirror(caller: Caller, holderId: string, jobId: string): Promise<void>
  /** Where an image can't be cloned. Returns when the instant is fixed; refused (`conflict`) beside a mirror. */
  ensurePointCopy(caller: Caller, request: PointCopyRequest): Promise<void>
  pointCopyStatus(holderId: string, jobId: string): Promise<PointCopyStatus>
  /** Cancels what is under way, closes the target, and forgets the job. */
  ensureNoPointCopy(caller: Caller, holderId: string, jobId: string): Promise<void>
  mirrorStatus(holderId: string, jobId: string): Promise<MirrorStatus>
  /** Of a copy of an instant, too. */
  setMirrorRate(caller: Caller, holderId: string, jobId: string, rate: number): Promise<void>
  ensureMirrorPaused(caller: Caller, holderId: string, jobId: string, paused: boolean): Promise<void>

  /**
   * Asks for completion and waits for PENDING, for `windowMs` at most; then probes the target (a read of its
   * first block and a flush). On any failure the job is cancelled, I/O goes on at the source, and it throws:
   * `unavailable` where the target did not answer, `conflict` where the window ran out.
   *
   * Before that it starts the attempt's guard: a process that outlives this one and the caller, and that gives the
   * attempt up where nobody decides in time (see "The decision register" in the protocol). A caller that comes back
   * while an attempt is under way calls this again, and has what is left of its time.
   *
   * The copies are equal only if no write was in flight when the daemon looked. A client on the same machine that is
   * never without one is held (SIGSTOP) for some milliseconds at a time, where `client` names it.
   */
  prepareCutover(
    caller: Caller,
    holderId: string,
    jobId: string,
    windowMs: number,
    client?: ClientProcess,
  ): Promise<Pending>
  /**
   * THE COMMIT POINT: writes `committed` into the attempt's register, durably. Only at PENDING, after `prepareCutover`
   * and while its guard lives. Repeated after it was done it changes nothing. Throws `conflict` where the attempt
   * was given up, by the guard or by anybody else, or where its guard is gone: then `abandonCutover` ends it.
   */
  commitCutover(caller: Caller, holderId: string, jobId: string): Promise<void>
  /**
   * What the register says, also while the holder's daemon is dead. The agent has seen the caller's fence then: an older
   * control plane that wakes up after a "no" can commit nothing any more. Once the attempt was tidied up: `committed` for the
   * holder's last finished cutover, `none` for one that was given up. Throws where it can't be read: don't guess then.
   */
  cutoverDecision(caller: Caller, holderId: string, jobId: string): Promise<CutoverDecision>
  /**
   * job-finalize; where nobody has decided yet it writes `committed` first. From there the target is the truth whatever
   * happens: where the daemon does not confirm, it is killed and started again on the target, and the guest
   * reconnects. Where the guard was first with the finalizing, it tidies up. Throws `conflict` where the attempt was
   * given up.
   */
  finalizeCutover(
    caller: Caller,
    holderId: string,
    jobId: string,
    target: ImageAccess,
  ): Promise<CutoverReport>
  /**
   * Gives the cutover up: writes `abandoned` into the register, then cancels the job; I/O goes on at the source. Throws
   * `conflict`, and changes nothing, where it is committed.
   */
  abandonCutover(caller: Caller, holderId: string, jobId: string): Promise<void>
}
