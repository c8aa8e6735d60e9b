import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { freeDeviceName, maxDisks, requireState, type Server } from '../domain/server.ts'
import { isHidden, type Attachment, type MigrationStatus, type Volume } from '../domain/volume.ts'
import { attachVolume } from '../operations/attach-volume.ts'
import { detachVolume } from '../operations/detach-volume.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import type { InstanceActionRecords, ServerRecords, VolumeClaims } from '../ports/servers.ts'
import { changeableServer, visibleServer } from './server-access.ts'
import { visibleVolume } from './volume-access.ts'

/** Volumes of a server, by the Compute API: the id of an attachment there is the volume's. */
export interface VolumeAttachments {
  list(principal: Principal, serverId: string): Promise<Attachment[]>
  show(principal: Principal, serverId: string, volumeId: string): Promise<Attachment>
  /** Claims the volume and begins the attachment. */
  attach(
    principal: Principal,
    serverId: string,
    request: { volumeId: string; deleteOnTermination: boolean },
    requestId: string,
  ): Promise<Attachment>
  detach(principal: Principal, serverId: string, volumeId: string, requestId: string): Promise<void>
  setDeleteOnTermination(
    principal: Principal,
    serverId: string,
    volumeId: string,
    value: boolean,
  ): Promise<void>
  /** Swapping one volume for another: always refused, with the reason. */
  swap(principal: Principal, serverId: string, volumeId: string): Promise<never>
}

const notMigrating: (MigrationStatus | null)[] = [null, 'success', 'error']
const attachedStates = ['active', 'paused', 'stopped', 'resized'] as const

export function createVolumeAttachments(options: {
  servers: ServerRecords
  volumes: Pick<VolumeRecords, 'find' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer' | 'update' | 'remove'>
  claims: VolumeClaims
  actions: Pick<InstanceActionRecords, 'create'>
  engine: Pick<OperationEngine, 'start'>
  /** Ends the recorded action when its operation has ended. */
  finishes: {
    finishWhenSettled(
      action: { serverId: string; requestId: string; action: string },
      operationId: string,
      volumeId: string,
    ): void
  }
  clock: Clock
}): VolumeAttachments {
  const { servers, volumes, attachments, claims, engine, clock } = options

  const shownOf = async (serverId: string): Promise<Attachment[]> =>
    (await attachments.ofServer(serverId)).filter((row) => !isHidden(row))
  const attachmentOf = async (serverId: string, volumeId: string): Promise<Attachment> => {
    const found = (await shownOf(serverId)).find((row) => row.volumeId === volumeId)
    if (found !== undefined) return found
    throw new DomainError('notFound', `Instance ${serverId} is not attached to volume ${volumeId}`)
  }

  const recordAction = async (
    who: { principal: Principal; requestId: string },
    server: Server,
    action: string,
    operationId: string,
    volumeId: string,
  ): Promise<void> => {
    const at = clock.now().toISOString()
    await options.actions.create({
      requestId: who.requestId,
      serverId: server.id,
      action,
      userId: who.principal.userId,
      projectId: who.principal.projectId ?? server.projectId,
      operationId,
      startedAt: at,
      finishedAt: null,
      result: null,
      message: null,
      host: server.host,
    })
    options.finishes.finishWhenSettled(
      { serverId: server.id, requestId: who.requestId, action },
      operationId,
      volumeId,
    )
  }

  return {
    async list(principal, serverId) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-volumes-attachments:index', 'reader', server.projectId)
      return shownOf(serverId)
    },
    async show(principal, serverId, volumeId) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-volumes-attachments:show', 'reader', server.projectId)
      return attachmentOf(serverId, volumeId)
    },
    async attach(principal, serverId, request, requestId) {
      const policy = 'os_compute_api:os-volumes-attachments:create'
      const server = await changeableServer(servers, principal, serverId, policy)
      requireState(server, 'attach_volume', attachedStates)
      const volume = await visibleVolume(volumes, principal, request.volumeId)
      const row = await claimForAttach(server, volume, request.deleteOnTermination)
      try {
        await requireStill(server, 'attach_volume')
        const input = {
          attachmentId: row.id,
          volumeId: volume.id,
          serverId,
          host: server.host as string,
        }
        const { id } = await engine.start(attachVolume, input)
        await recordAction({ principal, requestId }, server, 'attach_volume', id, volume.id)
      } catch (error) {
        await attachments.remove(row.id)
        await volumes.updateIf(volume.id, { status: ['attaching'] }, { status: 'available' })
        throw error
      }
      return row
    },
    async detach(principal, serverId, volumeId, requestId) {
      const policy = 'os_compute_api:os-volumes-attachments:delete'
      const server = await changeableServer(servers, principal, serverId, policy)
      const volume = await visibleVolume(volumes, principal, volumeId)
      const row = await attachmentOf(serverId, volumeId)
      if (row.bootIndex === 0) {
        throw new DomainError('invalid', 'Cannot detach a root device volume')
      }
      requireState(server, 'detach_volume', attachedStates)
      await claimForDetach(volume, row)
      try {
        await requireStill(server, 'detach_volume')
        const { id } = await engine.start(detachVolume, { attachmentId: row.id, volumeId, serverId })
        await recordAction({ principal, requestId }, server, 'detach_volume', id, volumeId)
      } catch (error) {
        await attachments.update(row.id, { status: row.status })
        await volumes.updateIf(volumeId, { status: ['detaching'] }, { status: 'in-use' })
        throw error
      }
    },
    async setDeleteOnTermination(principal, serverId, volumeId, value) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-volumes-attachments:update', 'member', server.projectId)
      const row = await attachmentOf(serverId, volumeId)
      await attachments.update(row.id, { deleteOnTermination: value })
    },
    async swap(principal, serverId, volumeId) {
      await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-volumes-attachments:swap', 'admin')
      throw new DomainError(
        'conflict',
        `Volume ${volumeId} is not swapped by this API, which only the block storage service may call ` +
          '(OSSN-0094). Use "cinder migrate VOLUME HOST@BACKEND#POOL", also while the volume is in use.',
      )
    },
  }

  /** A live migration that was asked for meanwhile sees the claim, or is seen here: never neither. */
  async function requireStill(server: Server, action: string): Promise<void> {
    const now = (await servers.find(server.id)) ?? server
    requireState(now, action, attachedStates)
    if (now.host !== server.host) {
      throw new DomainError('conflict', `Instance ${server.id} has just come to ${now.host}: ask again.`)
    }
  }

  async function claimForAttach(server: Server, volume: Volume, doomed: boolean): Promise<Attachment> {
    const others = await attachments.ofServer(server.id)
    if (others.filter((row) => !isHidden(row)).length >= maxDisks - 1) {
      throw new DomainError('forbidden', 'The maximum allowed number of disk devices (26) to attach exceeded')
    }
    if (server.host === null) {
      throw new DomainError('conflict', `Instance ${server.id} has no compute host; its build failed.`)
    }
    const taken = new Set(others.map(({ mountpoint }) => mountpoint ?? ''))
    if (server.boot.rootDisk !== undefined || !others.some(({ bootIndex }) => bootIndex === 0)) {
      taken.add('/dev/vda')
    }
    const id = crypto.randomUUID()
    const row: Attachment = {
      id,
      headId: id,
      volumeId: volume.id,
      serverId: server.id,
      projectId: server.projectId,
      host: server.host,
      status: 'attaching',
      shareId: null,
      rootOf: null,
      attachMode: 'rw',
      mountpoint: freeDeviceName(taken) ?? null,
      bootIndex: null,
      deleteOnTermination: doomed,
      connector: null,
      attachedAt: null,
      createdAt: clock.now().toISOString(),
    }
    if (await claims.attach(row)) return row
    throw notAvailable((await volumes.find(volume.id)) ?? volume)
  }

  async function claimForDetach(volume: Volume, row: Attachment): Promise<void> {
    if (row.status !== 'attached' && row.status !== 'error_detaching') {
      throw new DomainError(
        'conflict',
        `Volume ${volume.id} cannot be detached while its attachment is ${row.status}.`,
      )
    }
    if (!(await claims.detach(row))) {
      const now = (await volumes.find(volume.id)) ?? volume
      if (!notMigrating.includes(now.migrationStatus)) {
        throw new DomainError(
          'conflict',
          `Volume ${volume.id} is being migrated and cannot be detached until that has ended, or is cancelled.`,
        )
      }
      throw new DomainError(
        'invalid',
        `Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be ` +
          `'attached' to detach. Currently: status: '${now.status}', attach_status: '${row.status}'.`,
      )
    }
  }
}

function notAvailable(volume: Volume): DomainError {
  if (volume.status === 'available') {
    return new DomainError(
      'invalid',
      `Invalid volume: volume '${volume.id}' is being migrated and cannot be attached until that has ended.`,
    )
  }
  return new DomainError(
    'invalid',
    `Invalid volume: volume '${volume.id}' status must be 'available'. Currently in '${volume.status}'`,
  )
}
