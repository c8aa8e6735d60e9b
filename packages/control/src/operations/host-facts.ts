/** What a drain and a restore look at, each time anew: which servers there are, where they may go, where there is room. */
import { isDomainError } from '@volant/contract'
import { drainTask, restoreTask, type DrainPolicy } from '../domain/host-drain.ts'
import { largestFirst, roomRefusal, seat, type Passenger, type Room } from '../domain/host-placement.ts'
import { unfinishedMigrations, type ServerMigration } from '../domain/server-migration.ts'
import type { Server } from '../domain/server.ts'
import type { Candidate, DestinationRequest, Destinations } from '../ports/destinations.ts'
import type {
  DrainedServer,
  DrainedServerRecords,
  ServerMigrationRecords,
} from '../ports/server-migrations.ts'
import type { ServerGroupRecords } from '../ports/server-groups.ts'
import type { ServerRecords } from '../ports/servers.ts'
import type { Places, Work } from './host-parts.ts'

export interface HostFactsPorts {
  servers: Pick<ServerRecords, 'onHost' | 'list' | 'find'>
  drained: Pick<DrainedServerRecords, 'ofHome' | 'find' | 'put' | 'remove'>
  migrations: Pick<ServerMigrationRecords, 'list'>
  destinations: Pick<Destinations, 'candidates'>
  groups: Pick<ServerGroupRecords, 'placesFor'>
}

const workOf = (server: Server, task: Work['task']): Work => ({
  id: server.id,
  name: server.name,
  at: server.host ?? '',
  memoryMib: server.flavor.memoryMib,
  vcpus: server.flavor.vcpus,
  task,
})

/** What a drain has to do with the servers on its host. */
export async function drainWorks(
  { servers }: Pick<HostFactsPorts, 'servers'>,
  host: string,
  policy: DrainPolicy,
): Promise<Work[]> {
  return (await servers.onHost(host)).map((server) => workOf(server, drainTask(server, policy)))
}

/** What a restore has to do with the servers that drains took from its host. */
export async function restoreWorks(
  { servers, drained }: Pick<HostFactsPorts, 'servers' | 'drained'>,
  home: string,
): Promise<{ works: Work[]; over: { taken: DrainedServer; reason: string }[] }> {
  const works: Work[] = []
  const over: { taken: DrainedServer; reason: string }[] = []
  for (const taken of await drained.ofHome(home)) {
    const server = await servers.find(taken.serverId)
    const task = restoreTask(server, taken)
    if (server === undefined || task.kind === 'over') {
      over.push({ taken, reason: task.kind === 'over' ? task.reason : 'it was deleted' })
    } else works.push(workOf(server, task))
  }
  return { works, over }
}

/** Hosts to choose from, and what a look may suppose of one of them. */
export interface PlaceWish {
  /** Only these; null: any other. */
  to: readonly string[] | null
  /** As if the service of this host were enabled, or disabled, which it is not yet. */
  supposing?: { host: string; disabled: boolean }
}

/** A place for each server that must leave, such that there is room for as many as possible. */
export async function drainPlaces(
  ports: Pick<HostFactsPorts, 'destinations' | 'groups'>,
  ready: readonly Work[],
  wish: PlaceWish,
  except: (id: string) => Record<string, string> = () => ({}),
): Promise<Places> {
  const rooms = new Map<string, Room>()
  const passengers: Passenger[] = []
  for (const work of ready.filter(leaves)) {
    const candidates = await candidatesFor(ports, {
      serverId: work.id,
      ...(wish.to !== null && { among: wish.to }),
      ...(wish.supposing !== undefined && { supposing: wish.supposing }),
    })
    if (candidates === undefined) continue
    const against = except(work.id)
    const { id, name, memoryMib, vcpus } = work
    const refusals = new Map(candidates.map((one) => [one.host, against[one.host] ?? one.refusal]))
    passengers.push({ id, name, memoryMib, vcpus, ...(await bondsOf(ports, id)), refusals })
    for (const { host, freeMemoryMib, freeVcpus } of candidates) {
      rooms.set(host, { host, freeMemoryMib, freeVcpus })
    }
  }
  const seating = seat(passengers, [...rooms.values()])
  const places: Places = new Map()
  for (const work of ready) {
    const to = leaves(work) ? seating.to.get(work.id) : null
    const reason = seating.stuck.get(work.id) ?? goneReason
    places.set(work.id, to === undefined ? { reason } : { to })
  }
  return places
}

const goneReason = 'it is just being deleted'

/** Undefined: the server was deleted since it was listed. */
async function candidatesFor(
  { destinations }: Pick<HostFactsPorts, 'destinations'>,
  request: DestinationRequest,
): Promise<Candidate[] | undefined> {
  try {
    return await destinations.candidates(request)
  } catch (error) {
    if (isDomainError(error) && error.code === 'notFound') return undefined
    throw error
  }
}

/** What binds servers that leave together to each other; to those elsewhere the scheduler does. */
async function bondsOf(
  { groups }: Pick<HostFactsPorts, 'groups'>,
  serverId: string,
): Promise<Pick<Passenger, 'together' | 'apart'>> {
  const group = await groups.placesFor(serverId)
  if (group === undefined) return { together: null, apart: null }
  const { name, policy, others } = group
  // Names of groups are not unique; their members are.
  const bond = { name, key: [serverId, ...others.map(({ id }) => id)].toSorted()[0] ?? serverId }
  const there = (host: string): number => others.filter(({ hosts }) => hosts.includes(host)).length
  return {
    together: policy === 'affinity' ? bond : null,
    apart: policy === 'anti-affinity' ? { ...bond, atMost: group.maxServerPerHost, there } : null,
  }
}

/** All back to their home, as far as there is room, the largest first. */
export async function restorePlaces(
  ports: Pick<HostFactsPorts, 'destinations'>,
  ready: readonly Work[],
  home: string,
  supposing?: PlaceWish['supposing'],
  except: (id: string) => Record<string, string> = () => ({}),
): Promise<Places> {
  const places: Places = new Map()
  const taken = { memoryMib: 0, vcpus: 0 }
  for (const work of ready.toSorted(largestFirst)) {
    if (!leaves(work)) {
      places.set(work.id, { to: null })
      continue
    }
    const candidates = await candidatesFor(ports, {
      serverId: work.id,
      host: home,
      ...(supposing !== undefined && { supposing }),
    })
    if (candidates === undefined) {
      places.set(work.id, { reason: goneReason })
      continue
    }
    const found = candidates.find(({ host }) => host === home)
    const refusal =
      found === undefined
        ? 'is no compute host'
        : (except(work.id)[home] ??
          found.refusal ??
          roomRefusal(work, {
            freeMemoryMib: found.freeMemoryMib - taken.memoryMib,
            freeVcpus: found.freeVcpus - taken.vcpus,
          }))
    if (refusal !== undefined) places.set(work.id, { reason: `${home} ${refusal}` })
    else {
      taken.memoryMib += work.memoryMib
      taken.vcpus += work.vcpus
      places.set(work.id, { to: home })
    }
  }
  return places
}

/** It goes to another host, or comes from one. */
export const leaves = ({ task }: Pick<Work, 'task'>): boolean =>
  task.kind === 'go' && (task.way === 'live' || task.way === 'cold')

/** Servers that are on their way to each host now, by anybody's wish. */
export async function comingTo({
  migrations,
}: Pick<HostFactsPorts, 'migrations'>): Promise<ReadonlyMap<string, number>> {
  const statuses = unfinishedMigrations.filter((status) => status !== 'finished')
  const all = await migrations.list({ statuses }, { limit: 1000 })
  const coming = all.filter((one) => !hasArrived(one))
  return new Map(
    [...Map.groupBy(coming, ({ destHost }) => destHost ?? '')].map(([host, those]) => [host, those.length]),
  )
}

/** By its commit a live migration needs the room no more that was held back: the server itself takes it. */
const hasArrived = ({ kind, status, reserves }: ServerMigration): boolean =>
  kind === 'live-migration' && status === 'running' && reserves === null

/** All servers with these ids, deleted ones as well, by their ids. */
export async function serversById(
  { servers }: Pick<HostFactsPorts, 'servers'>,
  ids: readonly string[],
): Promise<Map<string, { name: string; host: string | null; memoryMib: number }>> {
  if (ids.length === 0) return new Map()
  const found = await servers.list(
    { ids: [...ids] },
    { sort: [{ key: 'createdAt', descending: true }], limit: ids.length },
  )
  return new Map(found.map(({ id, name, host, flavor }) => [id, { name, host, memoryMib: flavor.memoryMib }]))
}
