/**
 * What is left of a live migration that had to end without a host: it did not answer, and the operation kept nobody waiting
 * for it. The records have decided by then, so what is missing is one word:
 *
 * - a guest whose migration from here was given up: it is abandoned. The guest goes on where it stands still, unless its user
 *   paused it, and may be changed again;
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
    const { serverId, migrationId } = guest
    if (migrationId === undefined || !isUnfinished(guest)) continue
    const server = await ports.servers.find(serverId)
    if (server === undefined || server.host !== host || !(await isLeft(ports, server, guest))) continue
    try {
      if (!(await goOn(ports, caller, server, migrationId))) continue
      ports.log.warn(
        { host, server: serverId, migrationId },
        'what a live migration had left of a guest was ended',
      )
    } catch (error) {
      // Looked at again in the next round.
      ports.log.warn(
        { host, server: serverId, reason: messageOf(error) },
        'what a live migration had left of a guest could not be ended yet',
      )
    }
  }
}

/** The last: its agent ended after it had written down that the guest goes on here. */
const isUnfinished = ({ isLeaving, state, reason }: GuestStatus): boolean =>
  isLeaving === true || state === 'incoming' || (state === 'paused' && reason === undefined)

/** Nobody works on it, and nobody paused it. */
async function isLeft(
  { engine }: LeftMigrationPorts,
  server: Server,
  { isLeaving, state }: GuestStatus,
): Promise<boolean> {
  if (server.taskState !== null) return false
  if (isLeaving !== true && state === 'paused' && server.vmState !== 'active') return false
  for (const key of ['server', 'server-delete', 'server-evacuate']) {
    if ((await engine.holderOf(`${key}/${server.id}`)) !== undefined) return false
  }
  return true
}

/** False where it was ended meanwhile, or its user's pause is what it stands still for. */
async function goOn(
  ports: LeftMigrationPorts,
  caller: Caller,
  server: Server,
  migrationId: string,
): Promise<boolean> {
  const agent = ports.agents.compute(server.host as string)
  // The list is older than the records just read.
  const seen = await agent.guestStatus(server.id)
  if (seen.migrationId !== migrationId || !isUnfinished(seen)) return false
  for (const attachment of await ports.attachments.ofServer(server.id)) {
    await ensureHead(ports, caller, attachment)
  }
  if (seen.isLeaving === true) {
    await agent.ensureMigrationAbandoned(caller, server.id, migrationId)
    return true
  }
  await agent.ensureArrived(caller, server.id, migrationId, server.vmState === 'paused')
  return (await agent.guestStatus(server.id)).state !== seen.state
}
