import { operation } from '@volant/saga'
import { powerStates } from '../domain/server.ts'
import { callerOf } from './caller.ts'
import { isBeingEvacuated, unlessGivenUp } from './given-up.ts'
import {
  blaming,
  computeOf,
  ensureGuestRuns,
  recordDone,
  recordUnchanged,
  runningFields,
  type GuestPorts,
  type ServerAction,
} from './guest.ts'

export interface StartServerInput extends ServerAction {
  /** Its task state is `powering-on`. */
  serverId: string
}

/** Powers a stopped server on, with all of its volumes. */
export const startServer = operation<StartServerInput, GuestPorts>('server.start', { version: 1 })
  .holds((input) => [`server/${input.serverId}`])

  .step('startGuest', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { op, input, ports } = context
        await ensureGuestRuns(ports, op, await ports.servers.get(input.serverId))
        return null
      }),
    undo: async ({ op, input, ports, now }) => {
      const server = await ports.servers.find(input.serverId)
      if (server !== undefined) {
        await unlessGivenUp(isBeingEvacuated(ports, input.serverId), () =>
          computeOf(ports, server).ensureGuestStopped(callerOf(op), input.serverId, 0),
        )
      }
      await recordUnchanged(ports, input, now())
    },
  })

  .step('recordActive', {
    do: async ({ input, ports, now }) => {
      await recordDone(ports, input, now(), runningFields)
      return null
    },
    undo: ({ input, ports }) =>
      ports.servers.update(input.serverId, {
        vmState: 'stopped',
        taskState: 'powering-on',
        powerState: powerStates.shutdown,
      }),
  })
