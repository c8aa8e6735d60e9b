import { unmetSpecs } from '../domain/placement.ts'
import type { Principal } from '../domain/principal.ts'
import { poolName } from '../domain/topology.ts'
import type { MigrationStatus, Volume, VolumeStatus } from '../domain/volume.ts'
import { extendVolume } from '../operations/extend-volume.ts'
import type { BlockQuotaRecords } from '../ports/block-storage.ts'
import type { MigrationStarter } from '../ports/migrations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, FlexVolRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { cancelOperationOn } from './operation-cancel.ts'
import {
  administeredVolume,
  changeableVolume,
  invalidInput,
  invalidVolume,
  isMigrating,
} from './volume-access.ts'
import { maxSizeGib } from './volume-creation.ts'
import type { VolumeTypes } from './volume-type.ts'

export interface StatusReset {
  status?: VolumeStatus
  attachStatus?: 'attached' | 'detached'
  /** null: none. */
  migrationStatus?: MigrationStatus | null
}

/** What the volume actions change, but for attachments. */
export interface VolumeChanges {
  /** `attached`: whether the request's microversion (3.42) lets an attached volume grow. */
  extend(
    principal: Principal,
    volumeId: string,
    options: { newSizeGib: number; attached: boolean; requestId: string },
  ): Promise<void>
  retype(principal: Principal, volumeId: string, newType: string): Promise<void>
  /** A real cancel of the operation that is under way; where none is, a repair of the record. */
  resetStatus(principal: Principal, volumeId: string, reset: StatusReset): Promise<void>
  setBootable(principal: Principal, volumeId: string, bootable: boolean): Promise<void>
  setReadonly(principal: Principal, volumeId: string, readonly: boolean): Promise<void>
  migrate(
    principal: Principal,
    volumeId: string,
    options: { host: string; forceHostCopy: boolean; lockVolume: boolean },
  ): Promise<{ operationId: string }>
}

export interface VolumeChangeSources {
  volumes: VolumeRecords
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  flexvols: Pick<FlexVolRecords, 'get'>
  snapshots: Pick<SnapshotRecords, 'ofVolume'>
  quotas: Pick<BlockQuotaRecords, 'beginExtend' | 'finishExtend'>
  types: Pick<VolumeTypes, 'usable'>
  engine: OperationEngine
  migrations: MigrationStarter
  now: () => Date
}

const adminActions = 'volume_extension:volume_admin_actions'

export const createVolumeChanges = (sources: VolumeChangeSources): VolumeChanges => ({
  extend: (principal, volumeId, options) => extend(sources, principal, volumeId, options),
  retype: (principal, volumeId, newType) => retype(sources, principal, volumeId, newType),
  resetStatus: (principal, volumeId, reset) => resetStatus(sources, principal, volumeId, reset),
  async setBootable(principal, volumeId, bootable) {
    await changeableVolume(
      sources.volumes,
      principal,
      volumeId,
      'volume_extension:volume_actions:set_bootable',
    )
    await sources.volumes.update(volumeId, { bootable })
  },
  async setReadonly(principal, volumeId, readonly) {
    const volume = await changeableVolume(sources.volumes, principal, volumeId, 'volume:update_readonly_flag')
    if (volume.status !== 'available') {
      throw invalidVolume(
        `Volume ${volumeId} status must be available to update readonly flag, but current status is: ${volume.status}.`,
      )
    }
    const metadata = { ...volume.metadata, readonly: readonly ? 'True' : 'False' }
    await sources.volumes.update(volumeId, { metadata })
  },
  async migrate(principal, volumeId, options) {
    await administeredVolume(sources.volumes, principal, volumeId, `${adminActions}:migrate_volume`)
    return sources.migrations.startMigration({ principal, volumeId, ...options })
  },
})

async function extend(
  sources: VolumeChangeSources,
  principal: Principal,
  volumeId: string,
  options: { newSizeGib: number; attached: boolean; requestId: string },
): Promise<void> {
  const { volumes, quotas, engine } = sources
  const { newSizeGib } = options
  const volume = await changeableVolume(volumes, principal, volumeId, 'volume:extend')
  const expected = options.attached ? ['available', 'in-use'] : ['available']
  const refused = (now: Volume) =>
    invalidVolume(
      `Volume ${volumeId} status must be '${expected.join(' or ')}' to extend, currently ${now.status}` +
        (isMigrating(now) ? ` and migrating.` : '.'),
    )
  if (!expected.includes(volume.status) || isMigrating(volume)) throw refused(volume)
  if (newSizeGib <= volume.sizeGib) {
    throw invalidInput(
      `New size for extend must be greater than current size. (current: ${volume.sizeGib}, extended: ${newSizeGib}).`,
    )
  }
  if (newSizeGib > maxSizeGib) {
    throw invalidInput(`New size ${newSizeGib} is larger than ${maxSizeGib} GiB, the most a volume can have.`)
  }
  if (!(await quotas.beginExtend(volume, newSizeGib))) throw refused(await volumes.get(volumeId))
  try {
    await engine.start(extendVolume, {
      volumeId,
      projectId: volume.projectId,
      userId: principal.userId,
      requestId: options.requestId,
      oldSizeGib: volume.sizeGib,
      newSizeGib,
      previousStatus: volume.status,
    })
  } catch (error) {
    await quotas.finishExtend(volumeId, { status: volume.status, at: sources.now().toISOString() })
    throw error
  }
}

async function retype(
  sources: VolumeChangeSources,
  principal: Principal,
  volumeId: string,
  newType: string,
): Promise<void> {
  const volume = await changeableVolume(sources.volumes, principal, volumeId, 'volume:retype')
  const type = await sources.types.usable(principal, newType)
  if ((volume.status !== 'available' && volume.status !== 'in-use') || isMigrating(volume)) {
    throw invalidVolume(
      `Volume ${volumeId} status must be available or in-use, and must not be migrating, to be retyped. ` +
        `It is ${volume.status}.`,
    )
  }
  if (type.id === volume.volumeTypeId) {
    throw invalidInput(`New volume_type same as original: ${newType}.`)
  }
  if (volume.flexvolId !== null) {
    const flexvol = await sources.flexvols.get(volume.flexvolId)
    const unmet = unmetSpecs(type.extraSpecs, { backend: flexvol.cluster, pool: poolName(flexvol) })
    if (unmet.length > 0) {
      const snapshots = (await sources.snapshots.ofVolume(volumeId)).length
      throw invalidInput(
        `Volume type ${type.name} asks for ${unmet.join(' and ')}, and the volume is in ` +
          `${flexvol.cluster}#${poolName(flexvol)}. A retype does not move a volume: migrate it first.` +
          (snapshots === 0
            ? ''
            : ` For that Volume ${volumeId} must not have snapshots; it has ${snapshots}.`),
      )
    }
  }
  const done = await sources.volumes.updateIf(
    volumeId,
    { status: [volume.status] },
    { volumeTypeId: type.id },
  )
  if (!done) throw invalidVolume(`Volume ${volumeId} has just changed its status. Try again.`)
}

async function resetStatus(
  sources: VolumeChangeSources,
  principal: Principal,
  volumeId: string,
  reset: StatusReset,
): Promise<void> {
  const { volumes, engine } = sources
  const volume = await administeredVolume(volumes, principal, volumeId, `${adminActions}:reset_status`)
  // While an operation is under way the reset is its cancel, and nothing else: it leaves the status that is true.
  if ((await cancelOperationOn(engine, { type: 'volume', id: volumeId })) !== 'none') return
  await requireTruthfulReset(sources, volume, reset)
  await volumes.update(volumeId, {
    ...(reset.status !== undefined && { status: reset.status, previousStatus: null }),
    ...(reset.migrationStatus !== undefined && { migrationStatus: reset.migrationStatus }),
  })
}

/** A record that says a volume is free while a server writes to it would let a second one in. */
async function requireTruthfulReset(
  sources: VolumeChangeSources,
  volume: Volume,
  reset: StatusReset,
): Promise<void> {
  const held = (await sources.attachments.ofVolume(volume.id)).find((a) => a.host !== null)
  const freed = reset.status === 'available' || reset.attachStatus === 'detached'
  if (held !== undefined && freed) {
    throw invalidVolume(
      `Volume ${volume.id} is attached to server ${String(held.serverId)} on ${String(held.host)}: ` +
        'detach it there; it cannot be declared free.',
    )
  }
  if (reset.status === 'available' && volume.imageId === null) {
    throw invalidVolume(`Volume ${volume.id} has no data: its creation failed. Delete it.`)
  }
}
