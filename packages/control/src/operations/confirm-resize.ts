import { operation } from '@volant/saga'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import { finishAction, type GuestPorts, type ServerAction } from './guest.ts'
import { confirmedState } from './resize-server.ts'

export interface ConfirmResizeInput extends ServerAction {
  /** Its state is `resized`. */
  serverId: string
  /** Its status is `confirming`. */
  migrationId: string
}

export interface ConfirmResizePorts extends Pick<GuestPorts, 'servers' | 'actions'> {
  serverMigrations: Pick<ServerMigrationRecords, 'get' | 'update' | 'updateIf'>
}

/** Ends a resize: the server stays, and the room that was held back where it came from is free. */
export const confirmResize = operation<ConfirmResizeInput, ConfirmResizePorts>('server.confirm-resize', {
  version: 1,
})
  .holds((input) => [`server/${input.serverId}`])

  .step('claimServer', {
    do: () => null,
    undo: async ({ input, ports, now }) => {
      await ports.servers.updateIf(
        input.serverId,
        { vmStates: ['active', 'stopped'] },
        { vmState: 'resized' },
      )
      await ports.serverMigrations.updateIf(input.migrationId, ['confirming'], { status: 'finished' })
      await finishAction(ports, input, now(), 'The operation was cancelled.')
    },
  })

  .commit('recordConfirmed', {
    do: async ({ input, ports }) => {
      const { powerState } = await ports.servers.get(input.serverId)
      const vmState = confirmedState(powerState)
      await ports.servers.updateIf(input.serverId, { vmStates: ['resized'] }, { vmState })
      await ports.serverMigrations.update(input.migrationId, { status: 'confirmed', reserves: null })
      return null
    },
    happened: async ({ input, ports }) =>
      (await ports.serverMigrations.get(input.migrationId)).status === 'confirmed',
  })

  .step('endAction', {
    do: async ({ input, ports, now }) => {
      await finishAction(ports, input, now(), null)
      return null
    },
  })
