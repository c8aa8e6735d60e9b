import { randomUUID } from 'node:crypto'
import { DomainError, isDomainError, type ErrorCode } from '@volant/contract'
import type { PlanCheck } from '@volant/contract/ndo/migration.ts'
import { backendHost } from '../domain/block-service.ts'
import { cutoverWindowSeconds } from '../domain/flexvol-move.ts'
import type { Principal } from '../domain/principal.ts'
import { unmetShareSpecs } from '../domain/share-placement.ts'
import { abilitiesOf, requireTypeSize } from '../domain/share-type.ts'
import { parseShareHost, type Share, type ShareTaskState, type ShareType } from '../domain/share.ts'
import type { Topology } from '../domain/topology.ts'
import type { FlexVol } from '../domain/volume.ts'
import { migrateShare } from '../operations/migrate-share.ts'
import type { ShareMigrationProgress as CopyingProgress } from '../domain/share-migration.ts'
import type { FlexVolMovePlan, FlexVolMoves } from '../ports/flexvol-moves.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { FlexVolRecords } from '../ports/records.ts'
import type { ShareLists, ShareQuotaRecords } from '../ports/share-records.ts'
import type { ShareRecords, ShareTypeRecords } from '../ports/shares.ts'
import type { SharePools, SharePoolView } from './share-pool.ts'
import { administeredShare, invalidShare, invalidShareInput, requireIdle } from './share-visibility.ts'

export interface ShareMigrationRequest {
  /** `HOST@BACKEND#AGGREGATE`. */
  host: string
  forceHostAssisted: boolean
  preserveMetadata: boolean
  preserveSnapshots: boolean
  writable: boolean
  nondisruptive: boolean
  newShareNetworkId: string | null
  newShareTypeId: string | null
  requestId: string
}

export interface ShareMigrationProgress {
  /** 0 to 100, of the first phase. */
  totalProgress: number
  taskState: ShareTaskState | null
  details: Record<string, unknown>
}

/** Migrations of shares between aggregates of their cluster. An administrator's, all of it. */
export interface ShareMigrations {
  /** `already-there`: nothing is to be done, and nothing was. Every refusal changes nothing. */
  start(
    principal: Principal,
    shareId: string,
    request: ShareMigrationRequest,
  ): Promise<'started' | 'already-there'>
  /** The second phase: the cutover. Throws `invalid` before the first one is done. */
  complete(principal: Principal, shareId: string): Promise<void>
  /** Throws `invalid` where none is under way, or it is too late. */
  cancel(principal: Principal, shareId: string): Promise<void>
  progress(principal: Principal, shareId: string): Promise<ShareMigrationProgress>
}

export interface ShareMigrationSources {
  shares: ShareRecords
  types: Pick<ShareTypeRecords, 'find'>
  lists: Pick<ShareLists, 'countSnapshots'>
  quotas: Pick<ShareQuotaRecords, 'requireRoomFor'>
  flexvols: Pick<FlexVolRecords, 'get'>
  pools: Pick<SharePools, 'all'>
  moves: Pick<FlexVolMoves, 'plan' | 'trigger'>
  engine: OperationEngine
  topology: Pick<Topology, 'host' | 'clusters'>
  settings: { rate: number; retentionSeconds: number }
}

export const createShareMigrations = (sources: ShareMigrationSources): ShareMigrations => ({
  start: (principal, shareId, request) => start(sources, principal, shareId, request),
  complete: (principal, shareId) => complete(sources, principal, shareId),
  cancel: (principal, shareId) => cancel(sources, principal, shareId),
  async progress(principal, shareId) {
    const policy = 'share:migration_get_progress'
    const share = await administeredShare(sources.shares, principal, shareId, policy)
    const copying = await progressOf(sources, share)
    const totalProgress = percentOf(share, copying)
    if (totalProgress === null) {
      throw invalidShare(
        stateMessage(share) ?? `Migration progress of share ${shareId} cannot be obtained at this moment.`,
      )
    }
    return { totalProgress, taskState: share.taskState, details: detailsOf(copying) }
  },
})

async function start(
  sources: ShareMigrationSources,
  principal: Principal,
  shareId: string,
  request: ShareMigrationRequest,
): Promise<'started' | 'already-there'> {
  const { shares, engine } = sources
  const share = await administeredShare(shares, principal, shareId, 'share:migration_start')
  requireDriverAssisted(request)
  if (request.newShareNetworkId !== null) {
    throw new DomainError('invalid', `Share network ${request.newShareNetworkId.slice(0, 80)} not found.`)
  }
  const newType = await newTypeOf(sources, request.newShareTypeId)
  const flexvol = await requireMigratable(sources, share)
  const target = await targetOf(sources, share, request.host)
  const isAtTarget = target.place.node === flexvol.node && target.place.aggregate === flexvol.aggregate
  if (isAtTarget && (newType === null || newType.id === share.shareTypeId)) {
    await shares.update(shareId, { taskState: 'migration_success' })
    return 'already-there'
  }
  if (newType !== null) await requireType(sources, share, newType, target)
  if (isAtTarget) {
    throw invalidShareInput(
      `Share ${shareId} is at ${request.host} already, and a share does not change its type where it is. Choose another pool.`,
    )
  }
  requireEnabled(target)
  const { rate, retentionSeconds } = sources.settings
  const plan = await sources.moves.plan({ flexvolId: flexvol.id, aggregate: target.pool, rate })
  refuseFirst(plan)
  const { estimate } = plan
  if (estimate === null)
    throw new DomainError('internal', 'A migration without a destination was not refused.')
  const operationId = randomUUID()
  const shareTypeId = newType === null || newType.id === share.shareTypeId ? null : newType.id
  const claimed = await shares.updateIf(
    shareId,
    { status: ['available'] },
    {
      status: 'migrating',
      taskState: 'migration_starting',
      migration: { operationId, ...target.place, shareTypeId },
    },
  )
  if (!claimed) throw notAvailable(await shares.get(shareId))
  try {
    await engine.start(
      migrateShare,
      {
        shareId,
        flexvolId: flexvol.id,
        from: { node: flexvol.node, aggregate: flexvol.aggregate },
        to: target.place,
        shareTypeId,
        projectId: share.projectId,
        requestId: request.requestId,
        move: {
          shares: estimate.staysShared,
          estimateBytes: estimate.bytes,
          cutoverWindowSeconds: cutoverWindowSeconds.usual,
          retentionSeconds,
        },
      },
      { id: operationId, rate: rate === 0 ? null : rate },
    )
  } catch (error) {
    const { taskState, migration } = share
    await shares.updateIf(shareId, { status: ['migrating'] }, { status: 'available', taskState, migration })
    throw error
  }
  return 'started'
}

function requireDriverAssisted(request: ShareMigrationRequest): void {
  if (!request.forceHostAssisted) return
  if (request.preserveMetadata || request.writable || request.nondisruptive || request.preserveSnapshots) {
    throw invalidShareInput(
      'Invalid parameter combination. Cannot set parameters "nondisruptive", "writable", "preserve_snapshots" or ' +
        '"preserve_metadata" to True when enabling the "force_host_assisted_migration" option.',
    )
  }
  throw invalidShareInput(
    'Host-assisted migration is not supported: it would make the share read-only, drop its snapshots and disconnect its ' +
      'clients. Leave force_host_assisted_migration out: the share moves while its clients use it.',
  )
}

async function newTypeOf(sources: ShareMigrationSources, typeId: string | null): Promise<ShareType | null> {
  if (typeId === null) return null
  const type = await sources.types.find(typeId)
  if (type === undefined) throw new DomainError('invalid', `Share type ${typeId.slice(0, 80)} not found.`)
  return type
}

const notAvailable = (share: Share): DomainError =>
  invalidShare(
    `Share instance status must be available, but current status is: ${share.status}. Share ${share.id} can be migrated ` +
      'when it is available.',
  )

async function requireMigratable(sources: ShareMigrationSources, share: Share): Promise<FlexVol> {
  requireIdle(share)
  if (share.status !== 'available' || share.flexvolId === null) throw notAvailable(share)
  if (share.accessRulesStatus === 'error') {
    throw invalidShare(
      'Share instance access rules status must not be in error when attempting to start a migration. Remove the rules ' +
        'that are in error.',
    )
  }
  return sources.flexvols.get(share.flexvolId)
}

/** Throws `notFound` for a host, backend or pool that is not there. */
async function targetOf(sources: ShareMigrationSources, share: Share, text: string): Promise<SharePoolView> {
  const { topology } = sources
  const asked = parseShareHost(text)
  const cluster = topology.clusters.find(({ shares }) => shares?.backend === asked.backend)
  const backends = topology.clusters.flatMap(({ shares }) => (shares === undefined ? [] : [shares.backend]))
  if (asked.host !== topology.host || cluster === undefined) {
    const known = backends.map((backend) => backendHost(topology.host, backend)).join(', ')
    throw new DomainError(
      'notFound',
      `Service manila-share on host ${backendHost(asked.host, asked.backend).slice(0, 120)} could not be found. There are: ${known}.`,
    )
  }
  const pools = (await sources.pools.all()).filter((pool) => pool.cluster === cluster.name)
  const target = pools.find(({ pool }) => pool === asked.pool)
  if (target === undefined) {
    throw new DomainError(
      'notFound',
      `Host ${text.slice(0, 120)} could not be found: backend ${asked.backend} has the pools ` +
        `${pools.map(({ pool }) => pool).join(', ')}.`,
    )
  }
  if (cluster.name !== share.cluster) {
    throw invalidShareInput(
      `Share ${share.id} is in cluster ${share.cluster}, and ${text} is in cluster ${cluster.name}: its clients would have ` +
        'to mount it at another address, so it does not move there. Create a share there and copy the files; within its ' +
        'cluster it can move to ' +
        `${(await sources.pools.all())
          .filter((pool) => pool.cluster === share.cluster)
          .map(({ name }) => name)
          .join(', ')}.`,
    )
  }
  return target
}

async function requireType(
  sources: ShareMigrationSources,
  share: Share,
  type: ShareType,
  target: SharePoolView,
): Promise<void> {
  requireTypeSize(type, share.sizeGib, 'create')
  const unmet = unmetShareSpecs(type.extraSpecs, target)
  if (unmet.length > 0) {
    throw invalidShareInput(
      `Share type ${type.name} asks for ${unmet.join(' and ')}, which ${target.name} has not.`,
    )
  }
  if (!abilitiesOf(type).snapshotSupport && (await sources.lists.countSnapshots(share.id)) > 0) {
    throw invalidShareInput(
      `Share ${share.id} has snapshots, and share type ${type.name} has no snapshot_support. Delete them, or choose another type.`,
    )
  }
  if (type.id !== share.shareTypeId) await sources.quotas.requireRoomFor(share, type.id)
}

function requireEnabled(target: SharePoolView): void {
  if (target.enabled) return
  throw invalidShare(
    `Service manila-share of backend ${target.backend} is disabled. Enable it, or choose another pool.`,
  )
}

const codes: Record<string, ErrorCode> = {
  aggregate: 'notFound',
  'aggregate-online': 'unavailable',
  'not-vacated': 'conflict',
  'not-moving': 'conflict',
  'not-busy': 'conflict',
  'source-up': 'unavailable',
  'hosts-up': 'unavailable',
  space: 'noCapacity',
}

function refuseFirst({ checks }: Pick<FlexVolMovePlan, 'checks'>): void {
  const failed = checks.find((check: PlanCheck) => !check.ok)
  if (failed === undefined) return
  throw new DomainError(codes[failed.name] ?? 'invalid', failed.reason, { detail: checks })
}

async function complete(
  { shares, moves }: ShareMigrationSources,
  principal: Principal,
  shareId: string,
): Promise<void> {
  const share = await administeredShare(shares, principal, shareId, 'share:migration_complete')
  const notYet = (now: Share) =>
    invalidShare(stateMessage(now) ?? `First migration phase of share ${shareId} not completed yet.`)
  if (share.taskState !== 'migration_driver_phase1_done' || share.flexvolId === null) throw notYet(share)
  // It may have ended since: what it has told of its end stays.
  const note = (taskState: ShareTaskState) =>
    shares.updateIf(shareId, { status: ['migrating'] }, { taskState })
  // Before the trigger: what comes of it is the operation's to tell.
  if (!(await note('migration_completing'))) throw notYet(await shares.get(shareId))
  try {
    await moves.trigger(share.flexvolId)
  } catch (error) {
    await note('migration_driver_phase1_done')
    throw error
  }
}

const cancellable: readonly (ShareTaskState | null)[] = [
  'migration_starting',
  'migration_driver_starting',
  'migration_driver_in_progress',
  'migration_driver_phase1_done',
]

async function cancel(
  { shares, engine }: ShareMigrationSources,
  principal: Principal,
  shareId: string,
): Promise<void> {
  const share = await administeredShare(shares, principal, shareId, 'share:migration_cancel')
  const tooLate = `Migration of share ${shareId} cannot be cancelled at this moment.`
  if (!cancellable.includes(share.taskState) || share.migration === null) {
    throw invalidShare(stateMessage(share) ?? `${tooLate} Its cutover has begun: it will be over in seconds.`)
  }
  try {
    await engine.cancel(share.migration.operationId)
  } catch (error) {
    if (!isDomainError(error) || error.code !== 'conflict') throw error
    throw invalidShare(`${tooLate} ${error.message}`)
  }
}

/** Manila's words for a state in which there is nothing to do; null: a migration is under way. */
function stateMessage({ id, taskState }: Share): string | null {
  switch (taskState) {
    case 'migration_success':
      return `Migration of share ${id} has already completed.`
    case null:
    case 'migration_error':
      return `There is no migration being performed for share ${id} at this moment.`
    case 'migration_cancelled':
      return `Migration of share ${id} was already cancelled.`
    default:
      return null
  }
}

/** What the operation shows; null: nothing, or it is forgotten. */
async function progressOf({ engine }: ShareMigrationSources, share: Share): Promise<CopyingProgress | null> {
  if (share.migration === null) return null
  try {
    return (await engine.get(share.migration.operationId)).progress as CopyingProgress | null
  } catch (error) {
    if (isDomainError(error) && error.code === 'notFound') return null
    throw error
  }
}

function percentOf({ taskState }: Share, copying: CopyingProgress | null): number | null {
  switch (taskState) {
    case null:
      return null
    case 'migration_starting':
    case 'migration_driver_starting':
      return 0
    case 'migration_driver_in_progress':
      return copying?.percent ?? 0
    default:
      return 100
  }
}

/** What Manila hands through from a driver. */
const detailsOf = (copying: CopyingProgress | null): Record<string, unknown> =>
  copying === null
    ? {}
    : {
        done_bytes: copying.doneBytes,
        total_bytes: copying.totalBytes,
        rate_bytes_per_second: copying.rateBps,
        eta_seconds: copying.etaSeconds,
        longest_pause_ms: copying.longestPauseMs,
      }
