import type { Caller } from './caller.ts'
import type { ComputeAgent } from './compute.ts'
import type { HolderAgent } from './holder.ts'
import type { ShareAgent } from './share.ts'
import type { StorageAgent } from './storage.ts'

/**
 * The calls of the agents by name, for agents in processes of their own. A call that an interface has and its list
 * has not, or the other way round, does not compile; nor does one whose arguments or result JSON cannot carry.
 */
export type MethodKind =
  /** Changes nothing; has no caller. */
  | 'read'
  /** Changes something: its first argument is the caller, whose fence the agent checks. */
  | 'change'

type Call = (...args: never[]) => Promise<unknown>

/** What is left of a type after JSON: functions, symbols and the like are not. */
type Plain<T> = unknown extends T
  ? never
  : T extends string | number | boolean | null | undefined | void
    ? T
    : T extends (...args: never[]) => unknown
      ? never
      : T extends object
        ? { [K in keyof T]: Plain<T[K]> }
        : never

type IsPlain<T> = [T] extends [Plain<T>] ? true : false

type KindOf<F extends Call> =
  IsPlain<Parameters<F>> extends true
    ? IsPlain<Awaited<ReturnType<F>>> extends true
      ? Parameters<F>[0] extends Caller
        ? 'change'
        : 'read'
      : never
    : never

/** Every call of the interface `A`, and what kind it must be. */
export type MethodsOf<A> = {
  [K in keyof A as A[K] extends Call ? K : never]: A[K] extends Call ? KindOf<A[K]> : never
}

export const storageMethods = {
  aggregateSpace: 'read',
  listAggregates: 'read',
  ensureAggregate: 'change',
  ensureNoAggregate: 'change',
  ensureUnmounted: 'change',
  ensureFlexVol: 'change',
  ensureNoFlexVol: 'change',
  flexVolUsage: 'read',
  ensureImage: 'change',
  ensureImageFrom: 'change',
  ensureClone: 'change',
  ensureImageCopy: 'change',
  imageCopyStatus: 'read',
  setImageCopyRate: 'change',
  ensureImageCopyPaused: 'change',
  ensureNoImageCopy: 'change',
  ensureImageSize: 'change',
  ensureNoImage: 'change',
  imageInfo: 'read',
  isImageOpen: 'read',
  fileAccess: 'read',
  ensureImageReadOnly: 'change',
  ensureExport: 'change',
  ensureExportStandby: 'change',
  ensureExportSize: 'change',
  ensureNoExport: 'change',
  handOverExport: 'change',
  listExports: 'read',
  inventory: 'read',
  removeStray: 'change',
} as const satisfies MethodsOf<StorageAgent>

export const holderMethods = {
  ensureHolder: 'change',
  ensureStandby: 'change',
  ensureReleased: 'change',
  unreachable: 'read',
  ensureNoHolder: 'change',
  holderStatus: 'read',
  listHolders: 'read',
  ensureLimits: 'change',
  ensureSize: 'change',
  ensureMirror: 'change',
  ensureNoMirror: 'change',
  ensurePointCopy: 'change',
  pointCopyStatus: 'read',
  ensureNoPointCopy: 'change',
  mirrorStatus: 'read',
  setMirrorRate: 'change',
  ensureMirrorPaused: 'change',
  prepareCutover: 'change',
  commitCutover: 'change',
  cutoverDecision: 'change',
  finalizeCutover: 'change',
  abandonCutover: 'change',
  inventory: 'read',
  removeStray: 'change',
} as const satisfies MethodsOf<HolderAgent>

export const computeMethods = {
  facts: 'read',
  ensureGuest: 'change',
  ensureGuestStopped: 'change',
  rebootGuest: 'change',
  ensureGuestPaused: 'change',
  ensureNoGuest: 'change',
  guestStatus: 'read',
  listGuests: 'read',
  guestLatency: 'read',
  consoleOutput: 'read',
  ensureDisk: 'change',
  ensureNoDisk: 'change',
  ensureDiskSize: 'change',
  guestHardware: 'read',
  ensureIncoming: 'change',
  awaitIncoming: 'read',
  ensureArrived: 'change',
  ensureNoIncoming: 'change',
  ensureMigration: 'change',
  setMigrationLimits: 'change',
  awaitMigration: 'read',
  beginSwitchover: 'change',
  continueMigration: 'change',
  ensureMigrationAbandoned: 'change',
  inventory: 'read',
  removeStray: 'change',
} as const satisfies MethodsOf<ComputeAgent>

export const shareMethods = {
  missing: 'read',
  ensureFileSystem: 'change',
  ensureNoFileSystem: 'change',
  ensureFileSystemSize: 'change',
  flushFileSystem: 'change',
  trimFileSystem: 'change',
  ensureShareExport: 'change',
  ensureNoShareExport: 'change',
  shareStatus: 'read',
  shareLatency: 'read',
  listShares: 'read',
  listServers: 'read',
  listClients: 'read',
  ensureAllStopped: 'change',
  inventory: 'read',
  removeStray: 'change',
} as const satisfies MethodsOf<ShareAgent>

export const agentKinds = ['storage', 'holders', 'compute', 'shares'] as const
export type AgentKind = (typeof agentKinds)[number]

export const agentMethods: Record<AgentKind, Readonly<Record<string, MethodKind>>> = {
  storage: storageMethods,
  holders: holderMethods,
  compute: computeMethods,
  shares: shareMethods,
}
