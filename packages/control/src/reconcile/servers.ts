import type { Logger } from 'pino'
import { unfinishedMigrations, type ServerMigration } from '../domain/server-migration.ts'
import type { Server } from '../domain/server.ts'
import type { Attachment } from '../domain/volume.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { InstanceAction, InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import type { VolumeRemover } from '../ports/volumes.ts'

export interface ServerRecovery {
  /** After a start: servers whose request was cut short before its operation was recorded, and unfinished actions. */
  recover(): Promise<void>
  /** Ends the action of an attachment or detachment when its operation has ended. Returns at once. */
  finishWhenSettled(
    action: Pick<InstanceAction, 'serverId' | 'requestId' | 'action'>,
    operationId: string,
    volumeId: string,
  ): void
}

export function createServerRecovery(options: {
  servers: Pick<ServerRecords, 'onHost' | 'updateIf' | 'attachmentsOf'>
  serverMigrations: Pick<ServerMigrationRecords, 'list' | 'updateIf'>
  actions: Pick<InstanceActionRecords, 'finish' | 'unfinished' | 'ofServer'>
  volumes: Pick<VolumeRecords, 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer' | 'update' | 'remove'>
  remover: VolumeRemover
  engine: Pick<OperationEngine, 'holderOf' | 'settled'>
  clock: Clock
  log: Logger
}): ServerRecovery {
  const { servers, actions, volumes, attachments, remover, engine, clock, log } = options
  const startedAt = clock.now().toISOString()

  async function finish(
    action: Pick<InstanceAction, 'serverId' | 'requestId' | 'action'>,
    operationId: string,
    volumeId?: string,
  ): Promise<void> {
    await engine.settled(operationId)
    const rows = await attachments.ofServer(action.serverId)
    const status = rows.find((row) => row.volumeId === volumeId)?.status
    const attaches = action.action === 'attach_volume'
    const done =
      volumeId === undefined ||
      (attaches ? status === 'attached' || status === 'detaching' : status === undefined)
    await end(action, done ? null : `The operation ${operationId} did not succeed; it says why.`)
  }

  const end = (
    action: Pick<InstanceAction, 'serverId' | 'requestId'>,
    failure: string | null,
  ): Promise<void> =>
    actions.finish(action, {
      finishedAt: clock.now().toISOString(),
      result: failure === null ? 'Success' : 'Error',
      message: failure,
    })

  const isIdle = async (...keys: string[]): Promise<boolean> => {
    for (const key of keys) if ((await engine.holderOf(key)) !== undefined) return false
    return true
  }

  /** Claims that no operation stands behind are given back. */
  async function recoverVolumes(server: Server, rows: readonly Attachment[]): Promise<void> {
    for (const row of rows) {
      if (!(await isIdle(`volume/${row.volumeId}`))) continue
      if (row.status === 'attaching') {
        await attachments.remove(row.id)
        await volumes.updateIf(row.volumeId, { status: ['attaching'] }, { status: 'available' })
        if (server.launchedAt === null && row.deleteOnTermination) await remover.removeVolume(row.volumeId)
      } else if (row.status === 'detaching') {
        await volumes.updateIf(row.volumeId, { status: ['detaching'] }, { status: 'in-use' })
        await attachments.update(row.id, { status: 'attached' })
      }
    }
  }

  async function recoverTask(server: Server): Promise<void> {
    if (server.taskState === null) return
    const fault = {
      code: 500,
      message: 'The control plane stopped before the request was recorded. Nothing was done.',
      details: null,
      created: clock.now().toISOString(),
    }
    await servers.updateIf(
      server.id,
      { vmStates: [server.vmState], taskStates: [server.taskState] },
      { taskState: null, ...(server.vmState === 'building' ? { vmState: 'error', fault } : {}) },
    )
    for (const action of await actions.ofServer(server.id)) {
      if (action.finishedAt === null && action.operationId === null) await end(action, fault.message)
    }
    log.warn({ server: server.id, taskState: server.taskState }, 'a request was cut short by a stop')
  }

  async function recoverServers(): Promise<void> {
    const all = await servers.onHost()
    const rows = await servers.attachmentsOf(all.map(({ id }) => id))
    for (const server of all) {
      const claims = (rows.get(server.id) ?? []).some(
        ({ status }) => status === 'attaching' || status === 'detaching',
      )
      if (server.taskState === null && !claims) continue
      if (!(await isIdle(`server/${server.id}`, `server-delete/${server.id}`))) continue
      await recoverVolumes(server, rows.get(server.id) ?? [])
      await recoverTask(server)
    }
  }

  /** Room is held back only for a server that is on its way, or may come back. */
  async function recoverMigrations(): Promise<void> {
    const unfinished = await options.serverMigrations.list({ statuses: unfinishedMigrations })
    const states = new Map((await servers.onHost()).map(({ id, vmState }) => [id, vmState]))
    for (const migration of unfinished) {
      const { id, serverId, status, updatedAt } = migration
      // Operations that go on after a start may have begun one since.
      if (updatedAt >= startedAt) continue
      if (!(await isIdle(`server/${serverId}`, `server-delete/${serverId}`))) continue
      const fields = endOf(migration, states.get(serverId) === 'resized')
      if (fields.status === status) continue
      await options.serverMigrations.updateIf(id, [status], fields)
      log.warn({ server: serverId, migration: id, ...fields }, 'a migration had no operation any more')
    }
  }

  return {
    finishWhenSettled(action, operationId, volumeId) {
      finish(action, operationId, volumeId).catch((error: unknown) => {
        log.warn({ err: error, operationId }, 'the end of an action could not be recorded')
      })
    },
    async recover() {
      await recoverServers()
      await recoverMigrations()
      for (const action of await actions.unfinished()) {
        if (action.operationId === null || !action.action.endsWith('_volume')) continue
        finish(action, action.operationId).catch((error: unknown) => {
          log.warn(
            { err: error, operationId: action.operationId },
            'the end of an action could not be recorded',
          )
        })
      }
    },
  }
}

/** What becomes of a migration that no operation stands behind: a resize waits for somebody to confirm or revert it. */
function endOf(
  { kind, status }: ServerMigration,
  isResized: boolean,
): Pick<ServerMigration, 'status'> & Partial<ServerMigration> {
  const waits = status === 'finished' || status === 'confirming' || status === 'reverting'
  if (waits) return isResized ? { status: 'finished' } : { status: 'confirmed', reserves: null }
  return {
    status: kind === 'evacuation' ? 'failed' : 'error',
    reserves: null,
    message: 'The control plane stopped before the request was recorded.',
  }
}
