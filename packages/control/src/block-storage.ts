import type { BoundOperation } from '@volant/saga'
import { bind } from '@volant/saga'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { createAttachments } from './app/attachment.ts'
import { createBlockServices } from './app/block-service.ts'
import { createPoolListing, createPools } from './app/pool.ts'
import { createQuotas } from './app/quota.ts'
import { createSnapshotChanges } from './app/snapshot-change.ts'
import { createSnapshots } from './app/snapshot.ts'
import { createVolumeChanges } from './app/volume-change.ts'
import { createVolumeCreations } from './app/volume-creation.ts'
import { createVolumeDeletions } from './app/volume-deletion.ts'
import { createVolumeMessages } from './app/volume-message.ts'
import { recoverVolumes } from './app/volume-recovery.ts'
import { createVolumeRemover } from './app/volume-removal.ts'
import { createVolumeReservations } from './app/volume-reservation.ts'
import { createVolumeTypes } from './app/volume-type.ts'
import { createVolumeUploads } from './app/volume-upload.ts'
import { createVolumes } from './app/volume.ts'
import { aggregateContents } from './db/repositories/aggregate-contents.ts'
import { blockQuotaRecords } from './db/repositories/block-quota.ts'
import { blockServiceRecords } from './db/repositories/block-service.ts'
import { deletionClaims } from './db/repositories/deletion-claim.ts'
import { instanceActionRecords } from './db/repositories/instance-action.ts'
import { poolSums } from './db/repositories/pool-sum.ts'
import { shareMessageRecords } from './db/repositories/share-message.ts'
import { shownSnapshotRecords } from './db/repositories/shown-snapshot.ts'
import { snapshotCreation } from './db/repositories/snapshot-creation.ts'
import { snapshotLists } from './db/repositories/snapshot-list.ts'
import { vacatingAggregates } from './db/repositories/vacating.ts'
import { volumeCreation } from './db/repositories/volume-creation.ts'
import { volumeLists } from './db/repositories/volume-list.ts'
import { volumeMessageRecords } from './db/repositories/volume-message.ts'
import { volumeTypeRecords } from './db/repositories/volume-type.ts'
import type { Database } from './db/schema.ts'
import type { CopyProgress } from './domain/copy-progress.ts'
import type { Topology } from './domain/topology.ts'
import type { TokenVerifier } from './http/authenticate.ts'
import type { HttpService } from './http/server.ts'
import { volumeService } from './http/volume/service.ts'
import { createFlexVol } from './operations/create-flexvol.ts'
import { createSnapshot } from './operations/create-snapshot.ts'
import { createVolume } from './operations/create-volume.ts'
import { deleteFlexVol } from './operations/delete-flexvol.ts'
import { deleteSnapshot } from './operations/delete-snapshot.ts'
import { deleteVolume } from './operations/delete-volume.ts'
import { extendVolume } from './operations/extend-volume.ts'
import { renameFlexVol } from './operations/rename-flexvol.ts'
import { revertVolume } from './operations/revert-volume.ts'
import type { Agents } from './ports/agents.ts'
import type { Backend } from './ports/backend.ts'
import type { Pools } from './ports/block-storage.ts'
import type { Clock } from './ports/clock.ts'
import type { CopyPace } from './ports/copy-pace.ts'
import type { ImageRegistry } from './ports/images.ts'
import type { MigrationStarter } from './ports/migrations.ts'
import type { OperationEngine } from './ports/operations.ts'
import type { Places } from './ports/places.ts'
import type {
  AttachmentRecords,
  CopyRecords,
  FlexVolRecords,
  SnapshotRecords,
  VolumeRecords,
} from './ports/records.ts'
import type { VolumeCreator } from './ports/volumes.ts'

export interface BlockStorageParts {
  db: Kysely<Database>
  records: {
    volumes: VolumeRecords
    copies: CopyRecords
    attachments: AttachmentRecords
    flexvols: FlexVolRecords
    snapshots: SnapshotRecords
  }
  backend: Backend
  agents: Agents
  places: Places
  pace: CopyPace
  images: Pick<ImageRegistry, 'visible' | 'named' | 'file'>
  topology: Topology
  clock: Clock
  log: Logger
}

/** What Block Storage needs of those that are made after its operations. */
export interface BlockStorageLate {
  engine: OperationEngine
  migrations: MigrationStarter
  tokens: TokenVerifier
}

export interface BlockStorage {
  /** For the engine; they exist before it does. */
  operations: BoundOperation[]
  pools: Pools
  /** Whether the volume service `HOST@BACKEND` takes new volumes. */
  isBackendEnabled(backend: string): Promise<boolean>
  /** Makes what must be there: the default type, the rows of the services. Idempotent. */
  prepare(): Promise<void>
  /**
   * The HTTP service, and how a server's block-device mapping makes a volume. `recover` is to be called when the
   * engine has begun, before the first request.
   */
  serve(late: BlockStorageLate): {
    service: HttpService
    creator: VolumeCreator
    recover(idleMs?: number): Promise<{ recovered: string[] }>
  }
}

/** Block Storage: its records, operations, application and HTTP service. */
export function createBlockStorage(parts: BlockStorageParts): BlockStorage {
  const { db, records, clock, topology } = parts
  const own = {
    lists: volumeLists(db),
    creation: volumeCreation(db),
    births: snapshotCreation(db),
    shown: shownSnapshotRecords(db),
    deletionClaims: deletionClaims(db, clock),
    snapshotLists: snapshotLists(db),
    types: volumeTypeRecords(db),
    quotas: blockQuotaRecords(db),
    services: blockServiceRecords(db),
    messages: volumeMessageRecords(db),
    shareMessages: shareMessageRecords(db),
    instanceActions: instanceActionRecords(db),
  }
  const pools = createPools({
    ...parts,
    ...records,
    services: own.services,
    sums: poolSums(db),
    contents: aggregateContents(db),
    vacating: vacatingAggregates(db),
  })
  const ports = {
    ...parts,
    ...records,
    ...own,
    pools,
    copying: new Map<string, CopyProgress>(),
    monotonic: () => performance.now(),
  }
  const services = createBlockServices({ ...ports })
  return {
    operations: [
      bind(createVolume, ports),
      bind(deleteVolume, ports),
      bind(extendVolume, ports),
      bind(createSnapshot, ports),
      bind(deleteSnapshot, ports),
      bind(revertVolume, ports),
      bind(createFlexVol, ports),
      bind(renameFlexVol, ports),
      bind(deleteFlexVol, ports),
    ],
    pools,
    isBackendEnabled: services.isBackendEnabled,
    async prepare() {
      await own.types.ensureDefault(clock.now().toISOString())
      await services.ensure()
      await own.messages.removeExpired(clock.now().toISOString())
    },
    serve(late) {
      const types = createVolumeTypes(ports)
      const sources = { ...ports, ...late, types, now: () => clock.now() }
      const creations = createVolumeCreations(sources)
      const service = volumeService({
        volumes: createVolumes({ ...ports }),
        snapshots: createSnapshots(ports),
        snapshotChanges: createSnapshotChanges(sources),
        creations,
        deletions: createVolumeDeletions(sources),
        changes: createVolumeChanges(sources),
        reservations: createVolumeReservations(sources),
        attachments: createAttachments(ports),
        uploads: createVolumeUploads(ports),
        types,
        quotas: createQuotas(ports),
        pools: createPoolListing(pools, topology),
        services,
        messages: createVolumeMessages(ports),
        flexvols: () => records.flexvols.list(),
        host: topology.host,
        availabilityZone: topology.availabilityZone,
        tokens: late.tokens,
        now: () => clock.now(),
      })
      return {
        service,
        creator: creatorOf(creations),
        recover: (idleMs) =>
          recoverVolumes({ ...ports, ...late, remover: createVolumeRemover({ ...ports, ...late }) }, idleMs),
      }
    },
  }
}

const creatorOf = (creations: ReturnType<typeof createVolumeCreations>): VolumeCreator => ({
  async createVolume(principal, request) {
    const { volume } = await creations.create(principal, {
      name: request.name,
      description: request.description,
      sizeGib: request.sizeGib,
      volumeType: request.volumeType ?? null,
      availabilityZone: request.availabilityZone ?? null,
      metadata: {},
      imageId: request.imageId ?? null,
      sourceVolid: null,
      snapshotId: request.snapshotId ?? null,
      requestId: `req-${crypto.randomUUID()}`,
    })
    return volume
  },
  createRootDisk: (principal, request) => creations.createRootDisk(principal, request),
})
