/** The Shared File Systems API and its application: a part of the composition root. */
import type { Kysely } from 'kysely'
import { createShareAccessRules } from './app/share-access-rule.ts'
import { createShareChanges } from './app/share-change.ts'
import { createShareCreations } from './app/share-creation.ts'
import { createShareDeletions } from './app/share-deletion.ts'
import { createShareMessages } from './app/share-message.ts'
import { createShareMigrations } from './app/share-migration.ts'
import { createSharePools } from './app/share-pool.ts'
import { createShareQuotas } from './app/share-quota.ts'
import { createShareServices } from './app/share-service.ts'
import { createShareSnapshotAccess } from './app/share-snapshot-access.ts'
import { createShareSnapshots } from './app/share-snapshot.ts'
import { createShareTypes } from './app/share-type.ts'
import { createShareReader } from './app/share.ts'
import { shareAccessRecords } from './db/repositories/share-access.ts'
import { shareLists } from './db/repositories/share-list.ts'
import { shareMessageRecords } from './db/repositories/share-message.ts'
import { shareQuotaRecords } from './db/repositories/share-quota.ts'
import { shareServiceRecords } from './db/repositories/share-service.ts'
import { shareTypeRecords } from './db/repositories/share-type.ts'
import { shareRecords } from './db/repositories/share.ts'
import { shownSnapshotRecords } from './db/repositories/shown-snapshot.ts'
import { snapshotAccessRecords } from './db/repositories/snapshot-access.ts'
import type { Database } from './db/schema.ts'
import { catalogId } from './domain/catalog.ts'
import type { Topology } from './domain/topology.ts'
import type { TokenVerifier } from './http/authenticate.ts'
import type { HttpService } from './http/server.ts'
import { shareService } from './http/share/service.ts'
import type { Agents } from './ports/agents.ts'
import type { Aggregates } from './ports/aggregates.ts'
import type { Backend } from './ports/backend.ts'
import type { Clock } from './ports/clock.ts'
import type { FlexVolMoves } from './ports/flexvol-moves.ts'
import type { OperationEngine } from './ports/operations.ts'
import type { CopyRecords, FlexVolRecords, SnapshotRecords, VolumeRecords } from './ports/records.ts'

export interface ShareApiParts {
  db: Kysely<Database>
  records: {
    volumes: VolumeRecords
    copies: CopyRecords
    flexvols: FlexVolRecords
    snapshots: SnapshotRecords
  }
  backend: Backend
  agents: Agents
  aggregates: Pick<Aggregates, 'list'>
  moves: FlexVolMoves
  engine: OperationEngine
  topology: Topology
  /** Bytes per second, 0: unlimited; and how long a source is kept. */
  settings: { rate: number; retentionSeconds: number }
  tokens: TokenVerifier
  clock: Clock
}

export interface ShareApi {
  service: HttpService
  /** Makes what must be there: the default share type. Idempotent. */
  prepare(): Promise<void>
}

export function createShareApi(parts: ShareApiParts): ShareApi {
  const { db, clock, topology } = parts
  const own = {
    shares: shareRecords(db, clock),
    rules: shareAccessRecords(db, clock),
    snapshotAccess: snapshotAccessRecords(db, clock),
    shown: shownSnapshotRecords(db),
    lists: shareLists(db),
    types: shareTypeRecords(db),
    quotas: shareQuotaRecords(db),
    messages: shareMessageRecords(db),
    services: shareServiceRecords(db),
  }
  // The records have `moves` of their own: what stands last wins.
  const sources = { ...parts.records, ...parts, ...own }
  const shareTypes = createShareTypes(sources)
  const pools = createSharePools(sources)
  const service = shareService({
    shares: createShareReader(sources),
    creations: createShareCreations({ ...sources, shareTypes, pools }),
    deletions: createShareDeletions(sources),
    changes: createShareChanges(sources),
    rules: createShareAccessRules(sources),
    shareSnapshots: createShareSnapshots(sources),
    snapshotAccess: createShareSnapshotAccess(sources),
    migrations: createShareMigrations({ ...sources, pools }),
    types: shareTypes,
    quotas: createShareQuotas(sources),
    pools,
    services: createShareServices(sources),
    messages: createShareMessages(sources),
    where: { flexvols: () => sources.flexvols.list(), topology },
    tokens: parts.tokens,
    zone: {
      name: topology.availabilityZone,
      id: catalogId('availability-zone', topology.availabilityZone),
      createdAt: '2026-01-01T00:00:00.000Z',
    },
    now: () => clock.now(),
  })
  return {
    service,
    async prepare() {
      await shareTypes.ensureDefault()
      await own.messages.removeExpired(clock.now().toISOString())
    },
  }
}
