/**
 * What is left of a live migration that had to end without a host: it did not answer, and the operation kept nobody waiting
 * for it. The records have decided by then, so what is missing is one word:
 *
 * - a guest that stands still where its server is, for its migration was given up: it goes on;
 * - a guest that has arrived where its server is, and was not told to go on: it is told.
 */
import { messageOf, type Caller, type GuestStatus } from '@volant/contract'
import type { Logger } from 'pino'
import type { Server } from '../domain/server.ts'
import { ensureHead, type HeadPorts } from '../operations/head.ts'
import type { Agents } from '../ports/agents.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { ServerRecords } from '../ports/servers.ts'

export interface LeftMigrationPorts extends HeadPorts {
  servers: Pick<ServerRecords, 'find'>
  attachments: Pick<AttachmentRecords, 'ofServer'>
  agents: Pick<Agents, 'holders' | 'compute'>
  engine: Pick<OperationEngine, 'holderOf'>
  log: Logger
}

export async function finishLeftMigrations(
  ports: LeftMigrationPorts,
  caller: Caller,
  host: string,
  guests: readonly GuestStatus[],
): Promise<void> {
  for (const guest of guests) {
    const { serverId, migrationId, state } = guest
    if (migrationId === undefined || (state !== 'incoming' && !standsStill(state))) continue
    const server = await ports.servers.find(serverId)
    if (server === undefined || server.host !== host || !(await isLeft(ports, server, state))) continue
    try {
      await goOn(ports, caller, server, migrationId)
      ports.log.warn(
        { host, server: serverId, migrationId },
        'a guest goes on that a live migration had left',
      )
    } catch (error) {
      // Looked at again in the next round.
      ports.log.warn(
        { host, server: serverId, reason: messageOf(error) },
        'a guest that a live migration had left could not go on yet',
      )
    }
  }
}

/** Its requests may have failed: it was continued while it had no access. */
const standsStill = (state: GuestStatus['state']): boolean =>
  state === 'paused' || state === 'paused-io-error'

/** Nobody works on it, and nobody paused it. */
async function isLeft(
  { engine }: LeftMigrationPorts,
  server: Server,
  state: GuestStatus['state'],
): Promise<boolean> {
  if (server.taskState !== null) return false
  if (state !== 'incoming' && server.vmState !== 'active') return false
  for (const key of ['server', 'server-delete', 'server-evacuate']) {
    if ((await engine.holderOf(`${key}/${server.id}`)) !== undefined) return false
  }
  return true
}

async function goOn(
  ports: LeftMigrationPorts,
  caller: Caller,
  server: Server,
  migrationId: string,
): Promise<void> {
  const agent = ports.agents.compute(server.host as string)
  // The list is older than the records just read.
  const { state } = await agent.guestStatus(server.id)
  if (state !== 'incoming' && !standsStill(state)) return
  for (const attachment of await ports.attachments.ofServer(server.id)) {
    await ensureHead(ports, caller, attachment)
  }
  if (state === 'incoming') {
    await agent.ensureArrived(caller, server.id, migrationId, server.vmState === 'paused')
  } else {
    await agent.ensureMigrationAbandoned(caller, server.id, migrationId)
  }
}
