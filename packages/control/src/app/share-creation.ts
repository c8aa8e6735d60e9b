import { randomUUID } from 'node:crypto'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { abilitiesOf, requireTypeSize } from '../domain/share-type.ts'
import { largestShareGib, type Share, type ShareType } from '../domain/share.ts'
import type { Topology } from '../domain/topology.ts'
import { createShare } from '../operations/create-share.ts'
import type { Backend } from '../ports/backend.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { CopyRecords, SnapshotRecords } from '../ports/records.ts'
import type { ShareQuotaRecords } from '../ports/share-records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import { gatherShareFacts, type ShareFacts, type ShareFactsSources } from './share-facts.ts'
import type { SharePools } from './share-pool.ts'
import type { ShareTypes } from './share-type.ts'
import {
  invalidShareInput,
  invalidShareSnapshot,
  visibleShareSnapshot,
  type ShareSnapshot,
} from './share-visibility.ts'
import { requirePublic } from './share.ts'
import { createTurns } from './turns.ts'
import { projectOf } from './volume-access.ts'

export interface CreateShareRequest {
  name: string | null
  description: string | null
  protocol: string
  /** Null: the snapshot's. */
  sizeGib: number | null
  /** Id or name; null: the snapshot's share's, or the default. */
  shareType: string | null
  snapshotId: string | null
  availabilityZone: string | null
  isPublic: boolean
  metadata: Record<string, string>
  requestId: string
}

export interface ShareCreations {
  /** Returns while the share is still `creating`. Throws `overQuota` with Manila's words, `noCapacity`. */
  create(principal: Principal, request: CreateShareRequest): Promise<ShareFacts>
}

export interface ShareCreationSources extends ShareFactsSources {
  shares: Pick<ShareRecords, 'find' | 'get' | 'remove'>
  snapshots: Pick<SnapshotRecords, 'find'>
  copies: Pick<CopyRecords, 'get'>
  backend: Pick<Backend, 'imageInfo'>
  quotas: Pick<ShareQuotaRecords, 'createShare'>
  shareTypes: Pick<ShareTypes, 'usable'>
  pools: SharePools
  engine: OperationEngine
  topology: Topology
  clock: Clock
}

interface Origin {
  snapshot: ShareSnapshot
  share: Share
  /** Where its image is, and how much of it would be written where blocks can't be shared. */
  at: { cluster: string; node: string; aggregate: string }
  dataBytes: number
}

export function createShareCreations(sources: ShareCreationSources): ShareCreations {
  // One after the other, so that requests at the same time see each other's choice.
  const inTurn = createTurns()
  return {
    async create(principal, request) {
      const projectId = projectOf(principal)
      enforce(principal, 'share:create', 'member', projectId)
      if (request.isPublic) requirePublic(principal, 'share:create_public_share')
      if (request.protocol.toUpperCase() !== 'NFS') {
        throw invalidShareInput(
          `Invalid share protocol provided: ${request.protocol.slice(0, 80)}. It is either disabled or unsupported. ` +
            "Available protocols: ['NFS'].",
        )
      }
      requireZone(sources.topology, request.availabilityZone)
      const origin =
        request.snapshotId === null ? null : await originOf(sources, principal, request.snapshotId)
      const sizeGib = requireSize(request.sizeGib, origin)
      const type = await typeOf(sources, principal, request.shareType, origin)
      requireTypeSize(type, sizeGib, 'create')
      const share = await inTurn(() =>
        begin(sources, principal, projectId, request, { origin, sizeGib, type }),
      )
      const [facts] = await gatherShareFacts(sources, [share])
      return facts as ShareFacts
    },
  }
}

async function begin(
  sources: ShareCreationSources,
  principal: Principal,
  projectId: string,
  request: CreateShareRequest,
  chosen: { origin: Origin | null; sizeGib: number; type: ShareType },
): Promise<Share> {
  const { origin, sizeGib, type } = chosen
  const pool = await sources.pools.choose({
    sizeGib,
    availabilityZone: request.availabilityZone,
    extraSpecs: type.extraSpecs,
    source: origin?.at ?? null,
    dataBytes: origin?.dataBytes ?? 0,
  })
  const share: Share = {
    id: randomUUID(),
    projectId,
    userId: principal.userId,
    name: request.name,
    description: request.description,
    sizeGib,
    status: origin === null ? 'creating' : 'creating_from_snapshot',
    taskState: null,
    shareTypeId: type.id,
    isPublic: request.isPublic,
    ...abilitiesOf(type),
    sourceSnapshotId: origin?.snapshot.id ?? null,
    cluster: pool.cluster,
    flexvolId: null,
    volumeId: null,
    exportId: null,
    accessRulesStatus: 'active',
    migration: null,
    metadata: request.metadata,
    availabilityZone: pool.availabilityZone,
    createdAt: sources.clock.now().toISOString(),
    updatedAt: null,
  }
  await sources.quotas.createShare(share)
  try {
    await sources.engine.start(createShare, {
      shareId: share.id,
      projectId,
      requestId: request.requestId,
      sizeGib,
      flexvolId: randomUUID(),
      volumeId: randomUUID(),
      copyId: randomUUID(),
      attachmentId: randomUUID(),
      place: pool.place,
      source: origin === null ? null : { snapshotId: origin.snapshot.id },
    })
  } catch (error) {
    await sources.shares.remove(share.id)
    throw error
  }
  return share
}

function requireZone(topology: Topology, zone: string | null): void {
  if (zone === null || zone === topology.availabilityZone) return
  throw invalidShareInput(
    `Availability zone '${zone.slice(0, 80)}' could not be found. There is: ${topology.availabilityZone}.`,
  )
}

function requireSize(asked: number | null, origin: Origin | null): number {
  const sizeGib = asked ?? origin?.snapshot.sizeGib ?? 0
  if (!Number.isInteger(sizeGib) || sizeGib < 1) {
    throw invalidShareInput(`Share size '${asked ?? 'None'}' must be an integer and greater than 0.`)
  }
  if (sizeGib > largestShareGib) {
    throw invalidShareInput(
      `Share size '${sizeGib}' is larger than ${largestShareGib} GiB, the most a share can have.`,
    )
  }
  if (origin !== null && sizeGib < origin.snapshot.sizeGib) {
    throw invalidShareInput(
      `Share size '${sizeGib}' must be equal or greater than snapshot size (${origin.snapshot.sizeGib}).`,
    )
  }
  return sizeGib
}

async function originOf(
  sources: ShareCreationSources,
  principal: Principal,
  snapshotId: string,
): Promise<Origin> {
  const snapshot = await visibleShareSnapshot(sources.snapshots, principal, snapshotId)
  const share = await sources.shares.get(snapshot.shareId)
  if (!share.createShareFromSnapshotSupport) {
    throw invalidShareInput(
      `A new share may not be created from snapshot '${snapshotId}', because the snapshot's parent share does not have ` +
        'that capability.',
    )
  }
  if (snapshot.status !== 'available' || snapshot.imageId === null) {
    throw invalidShareSnapshot(`status must be 'available', and it is '${snapshot.status}'.`)
  }
  const copy = await sources.copies.get(snapshot.imageId)
  const info = await sources.backend.imageInfo(copy)
  return {
    snapshot,
    share,
    at: { cluster: share.cluster, node: copy.node, aggregate: copy.aggregate },
    dataBytes: info?.allocatedBytes ?? 0,
  }
}

async function typeOf(
  sources: ShareCreationSources,
  principal: Principal,
  asked: string | null,
  origin: Origin | null,
): Promise<ShareType> {
  if (origin === null) return sources.shareTypes.usable(principal, asked)
  if (asked === null) return sources.shareTypes.usable(principal, origin.share.shareTypeId)
  const type = await sources.shareTypes.usable(principal, asked)
  if (type.id === origin.share.shareTypeId) return type
  throw invalidShareInput(
    'Invalid share type specified: the requested share type must match the type of the source share. If a share type ' +
      'is not specified when requesting a new share from a snapshot, the share type of the source share will be applied ' +
      'to the new share.',
  )
}
