import { isDomainError } from '@volant/contract'
import { operation, retryable } from '@volant/saga'
import { givesWay } from '../domain/giving-way.ts'
import { unfinishedMigrations } from '../domain/server-migration.ts'
import { powerStates } from '../domain/server.ts'
import type { MigrationStarter } from '../ports/migrations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { VolumeRemover } from '../ports/volumes.ts'
import { callerOf } from './caller.ts'
import { blaming, finishAction, type GuestPorts, type ServerAction } from './guest.ts'
import { ensureNoHead } from './head.ts'

export interface DeleteServerInput extends ServerAction {
  /** Its task state is `deleting`. */
  serverId: string
}

export interface DeleteServerPorts extends GuestPorts {
  volumes: Pick<VolumeRecords, 'get' | 'find' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer' | 'update' | 'remove'>
  migrations: Pick<MigrationStarter, 'cancelMigration'>
  serverMigrations: Pick<ServerMigrationRecords, 'list' | 'update'>
  /** Other operations on the same server and volumes. */
  engine: Pick<OperationEngine, 'holderOf' | 'cancel'>
  remover: VolumeRemover
}

const migrating = ['starting', 'migrating', 'completing']

/** What is past its point of no return goes on to its end, and is waited for. */
async function ifPossible(cancel: Promise<void>): Promise<void> {
  try {
    await cancel
  } catch (error) {
    if (!isDomainError(error) || !['conflict', 'notFound'].includes(error.code)) throw error
  }
}

/** A resize that nobody confirmed is: what is held back for the way back is free. */
async function endMigrations(
  { serverMigrations }: Pick<DeleteServerPorts, 'serverMigrations'>,
  serverId: string,
): Promise<void> {
  for (const { id, status } of await serverMigrations.list({ serverId, statuses: unfinishedMigrations })) {
    const isToConfirm = ['finished', 'confirming', 'reverting'].includes(status)
    await serverMigrations.update(id, { status: isToConfirm ? 'confirmed' : 'error', reserves: null })
  }
}

/** Deletes a server; what else is under way with it and its volumes is cancelled, or waited for, first. */
export const deleteServer = operation<DeleteServerInput, DeleteServerPorts>('server.delete', { version: 1 })
  .holds((input) => [`server-delete/${input.serverId}`])

  .step('claimServer', {
    do: () => null,
    undo: async ({ input, ports, now }) => {
      const server = await ports.servers.find(input.serverId)
      if (server === undefined) return
      await ports.servers.updateIf(input.serverId, { taskStates: ['deleting'] }, { taskState: null })
      await finishAction(ports, input, now(), server.fault?.message ?? 'The deletion failed.')
    },
  })

  .wait('otherWorkEnded', {
    every: '200ms',
    timeout: '10m',
    until: async ({ input, ports }) => {
      const holder = await ports.engine.holderOf(`server/${input.serverId}`)
      if (holder === undefined) return { done: true }
      await ifPossible(ports.engine.cancel(holder.id))
      return { done: false, progress: { waitsFor: holder.id, kind: holder.kind } }
    },
  })

  .wait('volumesFree', {
    every: '200ms',
    timeout: '30m',
    until: async ({ input, ports, now }) => {
      for (const attachment of await ports.attachments.ofServer(input.serverId)) {
        const { volumeId } = attachment
        const holder = await ports.engine.holderOf(`volume/${volumeId}`)
        if (holder === undefined) {
          // Its operation may be about to begin.
          const age = now().getTime() - Date.parse(attachment.createdAt)
          if (attachment.status === 'attaching' && Math.abs(age) < 5_000) return { done: false }
          continue
        }
        const volume = await ports.volumes.find(volumeId)
        if (migrating.includes(volume?.migrationStatus ?? '')) {
          await ifPossible(ports.migrations.cancelMigration(volumeId))
        }
        if (givesWay(holder.kind)) await ifPossible(ports.engine.cancel(holder.id))
        return { done: false, progress: { waitsFor: holder.id, kind: holder.kind } }
      }
      return { done: true }
    },
  })

  .step('claimVolumes', {
    // A migration that began since then is cancelled, or waited for, too.
    retry: { attempts: 600, backoff: '500ms' },
    do: async ({ input, ports }) => {
      for (const attachment of await ports.attachments.ofServer(input.serverId)) {
        const { volumeId } = attachment
        const expected = {
          status: ['in-use', 'attaching', 'reserved', 'detaching'],
          migrationStatus: [null, 'success', 'error'],
        } as const
        if (!(await ports.volumes.updateIf(volumeId, expected, { status: 'detaching' }))) {
          const volume = await ports.volumes.find(volumeId)
          if (migrating.includes(volume?.migrationStatus ?? '')) {
            await ifPossible(ports.migrations.cancelMigration(volumeId))
            throw retryable(`Volume ${volumeId} is being migrated.`)
          }
        }
        await ports.attachments.update(attachment.id, { status: 'detaching' })
        const holder = await ports.engine.holderOf(`volume/${volumeId}`)
        if (holder !== undefined && givesWay(holder.kind)) {
          await ifPossible(ports.engine.cancel(holder.id))
          throw retryable(`Volume ${volumeId} is being relocated.`)
        }
      }
      return null
    },
    undo: async ({ input, ports }) => {
      for (const attachment of await ports.attachments.ofServer(input.serverId)) {
        await ports.attachments.update(attachment.id, { status: 'attached' })
        await ports.volumes.updateIf(attachment.volumeId, { status: ['detaching'] }, { status: 'in-use' })
      }
    },
  })

  // A guest that is gone is not brought back.
  .commit('removeGuest', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { op, input, ports } = context
        const { host } = await ports.servers.get(input.serverId)
        if (host !== null) await ports.agents.compute(host).ensureNoGuest(callerOf(op), input.serverId)
        return null
      }),
    happened: async ({ input, ports }) => {
      const server = await ports.servers.find(input.serverId)
      if (server === undefined || server.host === null) return true
      return (await ports.agents.compute(server.host).guestStatus(input.serverId)).state === 'absent'
    },
    attempts: 5,
    backoff: '1s',
  })

  .step('closeHeads', {
    do: async ({ op, input, ports }) => {
      for (const attachment of await ports.attachments.ofServer(input.serverId)) {
        await ensureNoHead(ports, callerOf(op), attachment)
      }
      return null
    },
  })

  // Noted before the attachments are gone, which say so.
  .step('listDoomed', {
    do: async ({ input, ports }) => {
      const doomed: string[] = []
      for (const attachment of await ports.attachments.ofServer(input.serverId)) {
        if (attachment.deleteOnTermination) doomed.push(attachment.volumeId)
      }
      return { doomed }
    },
  })

  .step('releaseVolumes', {
    do: async ({ input, ports }) => {
      for (const attachment of await ports.attachments.ofServer(input.serverId)) {
        await ports.volumes.updateIf(
          attachment.volumeId,
          { status: ['detaching', 'in-use', 'attaching'] },
          { status: 'available' },
        )
        await ports.attachments.remove(attachment.id)
      }
      return null
    },
  })

  .step('removeVolumes', {
    skip: 'the volumes that were to go with the server stay, detached: delete them yourself',
    do: async ({ out, ports }) => {
      for (const volumeId of out.listDoomed.doomed) await ports.remover.removeVolume(volumeId)
      return null
    },
  })

  .step('recordDeleted', {
    do: async ({ input, ports, now }) => {
      const at = now().toISOString()
      await endMigrations(ports, input.serverId)
      await ports.servers.update(input.serverId, {
        vmState: 'deleted',
        taskState: null,
        powerState: powerStates.noState,
        terminatedAt: at,
        deletedAt: at,
      })
      await finishAction(ports, input, now(), null)
      return null
    },
  })
