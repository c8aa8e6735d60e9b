/**
 * What a compute host finds that answers again after it was given up. Nothing of it is believed, and the scheduler does
 * not use it, before this is done:
 *
 * - a guest of a server that is at another host by the records, or was deleted meanwhile, and that no operation works on,
 *   is a zombie: it is ended at once, with no flush, for its access to storage is closed;
 * - heads that were fenced and are nobody's any more are removed, with what exports they may have left;
 * - heads that were fenced, and whose server is still recorded there, get their access back, and the guest goes on.
 */
import { messageOf, type Caller, type GuestStatus } from '@volant/contract'
import type { Logger } from 'pino'
import { closeToHead, ensureHead, type HeadPorts } from '../operations/head.ts'
import type { Agents } from '../ports/agents.ts'
import type { FencedHead, FencedHeadRecords } from '../ports/fenced-heads.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { ComputeServiceRecords, ServerRecords } from '../ports/servers.ts'

export interface ReturnedHostPorts extends HeadPorts {
  servers: Pick<ServerRecords, 'find' | 'onHost' | 'list'>
  services: Pick<ComputeServiceRecords, 'list'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  fencedHeads: Pick<FencedHeadRecords, 'formerHeadsOf' | 'ofHost' | 'remove'>
  agents: Pick<Agents, 'holders' | 'compute'>
  engine: Pick<OperationEngine, 'holderOf'>
  log: Logger
}

/**
 * Ends the zombies among the guests of a host, then settles its fenced heads. Returns how many zombies there were. Throws
 * where one can't be ended: then the host is not to be used.
 */
export async function settleReturnedHost(
  ports: ReturnedHostPorts,
  caller: Caller,
  host: string,
  guests: readonly GuestStatus[],
): Promise<number> {
  const zombies = await endZombies(ports, caller, host, guests)
  for (const head of await ports.fencedHeads.ofHost(host)) await settleHead(ports, caller, head)
  return zombies
}

async function endZombies(
  ports: ReturnedHostPorts,
  caller: Caller,
  host: string,
  guests: readonly GuestStatus[],
): Promise<number> {
  const atHome = new Set((await ports.servers.onHost(host)).map(({ id }) => id))
  let ended = 0
  for (const { serverId } of guests.filter((guest) => !atHome.has(guest.serverId))) {
    const where = await whereElse(ports, serverId, host)
    if (where === undefined || (await isWorkedOn(ports, `server/${serverId}`, `server-delete/${serverId}`)))
      continue
    const compute = ports.agents.compute(host)
    // The list is older than the records just read.
    const { state } = await compute.guestStatus(serverId)
    if (state === 'absent') continue
    await compute.ensureNoGuest(caller, serverId)
    for (const head of await ports.fencedHeads.formerHeadsOf(serverId)) {
      await removeHead(ports, caller, host, head)
    }
    ended += 1
    ports.log.warn({ host, server: serverId, state, where }, 'a guest that is at another host now was ended')
  }
  return ended
}

/** Where the guest's server is; undefined: here, or nowhere, or it is none of ours, which the sweep tells of. */
async function whereElse(
  { servers }: ReturnedHostPorts,
  serverId: string,
  host: string,
): Promise<string | undefined> {
  const server = await servers.find(serverId)
  if (server !== undefined) return server.host === host || server.host === null ? undefined : server.host
  const page = { sort: [{ key: 'id', descending: false }], limit: 1 } as const
  const deleted = await servers.list({ ids: [serverId], deleted: true }, { ...page, sort: [...page.sort] })
  return deleted.length > 0 ? 'deleted' : undefined
}

async function isWorkedOn({ engine }: ReturnedHostPorts, ...keys: string[]): Promise<boolean> {
  const holders = await Promise.all(keys.map((key) => engine.holderOf(key)))
  return holders.some((holder) => holder !== undefined)
}

async function settleHead(ports: ReturnedHostPorts, caller: Caller, head: FencedHead): Promise<void> {
  const { headId, volumeId, serverId, host } = head
  const own = (await ports.attachments.ofVolume(volumeId)).find((one) => one.headId === headId)
  if (own === undefined) {
    await removeHead(ports, caller, host, head)
    await ports.fencedHeads.remove(head)
    return
  }
  const keys = [`volume/${volumeId}`, `server/${serverId}`, `server-evacuate/${serverId}`]
  if ((await isForcedDown(ports, host)) || (await isWorkedOn(ports, ...keys))) return
  // Not one that was fenced anew since it was read.
  if (!(await ports.fencedHeads.remove(head))) return
  ports.log.info({ host, server: serverId, volume: volumeId }, 'a head has access again: its host is back')
  await ensureHead(ports, caller, own).catch((error: unknown) => {
    // It is tried again: reconcile/heads.ts.
    ports.log.warn(
      { host, volume: volumeId, reason: messageOf(error) },
      'the head could not be brought back yet',
    )
  })
}

/** With what access it may still have. */
async function removeHead(
  ports: ReturnedHostPorts,
  caller: Caller,
  host: string,
  { headId, volumeId }: Pick<FencedHead, 'headId' | 'volumeId'>,
): Promise<void> {
  const machine = ports.places.machineOfHost(host)
  await ports.agents.holders(machine).ensureNoHolder(caller, headId)
  await closeToHead(ports, caller, volumeId, machine, headId)
}

async function isForcedDown({ services }: ReturnedHostPorts, host: string): Promise<boolean> {
  return (await services.list()).some(
    (one) => one.binary === 'nova-compute' && one.host === host && one.forcedDown,
  )
}
