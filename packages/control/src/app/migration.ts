import { DomainError, messageOf } from '@volant/contract'
import type { MigrationPlan } from '@volant/contract/ndo/migration.ts'
import {
  checkMigration,
  hostStringOf,
  type MigrationCheck,
  type MigrationFacts,
} from '../domain/migration.ts'
import { aggregateKey } from '../domain/aggregate-name.ts'
import { parseHostString } from '../domain/host-string.ts'
import { paceWishes } from '@volant/contract/ndo/pace.ts'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { poolName, type Topology } from '../domain/topology.ts'
import type { UndoOf } from '../domain/undo.ts'
import { isHidden, placeForNew, type FlexVol, type Volume } from '../domain/volume.ts'
import { migrateVolume, reservationFor, type MigrateVolumeInput } from '../operations/migrate-volume.ts'
import { vacateAggregate } from '../operations/vacate-aggregate.ts'
import type { AggregateContents } from '../ports/aggregate-contents.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { MigrationStarter } from '../ports/migrations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type {
  AttachmentRecords,
  CopyRecords,
  FlexVolRecords,
  SnapshotRecords,
  VolumeRecords,
} from '../ports/records.ts'
import { createPoolSpaces } from './space.ts'

export interface MigrationSettings {
  /** Bytes per second; 0: unlimited. */
  rate: number
  cutoverWindowMs: number
  cutoverAttempts: number
  retentionSeconds: number
}

export interface MigrationRequest {
  principal: Principal
  volumeId: string
  host: string
  lockVolume: boolean
  /** Bytes per second; absent: the configured default. */
  rate?: number
  /** As people write them; absent: as configured. */
  pace?: string
  priority?: string
  /** The migration brings back what another operation moved. */
  undoOf?: UndoOf
}

export interface Migrations extends MigrationStarter {
  start(request: MigrationRequest): Promise<{ operationId: string }>
  /**
   * The id of the volume that is the server's root disk, which alone `plan` and `start` know: no user of Cinder does. Throws
   * `notFound` where it has none.
   */
  rootDiskOf(principal: Principal, serverId: string): Promise<string>
  /** Every precondition and an estimate; changes nothing. */
  plan(request: MigrationRequest): Promise<MigrationPlan>
}

const policyName = 'volume_extension:volume_admin_actions:migrate_volume'

/** For an estimate where no rate is set: what a disk of a small machine copies. Bytes per second. */
const assumedBps = 300 * 1024 * 1024

export function createMigrations(options: {
  volumes: VolumeRecords
  copies: CopyRecords
  attachments: AttachmentRecords
  flexvols: FlexVolRecords
  snapshots: Pick<SnapshotRecords, 'ofVolume'>
  backend: Backend
  contents: Pick<AggregateContents, 'reserved'>
  agents: Agents
  engine: OperationEngine
  topology: Topology
  settings: MigrationSettings
  /** Whether the volume service `HOST@BACKEND` is enabled. */
  isBackendEnabled: (backend: string) => Promise<boolean>
  /** Why holders of this machine can't move images; empty: they can. */
  missingAbilities: (machine: string) => Promise<string[]>
}): Migrations {
  const { volumes, engine, settings, topology } = options

  const visible = async (request: MigrationRequest): Promise<Volume> => {
    enforce(request.principal, policyName, 'admin')
    const volume = await volumes.get(request.volumeId)
    const mayKnow = isAdmin(request.principal) || volume.projectId === request.principal.projectId
    if (!mayKnow || volume.shareId !== null) {
      throw new DomainError('notFound', `Volume ${request.volumeId} could not be found.`)
    }
    return volume
  }

  const plan = async (request: MigrationRequest): Promise<MigrationPlan> => {
    const volume = await visible(request)
    const facts = await gather(options, volume, request.host)
    const checks = checkMigration(facts)
    const rate = request.rate ?? settings.rate
    return {
      ok: checks.every((check) => check.ok),
      volume: { id: volume.id, name: volume.name },
      source: facts.source === undefined ? null : hostStringOf(topology.host, facts.source),
      target: request.host,
      checks,
      estimate: estimateOf(facts, rate),
      steps: migrateVolume.nodes.map((node) => node.name),
    }
  }

  const start = async (request: MigrationRequest): Promise<{ operationId: string }> => {
    const volume = await visible(request)
    const wishes = paceWishes(request)
    const facts = await gather(options, volume, request.host)
    refuseFirst(checkMigration(facts))
    const target = facts.target.flexvol as FlexVol
    const source = await options.copies.get(volume.imageId as string)
    const lockedFrom = request.lockVolume && volume.status === 'available' ? volume.status : null
    const input: MigrateVolumeInput = {
      volumeId: volume.id,
      sourceImageId: source.imageId,
      sourceFlexvolId: source.flexvolId,
      targetFlexvolId: target.id,
      targetImageId: crypto.randomUUID(),
      reservedBytes: reservationFor(source, facts.allocatedBytes),
      cutoverWindowMs: settings.cutoverWindowMs,
      cutoverAttempts: settings.cutoverAttempts,
      retentionSeconds: settings.retentionSeconds,
      lockedFrom,
      ...(request.undoOf === undefined ? {} : { undoOf: request.undoOf }),
    }
    const claimed = await volumes.updateIf(
      volume.id,
      { status: ['available', 'in-use'], migrationStatus: [null, 'success', 'error'] },
      { migrationStatus: 'starting', ...(lockedFrom === null ? {} : { status: 'maintenance' }) },
    )
    if (!claimed) {
      throw new DomainError(
        'invalid',
        'Invalid volume: its state has just changed. Look at it and try again.',
      )
    }
    try {
      // From here on none is made: the volume is migrating.
      const snapshots = (await options.snapshots.ofVolume(volume.id)).length
      if (snapshots > 0) refuseFirst(checkMigration({ ...facts, snapshots }))
      const rate = request.rate ?? settings.rate
      const { id } = await engine.start(migrateVolume, input, {
        rate: rate === 0 ? null : rate,
        ...wishes,
      })
      return { operationId: id }
    } catch (error) {
      await volumes.update(volume.id, { migrationStatus: volume.migrationStatus, status: volume.status })
      throw error
    }
  }

  return {
    plan,
    start,
    async rootDiskOf(principal, serverId) {
      enforce(principal, policyName, 'admin')
      const root = (await options.attachments.ofServer(serverId)).find(({ rootOf }) => rootOf === serverId)
      if (root !== undefined) return root.volumeId
      throw new DomainError(
        'notFound',
        `Server ${serverId} has no root disk on the storage: it boots from a volume, its root disk is a file on its ` +
          'compute host, or there is no such server.',
      )
    },
    async startMigration({ principal, volumeId, host, lockVolume }) {
      const volume = await volumes.find(volumeId)
      if (volume !== undefined && isHidden(volume)) {
        throw new DomainError('notFound', `Volume ${volumeId} could not be found.`)
      }
      return start({ principal, volumeId, host, lockVolume })
    },
    async cancelMigration(volumeId) {
      const holder = await engine.holderOf(`volume/${volumeId}`)
      if (holder === undefined || holder.kind !== migrateVolume.kind) return
      await engine.cancel(holder.id)
      await engine.settled(holder.id)
    },
  }
}

type Sources = Parameters<typeof createMigrations>[0]

async function gather(sources: Sources, volume: Volume, hostText: string): Promise<MigrationFacts> {
  const { topology, flexvols, backend } = sources
  const asked = parseHostString(hostText)
  const all = await flexvols.list()
  const pools = all.filter((f) => f.cluster === asked.backend && f.shareId === null)
  const target = pools.find((f) => poolName(f) === asked.pool)
  const attachments = await sources.attachments.ofVolume(volume.id)
  const source = all.find((f) => f.id === volume.flexvolId)
  const copy = volume.imageId === null ? undefined : await sources.copies.find(volume.imageId)
  const info = copy === undefined ? undefined : await backend.imageInfo(copy)
  const heldBy = await sources.engine.holderOf(`volume/${volume.id}`)
  const isKnown = topology.clusters.some((c) => c.name === asked.backend)
  return {
    volume,
    attachments,
    snapshots: (await sources.snapshots.ofVolume(volume.id)).length,
    source,
    allocatedBytes: info?.allocatedBytes ?? 0,
    heldBy,
    hostsDown: await hostsDown(sources.agents, attachments),
    missingAbilities: await abilities(sources, attachments[0]?.host ?? null, copy?.node),
    target: {
      text: hostText,
      ...asked,
      knownHost: topology.host,
      knownBackends: topology.clusters.map((c) => c.name),
      knownPools: pools.map(poolName),
      flexvol: target,
      enabled: !isKnown || (await sources.isBackendEnabled(asked.backend)),
      vacatedBy: target === undefined ? null : await vacatedBy(sources, target),
      freeBytes: target === undefined ? 0 : await freeBytes(sources, target),
    },
  }
}

async function vacatedBy({ engine }: Sources, flexvol: FlexVol): Promise<string | null> {
  const holder = await engine.holderOf(aggregateKey(flexvol.cluster, placeForNew(flexvol).aggregate))
  return holder?.kind === vacateAggregate.kind ? holder.id : null
}

async function freeBytes(sources: Sources, flexvol: FlexVol): Promise<number> {
  const figures = (await createPoolSpaces(sources)([flexvol], 'now')).get(flexvol.id)
  if (figures?.down !== undefined) throw new DomainError('unavailable', figures.down)
  return figures?.freeBytes ?? 0
}

async function hostsDown(agents: Agents, attachments: { host: string | null }[]): Promise<string[]> {
  const down: string[] = []
  for (const { host } of attachments) {
    if (host === null) continue
    try {
      await agents.compute(host).listGuests()
    } catch (error) {
      down.push(`${host} (${messageOf(error)})`)
    }
  }
  return down
}

async function abilities(sources: Sources, host: string | null, node: string | undefined): Promise<string[]> {
  const computeHost = sources.topology.computeHosts.find((h) => h.name === host)
  const storageNode = sources.topology.clusters.flatMap((c) => c.nodes).find((n) => n.name === node)
  const machine = computeHost?.machine ?? storageNode?.machine
  return machine === undefined ? [] : sources.missingAbilities(machine)
}

function refuseFirst(checks: MigrationCheck[]): void {
  const failed = checks.find((check) => !check.ok)
  if (failed === undefined) return
  throw new DomainError(failed.name === 'target-space' ? 'noCapacity' : 'invalid', failed.reason, {
    detail: checks,
  })
}

function estimateOf(facts: MigrationFacts, rate: number): MigrationPlan['estimate'] {
  if (facts.target.flexvol === undefined || facts.volume.imageId === null) return null
  const bps = rate === 0 ? assumedBps : Math.min(rate, assumedBps)
  return { bytes: facts.allocatedBytes, seconds: Math.ceil(facts.allocatedBytes / bps), rate: bps }
}
