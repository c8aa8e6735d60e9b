/** What decides about a server's live migration: who may go where, and how its copy ends. Pure. */
import {
  DomainError,
  type ErrorCode,
  type GuestHardware,
  type HypervisorFacts,
  type MigrationLimits,
  type MigrationStatus,
} from '@volant/contract'
import type { Server } from './server.ts'

/** A live migration that can't be started. */
export class LiveMigrationRefused extends DomainError {
  /** It may be gone by itself in a while: another operation holds the server or a volume, a host is away or full. */
  readonly passing: boolean

  constructor(code: ErrorCode, message: string, passing: boolean) {
    super(code, message)
    this.passing = passing
  }
}

export interface LiveMigrationPolicy {
  /** Milliseconds that the guest may stand still at the end, at first and at most: `live_migration_downtime`. */
  firstDowntimeMs: number
  longestDowntimeMs: number
  /** Bytes per second; 0: unlimited. */
  bandwidth: number
  /** Slows the guest's processors where the copy makes no way after its first pass. */
  autoConverge: boolean
  /** Connections for the memory (multifd). */
  channels: number
  /** How long the copy may make no way before the downtime limit rises. Milliseconds. */
  patienceMs: number
  /** `live_migration_completion_timeout`: seconds in all for each GiB of memory, two at the least. */
  secondsPerGib: number
  /** What follows then: the guest goes on at the source, or it stands still until the rest is copied. */
  timeoutAction: 'abort' | 'force_complete'
  /** How long an agent that is only needed for tidying up may stay away before that is left. Milliseconds. */
  awayMs: number
}

/** Nova's defaults, but for auto-converge, which it has off, and the first downtime, which is a tenth of its last. */
export const defaultLiveMigrationPolicy: LiveMigrationPolicy = {
  firstDowntimeMs: 50,
  longestDowntimeMs: 500,
  bandwidth: 0,
  autoConverge: true,
  channels: 1,
  patienceMs: 5_000,
  secondsPerGib: 800,
  timeoutAction: 'abort',
  awayMs: 20_000,
}

/** The downtime limit of a forced completion: QEMU's longest. */
export const unlimitedDowntimeMs = 2_000_000

/** Of Nova: the memory counts as two GiB at the least. Milliseconds. */
export const completionTimeoutMs = (policy: LiveMigrationPolicy, memoryMib: number): number =>
  policy.secondsPerGib * Math.max(2, memoryMib / 1024) * 1000

/** What a live migration shows of itself. Bytes of the guest's memory. */
export interface LiveMigrationProgress {
  phase: 'copying' | 'pre-switchover' | 'switching'
  doneBytes: number
  totalBytes: number
  leftBytes: number
  rateBps: number
  etaSeconds: number | null
  dirtyBps: number
  downtimeLimitMs: number
  /** Percent by which the guest's processors are slowed. */
  throttlePercent: number
}

/** How a copy of memory goes. In memory only: after a restart of the control plane it is watched anew. */
export interface MemoryCopy {
  startedAt: number
  /** The least that was ever left to copy, and when that was. */
  leastLeft: number
  betterAt: number
  limits: MigrationLimits
}

export const newMemoryCopy = (policy: LiveMigrationPolicy, now: number): MemoryCopy => ({
  startedAt: now,
  leastLeft: Infinity,
  betterAt: now,
  limits: firstLimits(policy),
})

export const firstLimits = (policy: LiveMigrationPolicy): MigrationLimits => ({
  downtimeMs: policy.firstDowntimeMs,
  bandwidth: policy.bandwidth,
  autoConverge: policy.autoConverge,
})

export interface MemoryVerdict {
  copy: MemoryCopy
  /** It takes too long, and the policy says to give up. */
  isOverdue: boolean
}

/**
 * What follows from a look at the copy. Where nothing better was seen for the policy's patience after the first pass, the
 * downtime limit doubles, up to the longest; `force` and an overdue copy that is to be forced lift it.
 */
export function judgeMemoryCopy(
  before: MemoryCopy,
  status: Pick<MigrationStatus, 'totalBytes' | 'transferredBytes' | 'remainingBytes'>,
  given: {
    now: number
    policy: LiveMigrationPolicy
    memoryMib: number
    /** The operator's, in bytes per second; null: the policy's. */
    rate: number | null
    force: boolean
  },
): MemoryVerdict {
  const { now, policy } = given
  const bandwidth = given.rate ?? policy.bandwidth
  const hasCopiedAll = status.transferredBytes >= status.totalBytes && status.totalBytes > 0
  const isBetter = status.remainingBytes < before.leastLeft
  const overdue = now - before.startedAt >= completionTimeoutMs(policy, given.memoryMib)
  const forced = given.force || (overdue && policy.timeoutAction === 'force_complete')
  const copy = { ...before }
  let { downtimeMs } = before.limits
  if (isBetter || !hasCopiedAll) {
    copy.leastLeft = Math.min(before.leastLeft, status.remainingBytes)
    copy.betterAt = now
  } else if (now - before.betterAt >= policy.patienceMs) {
    downtimeMs = Math.max(downtimeMs, Math.min(policy.longestDowntimeMs, downtimeMs * 2))
    copy.betterAt = now
  }
  if (forced) downtimeMs = unlimitedDowntimeMs
  copy.limits = { ...before.limits, downtimeMs, bandwidth }
  return { copy, isOverdue: overdue && !forced }
}

export const sameLimits = (a: MigrationLimits, b: MigrationLimits): boolean =>
  a.downtimeMs === b.downtimeMs && a.bandwidth === b.bandwidth

export function liveMigrationProgress(
  status: MigrationStatus,
  limits: MigrationLimits,
): LiveMigrationProgress {
  const { totalBytes, remainingBytes, sentBps, dirtyBps, throttlePercent } = status
  const gain = sentBps - dirtyBps
  return {
    phase: 'copying',
    doneBytes: Math.max(0, totalBytes - remainingBytes),
    totalBytes,
    leftBytes: remainingBytes,
    rateBps: sentBps,
    etaSeconds: remainingBytes === 0 ? 0 : gain > 0 ? Math.ceil(remainingBytes / gain) : null,
    dirtyBps,
    downtimeLimitMs: limits.downtimeMs,
    throttlePercent,
  }
}

/**
 * Why the guest can't go on at the other host, by what both say of themselves; undefined: it can. A reason that may pass is
 * one of room. To be read after the host's name.
 */
export function hostRefusal(
  server: Pick<Server, 'flavor' | 'nics'>,
  source: { facts: HypervisorFacts; hardware: GuestHardware },
  destination: HypervisorFacts,
): { reason: string; passing: boolean } | undefined {
  const final = (reason: string) => ({ reason, passing: false })
  const { hardware } = source
  if (destination.accelerator !== hardware.accelerator) {
    return final(
      `runs guests with ${destination.accelerator}, and this one runs with ${hardware.accelerator}`,
    )
  }
  if (isOlder(destination.qemuVersion, source.facts.qemuVersion)) {
    return final(
      `has QEMU ${destination.qemuVersion}; the guest comes from QEMU ${source.facts.qemuVersion} and can't go back to an older one`,
    )
  }
  if (destination.machines !== undefined && !destination.machines.includes(hardware.machine)) {
    return final(`has no machine type ${hardware.machine} in its QEMU ${destination.qemuVersion}`)
  }
  const processors = processorRefusal(hardware, source.facts, destination)
  if (processors !== undefined) return final(processors)
  const missing = server.nics.map(({ bridge }) => bridge).filter((bridge) => isMissing(destination, bridge))
  if (missing.length > 0) return final(`has no bridge ${[...new Set(missing)].join(', ')} for its ports`)
  const { memoryMib } = server.flavor
  if (destination.freeMemoryMiB < memoryMib) {
    const reason = `has too little free memory now: ${memoryMib} MiB are needed, ${destination.freeMemoryMiB} MiB are free`
    return { reason, passing: true }
  }
  return undefined
}

/** Under KVM the guest has the processor of its host. */
function processorRefusal(
  { accelerator }: GuestHardware,
  source: HypervisorFacts,
  destination: HypervisorFacts,
): string | undefined {
  if (accelerator !== 'kvm') return undefined
  if (source.cpuModel !== destination.cpuModel) {
    return `has another processor: ${destination.cpuModel ?? 'unknown'}, and the guest comes from ${source.cpuModel ?? 'unknown'}`
  }
  if (source.cpuFlagsDigest === destination.cpuFlagsDigest) return undefined
  return 'has a processor with other features (its flags in /proc/cpuinfo) than the one that the guest comes from'
}

const isMissing = ({ bridges }: HypervisorFacts, bridge: string): boolean =>
  bridges !== undefined && !bridges.includes(bridge)

/** By major and minor version: `7.2.22` is no older than `7.2.4`. */
function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [thanMajor = 0, thanMinor = 0] = than.split('.').map(Number)
  return major < thanMajor || (major === thanMajor && minor < thanMinor)
}
