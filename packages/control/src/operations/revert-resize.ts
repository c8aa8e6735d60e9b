import { operation } from '@volant/saga'
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
  stopThere,
  whyNot,
  type ColdMoveInput,
  type ColdMovePorts,
} from './cold-move.ts'
import { blaming, finishAction } from './guest.ts'

/**
 * Takes a resized server back to the host and the flavor that it had, the same way. The server's task state is
 * `resize_reverting`, the migration is `reverting` and holds room back at the host that it comes from.
 */
export const revertResize = operation<ColdMoveInput, ColdMovePorts>('server.revert-resize', { version: 1 })
  .holds(movedKeys)

  .step('claimServer', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        await requireSameAttachments(context)
        return null
      }),
    // The last to be undone: it is to be confirmed, or reverted, as before.
    undo: async (context) => {
      const { input, ports, now } = context
      const { serverId, migrationId } = input
      await ports.serverMigrations.updateIf(migrationId, ['reverting', 'reverted'], { status: 'finished' })
      const server = await ports.servers.find(serverId)
      if (server === undefined) return
      const { powerState } = restingFields(input.ran)
      await ports.servers.update(serverId, { vmState: 'resized', powerState })
      await ports.servers.updateIf(serverId, { taskStates: moveTasks }, { taskState: null })
      await finishAction(ports, input, now(), whyNot(context, server))
    },
  })

  .step('stopGuest', { do: stopThere, undo: runAgainThere, retry: moveRetry })

  .step('closeHeads', { do: leave, undo: comeBack, retry: moveRetry })

  .step('arrive', {
    do: async (context) => {
      const { oldFlavor, newFlavor } = await context.ports.serverMigrations.get(context.input.migrationId)
      // Until it runs there, it may have to come back.
      const { vcpus, memoryMib } = newFlavor
      return arrive(context, oldFlavor, { reserves: context.input.from, vcpus, memoryMib })
    },
    undo: async (context) => {
      const { oldFlavor, newFlavor } = await context.ports.serverMigrations.get(context.input.migrationId)
      const { vcpus, memoryMib } = oldFlavor
      await departAgain(context, newFlavor, { reserves: context.input.to, vcpus, memoryMib })
    },
  })

  .step('startGuest', { do: settleThere, undo: leaveAgain, retry: moveRetry })

  .commit('recordReverted', {
    do: async ({ input, ports }) => {
      await ports.servers.update(input.serverId, { ...restingFields(input.runs), fault: null })
      await ports.serverMigrations.update(input.migrationId, { status: 'reverted', reserves: null })
      return null
    },
    happened: async ({ input, ports }) =>
      (await ports.serverMigrations.get(input.migrationId)).status === 'reverted',
  })

  .step('endTask', {
    do: async ({ input, ports, now }) => {
      await ports.servers.updateIf(input.serverId, { taskStates: moveTasks }, { taskState: null })
      await finishAction(ports, input, now(), null)
      return null
    },
  })
