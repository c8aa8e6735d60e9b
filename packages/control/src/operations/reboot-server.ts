import { operation } from '@volant/saga'
import type { VmState } from '../domain/server.ts'
import { callerOf } from './caller.ts'
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

export interface RebootServerInput extends ServerAction {
  /** Its task state is `rebooting` or `rebooting_hard`. */
  serverId: string
  how: 'soft' | 'hard'
  /** What it was in before. */
  from: VmState
}

/** Reboots a server; hard, it also brings one back whose guest is gone, stopped or paused. */
export const rebootServer = operation<RebootServerInput, GuestPorts>('server.reboot', { version: 1 })
  .holds((input) => [`server/${input.serverId}`])

  // A guest that was reset cannot be brought back as it was, so there is nothing to undo but the claim.
  .step('rebootGuest', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { op, input, ports } = context
        const server = await ports.servers.get(input.serverId)
        const compute = computeOf(ports, server)
        const guest = await compute.guestStatus(input.serverId)
        if (guest.state === 'absent' || guest.state === 'stopped') {
          await ensureGuestRuns(ports, op, server)
          return null
        }
        await compute.rebootGuest(callerOf(op), input.serverId, input.how)
        if (guest.state === 'paused') await compute.ensureGuestPaused(callerOf(op), input.serverId, false)
        return null
      }),
    undo: ({ input, ports, now }) => recordUnchanged(ports, input, now()),
  })

  .step('recordActive', {
    do: async ({ input, ports, now }) => {
      await recordDone(ports, input, now(), runningFields)
      return null
    },
    // Where its guest runs all the same, the watch over guests sees it.
    undo: ({ input, ports }) =>
      ports.servers.update(input.serverId, {
        vmState: input.from,
        taskState: input.how === 'hard' ? 'rebooting_hard' : 'rebooting',
      }),
  })
