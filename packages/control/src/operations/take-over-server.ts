/**
 * # A server of a host that is given up goes on at another
 *
 *     reserveDestination → fence → openHeads → ARRIVE → startGuest
 *
 *     may write:  ── old host ──┃── nobody ──────────────────┃── destination ──
 *                             proved                      one transaction
 *
 * A part of `server.evacuate`, which makes way for it. Nothing is opened at the destination before the fence is proved, and
 * nothing gets around the fence. Undone, the server stays where it was, and fenced: who may have been alive all along has
 * lost its access, and gets it back when the host answers again (reconcile/returned-host.ts). docs/protocol/evacuation.md
 */
import { isDomainError, messageOf } from '@volant/contract'
import { final, nothingToUndo, operation } from '@volant/saga'
import { setTimeout as sleep } from 'node:timers/promises'
import { powerStates } from '../domain/server.ts'
import type { Attachment } from '../domain/volume.ts'
import type { Destinations } from '../ports/destinations.ts'
import type { ServerMigrationRecords, ServerMoves } from '../ports/server-migrations.ts'
import { callerOf } from './caller.ts'
import { fenceServer, type FencePorts } from './fence.ts'
import { ensureGuestRuns, faultOf, type GuestPorts } from './guest.ts'
import { ensureHead, ensureNoHead } from './head.ts'
import { throughRestart } from './patience.ts'

export interface TakeOverServerInput {
  serverId: string
  /** Of all its attachments. */
  volumeIds: string[]
  /** The host that is given up. */
  from: string
  /** An administrator's choice; null: the scheduler's. */
  to: string | null
  /** The guest is not started, whatever it was in. */
  staysStopped: boolean
  /** Its row in the records of migrations. */
  migrationId: string
}

export interface TakeOverServerPorts extends GuestPorts, Omit<FencePorts, 'agents'> {
  attachments: GuestPorts['attachments']
  copies: GuestPorts['copies']
  backend: GuestPorts['backend'] & FencePorts['backend']
  destinations: Pick<Destinations, 'choose'>
  serverMigrations: Pick<ServerMigrationRecords, 'update'>
  moves: ServerMoves
}

/** A destination that has just said yes is asked so often before the server is left stopped there. */
const startAttempts = 3
const startPauseMs = 1000

export const takeOverServer = operation<TakeOverServerInput, TakeOverServerPorts>('server.take-over', {
  version: 1,
})
  .holds(({ serverId, volumeIds }) => [`server/${serverId}`, ...volumeIds.map((id) => `volume/${id}`)])

  .step('reserveDestination', {
    do: async ({ input, ports }) => {
      const { serverId, from, to, migrationId } = input
      const server = await ports.servers.get(serverId)
      const attachments = await ports.attachments.ofServer(serverId)
      if (server.host !== from || attachments.some(({ volumeId }) => !input.volumeIds.includes(volumeId))) {
        throw final(`Instance ${serverId} has changed meanwhile: evacuate it again.`)
      }
      const heads = Object.fromEntries(attachments.map(({ id }) => [id, crypto.randomUUID()]))
      const wasRunning = server.vmState === 'active'
      const { vcpus, memoryMib } = server.flavor
      const host = await ports.destinations.choose({ serverId, ...(to !== null && { host: to }) }, (chosen) =>
        ports.serverMigrations.update(migrationId, {
          ...{ status: 'pre-migrating', destHost: chosen, reserves: chosen, heads },
          ...{ vcpus, memoryMib, wasRunning },
        }),
      )
      return { host, heads, wasRunning }
    },
    undo: ({ input, ports }) => ports.serverMigrations.update(input.migrationId, { reserves: null }),
  })

  .step('fence', {
    do: ({ op, input, ports, now }) => fenceServer(ports, callerOf(op), input.serverId, now()),
    // A guest that lives on there could go on writing: it stays fenced.
    undo: nothingToUndo,
    retry: throughRestart,
  })

  // The destination reaches every volume, or the server stays where it was.
  .step('openHeads', {
    do: async ({ op, input, out, ports }) => {
      for (const head of await headsAt(ports, input, out.reserveDestination)) {
        await ensureHead(ports, callerOf(op), head)
      }
      return null
    },
    undo: async ({ op, input, out, ports, now }) => {
      for (const head of await headsAt(ports, input, out.reserveDestination)) {
        try {
          await ensureNoHead(ports, callerOf(op), head)
        } catch (error) {
          if (!isDomainError(error) || error.code !== 'unavailable') throw error
          // The destination is silent now: its head is fenced in its turn, and removed when it answers.
          const { headId, volumeId, host } = head
          const fencedAt = now().toISOString()
          await ports.fencedHeads.add({ headId, volumeId, serverId: input.serverId, host, fencedAt })
          await ensureNoHead(ports, callerOf(op), head)
        }
      }
    },
    skipUndo: 'the destination keeps an access that nobody uses; the sweep finds it',
    retry: throughRestart,
  })

  .commit('arrive', {
    do: async ({ op, input, out, ports }) => {
      const { host, heads } = out.reserveDestination
      await ports.moves.arrive(
        input.serverId,
        { from: input.from, host, heads, fence: op.fence },
        { vmState: 'stopped', powerState: powerStates.shutdown, fault: null },
        // From here on it is counted where it is.
        { id: input.migrationId, reserves: null },
      )
      return null
    },
    happened: async ({ input, out, ports }) =>
      (await ports.servers.find(input.serverId))?.host === out.reserveDestination.host,
    attempts: 5,
    backoff: '1s',
  })

  // One that can't be started is stopped there, with the reason: it is where it belongs, and can be started by hand.
  .step('startGuest', {
    do: async ({ op, input, out, ports, now, signal }) => {
      if (!out.reserveDestination.wasRunning || input.staysStopped) return { runs: false }
      for (let attempt = 1; ; attempt += 1) {
        try {
          await ensureGuestRuns(ports, op, await ports.servers.get(input.serverId))
          await ports.servers.update(input.serverId, { vmState: 'active', powerState: powerStates.running })
          return { runs: true }
        } catch (error) {
          if (signal.aborted || (isDomainError(error) && error.code === 'staleFence')) throw error
          if (attempt < startAttempts) {
            await sleep(startPauseMs)
            continue
          }
          const reason = `It was evacuated to ${out.reserveDestination.host}, and could not be started there: ${messageOf(error)}`
          await ports.servers.update(input.serverId, { fault: faultOf(new Error(reason), now()) })
          return { runs: false }
        }
      }
    },
  })

type Destination = { host: string; heads: Record<string, string> }

/** The server's attachments as they will be at the destination. */
async function headsAt(
  ports: Pick<TakeOverServerPorts, 'attachments'>,
  { serverId }: TakeOverServerInput,
  { host, heads }: Destination,
): Promise<(Attachment & { host: string })[]> {
  const attachments = await ports.attachments.ofServer(serverId)
  return attachments.flatMap((attachment) => {
    const headId = heads[attachment.id]
    return headId === undefined ? [] : [{ ...attachment, host, headId }]
  })
}
