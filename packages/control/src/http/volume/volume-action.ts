import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { SnapshotChanges } from '../../app/snapshot-change.ts'
import type { StatusReset, VolumeChanges } from '../../app/volume-change.ts'
import type { VolumeDeletions } from '../../app/volume-deletion.ts'
import type { VolumeReservations } from '../../app/volume-reservation.ts'
import type { VolumeUploads } from '../../app/volume-upload.ts'
import type { Volumes } from '../../app/volume.ts'
import type { MigrationStatus, VolumeStatus } from '../../domain/volume.ts'
import { atLeast } from '../microversion.ts'
import { nameText } from '../parse.ts'
import { argument, flag, oneOf, registerActions, type Action } from './action.ts'
import { accepted, ok, type VolumeCall, type VolumeRoutes } from './call.ts'
import { metadataSchema, parseSize } from './volume-body.ts'

export interface VolumeActionServices {
  volumes: Volumes
  changes: VolumeChanges
  reservations: VolumeReservations
  deletions: VolumeDeletions
  uploads: VolumeUploads
  snapshotChanges: SnapshotChanges
}

export function registerVolumeActions(routes: VolumeRoutes, services: VolumeActionServices): void {
  registerActions(routes, '/volumes/:volume_id', {
    ...recordActions(services),
    ...imageActions(services),
    ...reservationActions(services.reservations),
  })
}

const statuses: readonly VolumeStatus[] = [
  'creating',
  'available',
  'deleting',
  'error',
  'error_deleting',
  'error_extending',
  'attaching',
  'detaching',
  'in-use',
  'maintenance',
  'reserved',
]
const attachStatuses = ['attached', 'detached'] as const
const migrationStatuses: readonly MigrationStatus[] = [
  'starting',
  'migrating',
  'completing',
  'success',
  'error',
]

const parsers = {
  extend: argument('os-extend', Type.Object({ new_size: Type.Unknown() })),
  reset: argument(
    'os-reset_status',
    Type.Object({
      status: Type.Optional(Type.Union([nameText(), Type.Null()])),
      attach_status: Type.Optional(Type.Union([nameText(), Type.Null()])),
      migration_status: Type.Optional(Type.Union([nameText(), Type.Null()])),
    }),
  ),
  migrate: argument(
    'os-migrate_volume',
    Type.Object({
      host: Type.Optional(Type.Union([nameText({ maxLength: 1024 }), Type.Null()])),
      cluster: Type.Optional(Type.Union([nameText(), Type.Null()])),
      force_host_copy: Type.Optional(Type.Unknown()),
      lock_volume: Type.Optional(Type.Unknown()),
    }),
  ),
  bootable: argument('os-set_bootable', Type.Object({ bootable: Type.Unknown() })),
  readonly: argument('os-update_readonly_flag', Type.Object({ readonly: Type.Unknown() })),
  retype: argument(
    'os-retype',
    Type.Object({
      new_type: nameText({ minLength: 1 }),
      migration_policy: Type.Optional(Type.Union([nameText(), Type.Null()])),
    }),
  ),
  attach: argument(
    'os-attach',
    Type.Object({
      instance_uuid: Type.Optional(Type.Union([nameText(), Type.Null()])),
      host_name: Type.Optional(Type.Union([nameText(), Type.Null()])),
      mountpoint: nameText({ minLength: 1 }),
      mode: Type.Optional(Type.Union([Type.Literal('rw'), Type.Literal('ro')])),
    }),
  ),
  detach: argument(
    'os-detach',
    Type.Object({ attachment_id: Type.Optional(Type.Union([nameText(), Type.Null()])) }),
  ),
  connection: argument(
    'os-initialize_connection',
    Type.Object({ connector: Type.Record(Type.String(), Type.Unknown()) }),
  ),
  upload: argument(
    'os-volume_upload_image',
    Type.Object({
      image_name: nameText({ minLength: 1 }),
      disk_format: Type.Optional(nameText()),
      container_format: Type.Optional(nameText()),
      force: Type.Optional(Type.Unknown()),
    }),
  ),
  setImageMetadata: argument('os-set_image_metadata', Type.Object({ metadata: metadataSchema })),
  revert: argument('revert', Type.Object({ snapshot_id: Type.Union([nameText(), Type.Null()]) })),
  unsetImageMetadata: argument('os-unset_image_metadata', Type.Object({ key: nameText({ minLength: 1 }) })),
}

/** Zed's clients expect 202 of most and 200 of the ones that only change the record. */
function recordActions({
  changes,
  deletions,
  snapshotChanges,
}: VolumeActionServices): Record<string, Action> {
  return {
    'os-extend': async (call, id, value) => {
      const newSizeGib = parseSize(parsers.extend(value).new_size, 'New size')
      const attached = atLeast(call.version, '3.42')
      await changes.extend(call.principal, id, { newSizeGib, attached, requestId: call.requestId })
      return accepted()
    },
    'os-reset_status': async (call, id, value) => {
      await changes.resetStatus(call.principal, id, statusReset(parsers.reset(value)))
      return accepted()
    },
    'os-force_delete': async (call, id) => {
      const { principal, requestId } = call
      await deletions.remove(principal, id, { force: true, cascade: false, requestId })
      return accepted()
    },
    'os-set_bootable': async (call, id, value) => {
      await changes.setBootable(call.principal, id, flag(parsers.bootable(value).bootable, 'bootable'))
      return ok(undefined)
    },
    'os-update_readonly_flag': async (call, id, value) => {
      await changes.setReadonly(call.principal, id, flag(parsers.readonly(value).readonly, 'readonly'))
      return accepted()
    },
    'os-retype': async (call, id, value) => {
      const { new_type, migration_policy } = parsers.retype(value)
      if (!['never', 'on-demand', undefined, null].includes(migration_policy)) {
        throw new DomainError('invalid', `migration_policy must be 'never' or 'on-demand'.`)
      }
      await changes.retype(call.principal, id, new_type)
      return accepted()
    },
    'os-migrate_volume': async (call, id, value) => {
      const asked = parsers.migrate(value)
      if (asked.cluster !== undefined && asked.cluster !== null) {
        throw new DomainError('invalid', 'Clusters of volume services are not supported: give host instead.')
      }
      if (asked.host === undefined || asked.host === null) {
        throw new DomainError('invalid', 'os-migrate_volume needs host, in the form HOST@BACKEND#POOL.')
      }
      await changes.migrate(call.principal, id, {
        host: asked.host,
        forceHostCopy: flag(asked.force_host_copy, 'force_host_copy'),
        lockVolume: flag(asked.lock_volume, 'lock_volume'),
      })
      return accepted()
    },
    revert: async (call, id, value) => {
      if (!atLeast(call.version, '3.40')) {
        throw new DomainError('invalid', 'revert needs the microversion 3.40 at least.')
      }
      const { snapshot_id: snapshotId } = parsers.revert(value)
      await snapshotChanges.revert(call.principal, id, { snapshotId, requestId: call.requestId })
      return accepted()
    },
    'os-migrate_volume_completion': async () => {
      throw new DomainError(
        'invalid',
        'Migrations complete themselves here: os-migrate_volume_completion is a call between Nova and Cinder. ' +
          'Follow the migration with GET /ndo/v1/operations.',
      )
    },
  }
}

function statusReset(asked: {
  status?: string | null
  attach_status?: string | null
  migration_status?: string | null
}): StatusReset {
  const { status, attach_status: attach, migration_status: migration } = asked
  const reset: StatusReset = {}
  if (status !== undefined && status !== null) {
    reset.status = oneOf('status', status.toLowerCase(), statuses)
  }
  if (attach !== undefined && attach !== null) {
    reset.attachStatus = oneOf('attach_status', attach.toLowerCase(), attachStatuses)
  }
  if (migration !== undefined && migration !== null) {
    const text = migration.toLowerCase()
    reset.migrationStatus = text === 'none' ? null : oneOf('migration_status', text, migrationStatuses)
  }
  if (Object.keys(reset).length === 0) {
    throw new DomainError('invalid', 'Must specify status, attach_status or migration_status for update.')
  }
  return reset
}

function imageActions({ volumes, uploads }: VolumeActionServices): Record<string, Action> {
  return {
    'os-volume_upload_image': async (call, id, value) => {
      const asked = parsers.upload(value)
      const upload = await uploads.upload(call.principal, id, {
        imageName: asked.image_name,
        diskFormat: asked.disk_format ?? 'raw',
        containerFormat: asked.container_format ?? 'bare',
        force: flag(asked.force, 'force'),
      })
      return accepted({ 'os-volume_upload_image': upload })
    },
    'os-set_image_metadata': async (call, id, value) => {
      const { metadata: set } = parsers.setImageMetadata(value)
      const { metadata } = await volumes.setImageMetadata(call.principal, id, { set })
      return ok({ metadata })
    },
    'os-unset_image_metadata': async (call, id, value) => {
      const { key } = parsers.unsetImageMetadata(value)
      const { found } = await volumes.setImageMetadata(call.principal, id, { unset: key })
      if (!found)
        throw new DomainError('notFound', `Metadata ${key} of the image of volume ${id} could not be found.`)
      return ok(undefined)
    },
    'os-show_image_metadata': async (call, id) => {
      const { volume } = await volumes.show(call.principal, id)
      return ok({ metadata: volume.imageMetadata })
    },
  }
}

/** An action without an argument. */
const simple =
  (act: (principal: VolumeCall['principal'], id: string) => Promise<void>): Action =>
  async (call, id) => {
    await act(call.principal, id)
    return accepted()
  }

function reservationActions(reservations: VolumeReservations): Record<string, Action> {
  return {
    'os-reserve': simple(reservations.reserve),
    'os-unreserve': simple(reservations.unreserve),
    'os-begin_detaching': simple(reservations.beginDetaching),
    'os-roll_detaching': simple(reservations.rollDetaching),
    'os-attach': async (call, id, value) => {
      const asked = parsers.attach(value)
      const serverId = asked.instance_uuid ?? null
      const hostName = asked.host_name ?? null
      if (serverId === null && hostName === null) {
        throw new DomainError('invalid', 'os-attach needs instance_uuid or host_name.')
      }
      await reservations.attach(call.principal, id, {
        serverId,
        hostName,
        mountpoint: asked.mountpoint,
        mode: asked.mode ?? 'rw',
      })
      return accepted()
    },
    'os-detach': async (call, id, value) => {
      await reservations.detach(call.principal, id, parsers.detach(value).attachment_id ?? null)
      return accepted()
    },
    'os-force_detach': async (call, id, value) => {
      await reservations.forceDetach(call.principal, id, parsers.detach(value).attachment_id ?? null)
      return accepted()
    },
    'os-initialize_connection': async (call, id, value) => {
      const { connector } = parsers.connection(value)
      const info = await reservations.initializeConnection(call.principal, id, connector)
      return ok({ connection_info: info })
    },
    'os-terminate_connection': simple(reservations.terminateConnection),
  }
}
