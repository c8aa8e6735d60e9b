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

export interface StopServerInput extends ServerAction {
  /** Its task state is `powering-off`. */
  serverId: string
  /** What the guest is given to shut down by itself. Milliseconds. */
  graceMs: number
}

/** Powers a server off. Its volumes stay attached, their heads open, so they can migrate meanwhile. */
export const stopServer = operation<StopServerInput, GuestPorts>('server.stop', { version: 1 })
  .holds((input) => [`server/${input.serverId}`])

  .step('claimServer', {
    do: () => null,
    undo: ({ input, ports, now }) => recordUnchanged(ports, input, now()),
  })

  // A guest that was powered off cannot be brought back as it was.
  .commit('stopGuest', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { op, input, ports } = context
        const server = await ports.servers.get(input.serverId)
        await computeOf(ports, server).ensureGuestStopped(callerOf(op), input.serverId, input.graceMs)
        return null
      }),
    happened: async ({ input, ports }) => {
      const server = await ports.servers.get(input.serverId)
      let isOff = true
      // A host that is given up takes its guest with it: off is what was asked for.
      await unlessGivenUp(isBeingEvacuated(ports, input.serverId), async () => {
        const guest = await computeOf(ports, server).guestStatus(input.serverId)
        isOff = guest.state === 'stopped' || guest.state === 'absent'
      })
      return isOff
    },
    backoff: '1s',
  })

  .step('recordStopped', {
    do: async ({ input, ports, now }) => {
      await recordDone(ports, input, now(), {
        vmState: 'stopped',
        powerState: powerStates.shutdown,
      })
      return null
    },
  })
