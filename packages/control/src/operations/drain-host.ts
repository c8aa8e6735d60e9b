/**
 * # A compute host is emptied
 *
 * Its service is disabled, so that no new servers come; then every server leaves it in its own way, as a part of this
 * operation: live, cold, or stopped where it is. It keeps no list: each look finds out anew who is still there, where there is
 * room, and who is next. So a crash, servers that come, go or are deleted meanwhile, and room that is used up by others
 * need nothing of their own.
 *
 *     observe → disable → emptied (a wait) → judge
 *
 * Before a server's part begins, the record says where it belongs (`drained_servers`): a restore brings it back. What can't
 * leave, or is not to, stays, and the operation ends as failed with the reason for each; the service stays disabled then. It
 * succeeds only where the host's agents say that nothing runs there any more. A cancel begins nothing more and cancels what is
 * under way, which goes back; what has arrived stays there, and the service is as it was before.
 */
import { final, nothingToUndo, operation, retryable } from '@volant/saga'
import { drainedReason, notEmptyReason, type DrainPolicy, type Way } from '../domain/host-drain.ts'
import { hostProgress, stayReasons, type ServerLine } from '../domain/host-progress.ts'
import type { HostOccupants } from '../ports/server-relocations.ts'
import type { ComputeServiceRecords } from '../ports/servers.ts'
import { comingTo, drainPlaces, drainWorks, leaves, serversById, type HostFactsPorts } from './host-facts.ts'
import {
  arrived,
  bringWishes,
  isGoing,
  lineAtEnd,
  lookBack,
  lookOnwards,
  partsByServer,
  progressOf,
  type HostPartsPorts,
  type Parts,
  type Work,
} from './host-parts.ts'
import { computeServiceOf, emptyNote } from './host-service.ts'

export interface DrainHostInput {
  host: string
  /** Of servers that have none of their own. */
  policy: DrainPolicy
  /** Servers under way at once from the host, and to each destination. */
  parallel: number
  /** Only to these hosts; null: any other. */
  to: string[] | null
  by: { userId: string; projectId: string }
}

export interface DrainHostPorts extends HostPartsPorts, HostFactsPorts {
  migrations: HostPartsPorts['migrations'] & HostFactsPorts['migrations']
  services: Pick<ComputeServiceRecords, 'list' | 'update'>
  occupants: HostOccupants
}

export const hostKey = (host: string): string => `host/${host}`

export const drainHost = operation<DrainHostInput, DrainHostPorts>('host.drain', { version: 1 })
  .holds((input) => [hostKey(input.host)])

  .step('observe', {
    do: async ({ input, ports }) => {
      const { disabled } = await computeServiceOf(ports, input.host)
      return { disabled }
    },
    undo: nothingToUndo,
  })

  .step('disable', {
    do: async ({ op, input, out, ports, now }) => {
      // Who disabled it had a reason of his own.
      if (out.observe.disabled) return null
      const { id } = await computeServiceOf(ports, input.host)
      const fields = { disabled: true, disabledReason: drainedReason(op.id) }
      await ports.services.update(id, { ...fields, updatedAt: now().toISOString() })
      await requireOthers(ports, input)
      return null
    },
    undo: async ({ op, input, ports, now }) => {
      const { id, disabled, disabledReason } = await computeServiceOf(ports, input.host)
      const own = [drainedReason(op.id), ...(op.control.cancelRequested ? [notEmptyReason(op.id)] : [])]
      // Another reason was given since, or the rest is an operator's (`judge`).
      if (!disabled || disabledReason === null || !own.includes(disabledReason)) return
      const fields = { disabled: false, disabledReason: null }
      await ports.services.update(id, { ...fields, updatedAt: now().toISOString() })
    },
  })

  // Of a standstill its parts take care, each with bounds of its own; this one is for what they do not see.
  .wait('emptied', {
    every: '1s',
    stallTimeout: '24h',
    until: async ({ op, input, ports, now, progress }) => {
      const brought = { paused: op.control.paused, rate: op.control.rate }
      const [parts, before] = [await partsByServer(ports, op.id), await progressOf(ports, op.id)]
      await bringWishes(ports, before, parts, brought)
      const works = await drainWorks(ports, input.host, input.policy)
      const coming = await comingTo(ports)
      const scene = {
        works,
        parallel: input.parallel,
        by: input.by,
        roomAt: (host: string) => Math.max(0, input.parallel - (coming.get(host) ?? 0)),
        place: (ready: readonly Work[], except: (id: string) => Record<string, string>) =>
          drainPlaces(ports, ready, { to: input.to }, except),
        before: (work: Work, to: string | null, way: Way) =>
          record(ports, op.id, input.host, { work, to, way, at: now() }),
      }
      const lines = await lookOnwards(ports, op, scene, parts, before, now())
      const seen = hostProgress(
        'draining',
        [...lines, ...(await gone(ports, input.host, works, parts))],
        brought,
      )
      progress(seen)
      const done = !seen.servers.some(({ fate }) => fate === 'moving' || fate === 'waiting')
      return { done, progress: seen, advance: [seen.servers, isHeld(parts) ? now().toISOString() : null] }
    },
    back: {
      every: '1s',
      stallTimeout: '1h',
      until: async ({ op, input, ports }) => {
        const look = await lookBack(ports, op.id)
        if (look.done) await forgetThoseAtHome(ports, input.host)
        return look
      },
    },
  })

  .step('judge', {
    retry: { attempts: 10, backoff: { first: '1s', longest: '10s' } },
    do: async ({ op, input, ports, now, progress }) => {
      const before = await progressOf(ports, op.id)
      const works = await drainWorks(ports, input.host, input.policy)
      const staying = works.filter(({ task }) => task.kind !== 'rests')
      const brought = { paused: false, rate: op.control.rate }
      const reasons = new Map((before?.servers ?? []).map((line) => [line.id, line.reason]))
      const parts = await partsByServer(ports, op.id)
      const lines = [
        ...works.map((work) => lineAtEnd(work, reasons.get(work.id) ?? null)),
        ...(await gone(ports, input.host, works, parts)),
      ]
      await markNotEmpty(ports, op.id, input.host, now())
      if (staying.length > 0) {
        const note = `${input.host} is not empty: ${staying.length} of its servers stay`
        progress(hostProgress('draining', lines, brought, note))
        await forgetThoseAtHome(ports, input.host)
        throw final(`${note}.\n${stayReasons(lines)}`)
      }
      const resting = new Set(works.map(({ id }) => id))
      const { left, alsoThere } = await ports.occupants.look(input.host, resting)
      if (left.length > 0) throw retryable(`${input.host} is not empty: ${left.join('; ')}`)
      const note = emptyNote(
        input.host,
        works.map(({ name }) => name),
        alsoThere,
      )
      progress(hostProgress('draining', lines, brought, note))
      await markEmpty(ports, op.id, input.host, now())
      return { note }
    },
    undo: nothingToUndo,
  })

/** Of two drains that begin at the same moment each may have taken the other's host for a refuge. */
async function requireOthers(ports: DrainHostPorts, { host, policy, to }: DrainHostInput): Promise<void> {
  const open = (await ports.services.list()).some(
    (one) =>
      one.binary === 'nova-compute' &&
      one.host !== host &&
      !one.disabled &&
      !one.forcedDown &&
      (to === null || to.includes(one.host)),
  )
  if (open || !(await drainWorks(ports, host, policy)).some(leaves)) return
  throw final(`Servers can't leave compute host ${host}: every other one has been disabled meanwhile.`)
}

const isHeld = (parts: Parts): boolean =>
  [...parts.values()].flat().some((part) => isGoing(part) && part.control.paused)

async function gone(
  ports: HostFactsPorts,
  host: string,
  works: readonly Work[],
  parts: Parts,
): Promise<ServerLine[]> {
  const here = new Set(works.map(({ id }) => id))
  return arrived(parts, here, await serversById(ports, [...parts.keys()]), host)
}

/**
 * Where the server belongs. One that another drain brought here belongs to that host still, as long as that is drained: it
 * goes back there, and not here.
 */
async function record(
  ports: DrainHostPorts,
  operationId: string,
  host: string,
  { work, to, way, at }: { work: Work; to: string | null; way: Way; at: Date },
): Promise<void> {
  if (way === 'start') return
  const server = await ports.servers.find(work.id)
  const earlier = await ports.drained.find(work.id)
  const isGuest =
    earlier !== undefined &&
    earlier.home !== host &&
    earlier.broughtTo === host &&
    (await computeServiceOf(ports, earlier.home)).disabled
  const wasRunning = server?.vmState !== 'stopped'
  // Of one that this host stopped before, the drain before knows more.
  const same = earlier !== undefined && earlier.home === host && earlier.how === 'stop' && !wasRunning
  await ports.drained.put({
    serverId: work.id,
    home: isGuest ? earlier.home : host,
    how: way,
    wasRunning: same ? earlier.wasRunning : isGuest ? earlier.wasRunning || wasRunning : wasRunning,
    broughtTo: to ?? host,
    operationId,
    createdAt: at.toISOString(),
  })
}

/** Records of servers that did not leave after all. */
async function forgetThoseAtHome(ports: DrainHostPorts, host: string): Promise<void> {
  for (const taken of await ports.drained.ofHome(host)) {
    const server = await ports.servers.find(taken.serverId)
    const isStopped = taken.how === 'stop' && server?.vmState === 'stopped'
    if (server === undefined || (server.host === host && !isStopped))
      await ports.drained.remove(taken.serverId)
  }
}

/** From here on the service stays disabled, whatever comes: only a cancel, or a restore, enables it. */
async function markNotEmpty(
  ports: DrainHostPorts,
  operationId: string,
  host: string,
  now: Date,
): Promise<void> {
  const { id, disabledReason } = await computeServiceOf(ports, host)
  if (disabledReason !== drainedReason(operationId)) return
  await ports.services.update(id, {
    disabledReason: notEmptyReason(operationId),
    updatedAt: now.toISOString(),
  })
}

async function markEmpty(ports: DrainHostPorts, operationId: string, host: string, now: Date): Promise<void> {
  const { id, disabledReason } = await computeServiceOf(ports, host)
  if (disabledReason !== notEmptyReason(operationId)) return
  await ports.services.update(id, {
    disabledReason: drainedReason(operationId),
    updatedAt: now.toISOString(),
  })
}
