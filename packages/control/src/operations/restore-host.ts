/**
 * # A compute host is filled again
 *
 * Its service is enabled, and what drains took from it comes back the way it left, as parts of this operation: live, cold,
 * or started where it was stopped. As in a drain no list is kept. Whoever was moved elsewhere since by somebody else, or was
 * deleted, is not brought back: its record goes.
 *
 *     observe → enable → filled (a wait) → judge
 *
 * What can't come back stays where it is, with its record, and the operation ends as failed with the reason for each; the
 * service stays enabled. A cancel begins nothing more and cancels what is under way, which goes back; what has come home
 * stays, and the service is as it was before.
 */
import { final, nothingToUndo, operation } from '@volant/saga'
import { hostProgress, stayReasons, type HostProgress, type ServerLine } from '../domain/host-progress.ts'
import type { ComputeServiceRecords } from '../ports/servers.ts'
import { hostKey } from './drain-host.ts'
import { restorePlaces, restoreWorks, serversById, type HostFactsPorts } from './host-facts.ts'
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
  type Work,
} from './host-parts.ts'
import { computeServiceOf } from './host-service.ts'

export interface RestoreHostInput {
  host: string
  /** Servers under way to the host at once. */
  parallel: number
  by: { userId: string; projectId: string }
}

export interface RestoreHostPorts extends HostPartsPorts, HostFactsPorts {
  migrations: HostPartsPorts['migrations'] & HostFactsPorts['migrations']
  services: Pick<ComputeServiceRecords, 'list' | 'update'>
}

export const restoreHost = operation<RestoreHostInput, RestoreHostPorts>('host.restore', { version: 1 })
  .holds((input) => [hostKey(input.host)])

  .step('observe', {
    do: async ({ input, ports }) => {
      const { disabled, disabledReason } = await computeServiceOf(ports, input.host)
      return { disabled, disabledReason }
    },
    undo: nothingToUndo,
  })

  .step('enable', {
    do: async ({ input, ports, now }) => {
      const { id } = await computeServiceOf(ports, input.host)
      const fields = { disabled: false, disabledReason: null }
      await ports.services.update(id, { ...fields, updatedAt: now().toISOString() })
      return null
    },
    // Where some could not come back it stays in use: an operator wanted that.
    undo: async ({ op, input, out, ports, now }) => {
      if (!op.control.cancelRequested || !out.observe.disabled) return
      const { id } = await computeServiceOf(ports, input.host)
      await ports.services.update(id, { ...out.observe, updatedAt: now().toISOString() })
    },
  })

  .wait('filled', {
    every: '1s',
    stallTimeout: '24h',
    until: async ({ op, input, ports, now, progress }) => {
      const brought = { paused: op.control.paused, rate: op.control.rate }
      const [parts, before] = [await partsByServer(ports, op.id), await progressOf(ports, op.id)]
      await bringWishes(ports, before, parts, brought)
      const { works, over } = await restoreWorks(ports, input.host)
      for (const { taken } of over) {
        // Its part may still have something to do, and would be forgotten with the record.
        if (!isGoing(parts.get(taken.serverId)?.[0])) await ports.drained.remove(taken.serverId)
      }
      const scene = {
        works,
        parallel: input.parallel,
        by: input.by,
        roomAt: () => input.parallel,
        place: (ready: readonly Work[], except: (id: string) => Record<string, string>) =>
          restorePlaces(ports, ready, input.host, undefined, except),
        before: async () => {},
      }
      const lines = await lookOnwards(ports, op, scene, parts, before, now())
      const here = new Set(works.map(({ id }) => id))
      const home = arrived(parts, here, await serversById(ports, [...parts.keys()]), input.host)
      const seen = hostProgress('restoring', [...lines, ...fromWhere(home, before)], brought)
      progress(seen)
      const done = !seen.servers.some(({ fate }) => fate === 'moving' || fate === 'waiting')
      const held = [...parts.values()].flat().some((part) => isGoing(part) && part.control.paused)
      return { done, progress: seen, advance: [seen.servers, held ? now().toISOString() : null] }
    },
    back: {
      every: '1s',
      stallTimeout: '1h',
      until: async ({ op, input, ports }) => {
        const look = await lookBack(ports, op.id)
        const { over } = await restoreWorks(ports, input.host)
        if (look.done) for (const { taken } of over) await ports.drained.remove(taken.serverId)
        return look
      },
    },
  })

  .step('judge', {
    do: async ({ op, input, ports, progress }) => {
      const before = await progressOf(ports, op.id)
      const { works } = await restoreWorks(ports, input.host)
      const lines = new Map((before?.servers ?? []).map((line) => [line.id, line]))
      const stay = works.map((work) => lineAtEnd(work, lines.get(work.id)?.reason ?? null))
      const brought = { paused: false, rate: op.control.rate }
      const back = (before?.servers ?? []).filter(({ id }) => !works.some((work) => work.id === id))
      const note = works.length === 0 ? `${input.host} is enabled, and has its servers again` : null
      progress(hostProgress('restoring', [...back, ...stay], brought, note))
      if (works.length > 0) {
        throw final(`${input.host} is enabled, but not all of its servers are back.\n${stayReasons(stay)}`)
      }
      return { note }
    },
    undo: nothingToUndo,
  })

/** Where each came from is known only while it is not home. */
function fromWhere(home: readonly ServerLine[], before: HostProgress | null): ServerLine[] {
  const earlier = new Map((before?.servers ?? []).map((line) => [line.id, line]))
  return home.map((line) => ({ ...line, from: earlier.get(line.id)?.from ?? line.from }))
}
