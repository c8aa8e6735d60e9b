import { operation } from '@volant/saga'
import { powerStates } from '../domain/server.ts'
import {
  arrive,
  comeBack,
  departAgain,
  leave,
  leaveAgain,
  moveRetry,
  movedKeys,
  moveTasks,
  requireSameAttachments,
  restingFields,
  runAgainThere,
  settleThere,
  showTask,
  stopThere,
  whyNot,
  type ColdMoveInput,
  type ColdMovePorts,
} from './cold-move.ts'
import type { CopyRecords, VolumeRecords } from '../ports/records.ts'
import { blaming, finishAction } from './guest.ts'
import { growRootDisk, requireRootDiskRoom, settleRootDisk, type RootDiskPorts } from './root-disk.ts'

/**
 * The server's task state is `resize_prep`; the row of its migration is there, `pre-migrating`, and holds room back at
 * the destination.
 */
export interface ResizeServerInput extends ColdMoveInput {
  /** Nobody is asked to confirm. */
  confirm: boolean
}

export interface ResizeServerPorts extends ColdMovePorts, RootDiskPorts {
  volumes: Pick<VolumeRecords, 'get' | 'update'>
  copies: Pick<CopyRecords, 'get' | 'ofVolume' | 'update'>
  backend: ColdMovePorts['backend'] & RootDiskPorts['backend']
  attachments: ColdMovePorts['attachments']
}

/**
 * Moves a server to another compute host while it is powered off, with another flavor or its own: Nova's cold migration
 * and resize. Until it is recorded that it has come, everything is undone by starting it where it was.
 */
export const resizeServer = operation<ResizeServerInput, ResizeServerPorts>('server.resize', { version: 1 })
  .holds(movedKeys)

  .step('claimServer', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        await requireSameAttachments(context)
        const { input, ports } = context
        const { newFlavor } = await ports.serverMigrations.get(input.migrationId)
        await requireRootDiskRoom(ports, input.serverId, newFlavor.diskGib)
        return null
      }),
    // The last to be undone.
    undo: async (context) => {
      const { input, ports, now } = context
      const { serverId, migrationId } = input
      const server = await ports.servers.find(serverId)
      const message = whyNot(context, server)
      await ports.serverMigrations.update(migrationId, { status: 'error', reserves: null, message })
      if (server === undefined) return
      await ports.servers.update(serverId, restingFields(input.ran))
      await ports.servers.updateIf(serverId, { taskStates: moveTasks }, { taskState: null })
      await finishAction(ports, input, now(), message)
    },
  })

  .step('stopGuest', {
    do: async (context) => {
      await showTask(context, 'resize_migrating')
      await context.ports.serverMigrations.update(context.input.migrationId, { status: 'migrating' })
      return stopThere(context)
    },
    undo: runAgainThere,
    retry: moveRetry,
  })

  // From here on nobody can write to its volumes.
  .step('closeHeads', { do: leave, undo: comeBack, retry: moveRetry })

  .step('arrive', {
    do: async (context) => {
      const migration = await context.ports.serverMigrations.get(context.input.migrationId)
      const { vcpus, memoryMib } = migration.oldFlavor
      // The room at the source is for the way back.
      const held = { reserves: context.input.from, vcpus, memoryMib }
      return arrive(context, migration.newFlavor, { ...held, status: 'post-migrating' })
    },
    undo: async (context) => {
      const migration = await context.ports.serverMigrations.get(context.input.migrationId)
      const { vcpus, memoryMib } = migration.newFlavor
      const held = { reserves: context.input.to, vcpus, memoryMib }
      await departAgain(context, migration.oldFlavor, { ...held, status: 'migrating' })
    },
  })

  .step('startGuest', {
    do: async (context) => {
      await showTask(context, 'resize_finish')
      const { op, input, ports } = context
      await blaming(context, input.serverId, async () => {
        const { newFlavor } = await ports.serverMigrations.get(input.migrationId)
        await growRootDisk(ports, op, input.serverId, newFlavor.diskGib)
      })
      return settleThere(context)
    },
    undo: async (context) => {
      await leaveAgain(context)
      await settleRootDisk(context.ports, context.input.serverId)
    },
    retry: moveRetry,
  })

  // It is where it was to come: whoever wants it back reverts it.
  .commit('recordResized', {
    do: async ({ input, ports }) => {
      const { serverId, migrationId, runs, confirm } = input
      const resting = restingFields(runs)
      await ports.servers.update(serverId, {
        ...resting,
        ...(confirm ? {} : { vmState: 'resized' }),
        fault: null,
      })
      await ports.serverMigrations.update(
        migrationId,
        confirm ? { status: 'confirmed', reserves: null } : { status: 'finished' },
      )
      return null
    },
    happened: async ({ input, ports }) => {
      const { status } = await ports.serverMigrations.get(input.migrationId)
      return status === 'finished' || status === 'confirmed'
    },
  })

  .step('endTask', {
    do: async ({ input, ports, now }) => {
      await ports.servers.updateIf(input.serverId, { taskStates: moveTasks }, { taskState: null })
      await finishAction(ports, input, now(), null)
      return null
    },
  })

/** What a confirmed server is, by what its guest was last seen in. */
export const confirmedState = (powerState: number) =>
  powerState === powerStates.shutdown || powerState === powerStates.crashed ? 'stopped' : 'active'
