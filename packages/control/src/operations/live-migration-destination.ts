/** Where a live migration goes: a host that the scheduler has room on, and on which the guest can go on. */
import {
  DomainError,
  isDomainError,
  messageOf,
  type GuestHardware,
  type HypervisorFacts,
} from '@volant/contract'
import { hostRefusal, LiveMigrationRefused } from '../domain/live-migration.ts'
import type { Server } from '../domain/server.ts'
import type { Agents } from '../ports/agents.ts'
import type { DestinationRequest, Destinations } from '../ports/destinations.ts'

export interface DestinationPorts {
  agents: Pick<Agents, 'compute'>
  destinations: Destinations
}

/** What the guest needs of another host to go on there. */
export interface GuestSource {
  facts: HypervisorFacts
  hardware: GuestHardware
}

/** Throws `conflict` where the guest does not run, `unavailable` where its host does not answer. */
export async function guestSourceOf(
  ports: Pick<DestinationPorts, 'agents'>,
  server: Server,
): Promise<GuestSource> {
  if (server.host === null) throw new DomainError('conflict', `Instance ${server.id} has no compute host.`)
  const agent = ports.agents.compute(server.host)
  const [facts, hardware] = await Promise.all([agent.facts(), agent.guestHardware(server.id)])
  return { facts, hardware }
}

/** Why the guest can't go on there, to be read after the host's name. */
export async function refusalAt(
  ports: Pick<DestinationPorts, 'agents'>,
  server: Server,
  source: GuestSource,
  host: string,
): Promise<{ reason: string; passing: boolean } | undefined> {
  try {
    return hostRefusal(server, source, await ports.agents.compute(host).facts())
  } catch (error) {
    if (!isDomainError(error) || error.code !== 'unavailable') throw error
    return { reason: `does not answer: ${messageOf(error)}`, passing: true }
  }
}

/**
 * Chooses a destination, and has room held back on it by `store`, which may be called again with another one. Throws
 * `LiveMigrationRefused` with the reason of each host.
 */
export async function chooseDestination(
  ports: DestinationPorts,
  server: Server,
  source: GuestSource,
  request: Omit<DestinationRequest, 'serverId' | 'flavor'>,
  store: (host: string) => Promise<void>,
): Promise<string> {
  const refused: { host: string; reason: string; passing: boolean }[] = []
  for (;;) {
    const except = [...(request.except ?? []), ...refused.map(({ host }) => host)]
    const host = await choose(ports, { ...request, serverId: server.id, except }, store, refused)
    const refusal = await refusalAt(ports, server, source, host)
    if (refusal === undefined) return host
    refused.push({ host, ...refusal })
    if (request.host !== undefined) throw noValidHost(refused, '')
  }
}

async function choose(
  ports: DestinationPorts,
  request: DestinationRequest,
  store: (host: string) => Promise<void>,
  refused: readonly { host: string; reason: string; passing: boolean }[],
): Promise<string> {
  try {
    return await ports.destinations.choose(request, store)
  } catch (error) {
    if (!isDomainError(error) || error.code !== 'invalid') throw error
    throw noValidHost(refused, error.message.replace(/^No valid host was found\.\s*/, ''))
  }
}

/** With Nova's words. What the scheduler says passes: room, a host that is down or disabled. */
export function noValidHost(
  refused: readonly { host: string; reason: string; passing: boolean }[],
  others: string,
): LiveMigrationRefused {
  const reasons = refused.map(({ host, reason }) => `${host} ${reason}.`)
  const text = ['No valid host was found.', ...reasons, others].filter((part) => part !== '').join(' ')
  return new LiveMigrationRefused('invalid', text, others !== '' || refused.some(({ passing }) => passing))
}
