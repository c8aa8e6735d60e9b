/**
 * # A compute host that is down is evacuated
 *
 * Its service is forced down and disabled, with the reason, so that nothing comes to it before somebody has looked at it; then
 * each of its servers is evacuated, as a part of this operation. No list is kept: each look finds out anew who is still there.
 *
 *     observe → forceDown → evacuated (a wait) → judge
 *
 * A server that can't be fenced, or for which there is no host, stays; it is tried again some times, and the operation ends
 * as failed with the reason of each. The service stays forced down then, for the host was given up.
 */
import { isDomainError } from '@volant/contract'
import { final, nothingToUndo, operation, type RunRecord } from '@volant/saga'
import { hostProgress, stayReasons, type ServerLine } from '../domain/host-progress.ts'
import type { Server } from '../domain/server.ts'
import type { Evacuations } from '../ports/evacuations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ComputeServiceRecords, ServerRecords } from '../ports/servers.ts'
import { computeServiceOf } from './host-service.ts'
import { unlessOver } from './part-wishes.ts'

export interface EvacuateHostInput {
  host: string
  /** Servers under way at once. */
  parallel: number
  /** Why it was given up: what the service shows. */
  reason: string
  by: { userId: string; projectId: string }
}

export interface EvacuateHostPorts {
  servers: Pick<ServerRecords, 'onHost' | 'find'>
  services: Pick<ComputeServiceRecords, 'list' | 'update'>
  evacuations: Evacuations
  engine: Pick<OperationEngine, 'partsOf' | 'cancel'>
}

/** How often one server is tried, and how long after a failure: so much, twice as much … Milliseconds. */
const attempts = 4
const firstPauseMs = 5_000
const mib = 1024 ** 2

/** Another one than a drain's: a host that dies while it is drained is evacuated, and its servers leave the drain. */
export const hostEvacuationKey = (host: string): string => `host-evacuate/${host}`

export const evacuateHost = operation<EvacuateHostInput, EvacuateHostPorts>('host.evacuate', { version: 1 })
  .holds(({ host }) => [hostEvacuationKey(host)])

  .step('observe', {
    do: async ({ input, ports }) => {
      const { forcedDown, disabled, disabledReason } = await computeServiceOf(ports, input.host)
      return { forcedDown, disabled, disabledReason }
    },
    undo: nothingToUndo,
  })

  .step('forceDown', {
    do: async ({ input, ports, now }) => {
      const { id } = await computeServiceOf(ports, input.host)
      const given = { forcedDown: true, disabled: true, disabledReason: input.reason }
      await ports.services.update(id, { ...given, updatedAt: now().toISOString() })
      return null
    },
    // Where servers were left on it, or somewhere between, it stays given up; a cancel is an operator's word.
    undo: async ({ op, input, out, ports, now }) => {
      if (!op.control.cancelRequested) return
      const { id } = await computeServiceOf(ports, input.host)
      await ports.services.update(id, { ...out.observe, updatedAt: now().toISOString() })
    },
  })

  .wait('evacuated', {
    every: '1s',
    // Of a standstill its parts take care.
    stallTimeout: '24h',
    until: async ({ op, input, ports, now, progress }) => {
      const lines = await look(ports, op, input, now())
      const seen = hostProgress('evacuating', lines, { paused: op.control.paused, rate: null })
      progress(seen)
      const done = !lines.some(({ fate }) => fate === 'moving' || fate === 'waiting')
      return { done, progress: seen, advance: lines.map(({ id, fate, reason }) => [id, fate, reason]) }
    },
    back: {
      every: '1s',
      stallTimeout: '1h',
      until: async ({ op, ports }) => {
        const going = (await ports.engine.partsOf(op.id)).filter(({ endedAt }) => endedAt === null)
        for (const part of going) {
          if (!part.control.cancelRequested) await unlessOver(() => ports.engine.cancel(part.id))
        }
        return { done: going.length === 0, advance: going.map(({ id, state, step }) => [id, state, step]) }
      },
    },
  })

  .step('judge', {
    do: async ({ op, input, ports, now }) => {
      const lines = await look(ports, { ...op, control: { paused: true } }, input, now())
      const left = lines.filter(({ fate }) => fate !== 'moved')
      if (left.length === 0) return { evacuated: lines.length }
      throw final(`${left.length} of the servers of ${input.host} were not evacuated.\n${stayReasons(left)}`)
    },
    undo: nothingToUndo,
  })

/** One line for each server that is there, or was; starts as many as there may be. */
async function look(
  ports: EvacuateHostPorts,
  op: { id: string; control: { paused: boolean } },
  input: EvacuateHostInput,
  now: Date,
): Promise<ServerLine[]> {
  const parts = Map.groupBy(
    await ports.engine.partsOf(op.id),
    ({ input: of }) => (of as { serverId: string }).serverId,
  )
  const here = (await ports.servers.onHost(input.host)).filter(({ vmState }) => vmState !== 'building')
  let going = [...parts.values()].flat().filter(({ endedAt }) => endedAt === null).length
  const lines: ServerLine[] = []
  for (const server of here) {
    const own = parts.get(server.id) ?? []
    let line = lineOf(server, own, now)
    if (line.fate === 'waiting' && line.reason === null && !op.control.paused && going < input.parallel) {
      const reason = await begin(ports, op.id, input, server.id)
      line = reason === null ? { ...line, fate: 'moving' } : { ...line, fate: 'stays', reason }
      if (reason === null) going += 1
    }
    lines.push(line)
  }
  for (const serverId of parts.keys()) {
    if (here.some(({ id }) => id === serverId)) continue
    const server = await ports.servers.find(serverId)
    // Deleted meanwhile: nothing of it is left to be evacuated.
    if (server !== undefined) lines.push({ ...lineOf(server, [], now), fate: 'moved', to: server.host })
  }
  return lines
}

/** Newest part first. `waiting` without a reason: it may begin now. */
function lineOf(server: Server, parts: readonly RunRecord[], now: Date): ServerLine {
  const line: ServerLine = {
    ...{ id: server.id, name: server.name, fate: 'waiting', way: null, from: server.host ?? '', to: null },
    ...{ doneBytes: 0, totalBytes: server.flavor.memoryMib * mib, rateBps: 0, reason: null, against: null },
  }
  const [last] = parts
  if (last === undefined) return line
  if (last.endedAt === null) return { ...line, fate: 'moving' }
  const reason = last.failure?.message ?? `its evacuation is ${last.state}`
  if (parts.length >= attempts) return { ...line, fate: 'stays', reason }
  const next = Date.parse(last.endedAt) + firstPauseMs * 2 ** (parts.length - 1)
  return now.getTime() < next ? { ...line, reason } : line
}

/** Null: it began. Else why it can't. */
async function begin(
  { evacuations }: EvacuateHostPorts,
  parent: string,
  { by }: EvacuateHostInput,
  serverId: string,
): Promise<string | null> {
  try {
    await evacuations.start({ serverId, by: { ...by, requestId: `req-${crypto.randomUUID()}` }, parent })
    return null
  } catch (error) {
    if (isDomainError(error) && error.code !== 'staleFence') return error.message
    throw error
  }
}
