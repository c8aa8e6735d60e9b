import { operation } from '@volant/saga'
import { powerStates } from '../domain/server.ts'
import { callerOf } from './caller.ts'
import { isBeingEvacuated, unlessGivenUp } from './given-up.ts'
import {
  blaming,
  computeOf,
  recordDone,
  recordUnchanged,
  type GuestPorts,
  type ServerAction,
} from './guest.ts'

export interface PauseServerInput extends ServerAction {
  /** Its task state is `pausing` or `unpausing`. */
  serverId: string
  paused: boolean
}

/** Stops a server's processors, or lets them go on. */
export const pauseServer = operation<PauseServerInput, GuestPorts>('server.pause', { version: 1 })
  .holds((input) => [`server/${input.serverId}`])

  .step('pauseGuest', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { op, input, ports } = context
        const compute = computeOf(ports, await ports.servers.get(input.serverId))
        await compute.ensureGuestPaused(callerOf(op), input.serverId, input.paused)
        return null
      }),
    undo: async ({ op, input, ports, now }) => {
      const server = await ports.servers.find(input.serverId)
      if (server?.host !== null && server !== undefined) {
        await unlessGivenUp(isBeingEvacuated(ports, input.serverId), () =>
          computeOf(ports, server).ensureGuestPaused(callerOf(op), input.serverId, !input.paused),
        )
      }
      await recordUnchanged(ports, input, now())
    },
  })

  .step('recordPaused', {
    do: async ({ input, ports, now }) => {
      await recordDone(ports, input, now(), {
        vmState: input.paused ? 'paused' : 'active',
        powerState: input.paused ? powerStates.paused : powerStates.running,
      })
      return null
    },
    undo: ({ input, ports }) =>
      ports.servers.update(input.serverId, {
        vmState: input.paused ? 'active' : 'paused',
        taskState: input.paused ? 'pausing' : 'unpausing',
        powerState: input.paused ? powerStates.running : powerStates.paused,
      }),
  })
