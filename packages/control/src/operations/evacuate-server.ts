/**
 * # A server is evacuated from a host that is down
 *
 * Makes way for `server.take-over`, which does it, and which holds the server and all of its volumes while it does. What
 * else works on them is waiting for the host that is gone, so it is cancelled: its heads are written down as fenced first,
 * for then it need not reach them to undo what it did. What is past its commit goes on to its end, which is waited for. What
 * can't end without the host ends the evacuation, with its name: a volume at its cutover, most of all, for which of its
 * images is the truth is then known to that host alone.
 *
 *     claim → takenOver (a wait) → finish
 */
import { isDomainError, messageOf } from '@volant/contract'
import { final, nothingToUndo, operation, type RunRecord } from '@volant/saga'
import { unfinishedMigrations } from '../domain/server-migration.ts'
import type { FencedHeadRecords } from '../ports/fenced-heads.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import { faultOf, finishAction, type ServerAction } from './guest.ts'
import { unlessOver } from './part-wishes.ts'
import { takeOverServer, type TakeOverServerInput } from './take-over-server.ts'

export interface EvacuateServerInput extends ServerAction, Omit<TakeOverServerInput, 'volumeIds'> {
  /** Its task state is `rebuilding`. */
  serverId: string
  /** How long what else works on the server and its volumes is waited for. Seconds. */
  patienceSeconds: number
}

export interface EvacuateServerPorts {
  servers: Pick<ServerRecords, 'find' | 'update' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer'>
  fencedHeads: Pick<FencedHeadRecords, 'add'>
  serverMigrations: Pick<ServerMigrationRecords, 'find' | 'updateIf'>
  actions: Pick<InstanceActionRecords, 'finish'>
  engine: Pick<OperationEngine, 'start' | 'get' | 'partsOf' | 'holderOf' | 'cancel' | 'resume'>
}

interface InTheWay {
  key: string
  run: RunRecord
}

export const evacuateServer = operation<EvacuateServerInput, EvacuateServerPorts>('server.evacuate', {
  version: 1,
})
  .holds(({ serverId }) => [`server-evacuate/${serverId}`])

  .step('claim', {
    // The request has claimed it.
    do: () => null,
    undo: ({ op, input, ports, now }) =>
      record(ports, input, now(), op.control.cancelRequested ? 'It was cancelled.' : 'It failed.'),
  })

  .wait('takenOver', {
    every: '500ms',
    // Its part has bounds of its own; this one is for a part that an operator has to help.
    stallTimeout: '24h',
    until: async ({ op, input, ports, now }) => {
      const [part] = await ports.engine.partsOf(op.id)
      if (part !== undefined) {
        const advance = [part.state, part.step]
        return { done: part.endedAt !== null, progress: { phase: part.step ?? part.state }, advance }
      }
      // A live migration from there may have come to its end.
      if ((await ports.servers.find(input.serverId))?.host !== input.from)
        return { done: true, advance: null }
      const volumeIds = (await ports.attachments.ofServer(input.serverId)).map(({ volumeId }) => volumeId)
      const inTheWay = await workOn(ports, input.serverId, volumeIds)
      if (inTheWay.length === 0) return begin(ports, op.id, input, volumeIds)
      if (now().getTime() - Date.parse(op.createdAt) > input.patienceSeconds * 1000) {
        return fail(ports, input, now(), inTheWay.map((one) => reasonOf(one, input.from)).join(' '))
      }
      await makeWay(ports, input, inTheWay, now())
      const waitsFor = inTheWay.map(({ run }) => ({ id: run.id, kind: run.kind, state: run.state }))
      return { done: false, progress: { phase: 'making way', waitsFor }, advance: waitsFor }
    },
    back: {
      every: '500ms',
      stallTimeout: '1h',
      until: async ({ op, ports }) => {
        const parts = (await ports.engine.partsOf(op.id)).filter(({ endedAt }) => endedAt === null)
        for (const part of parts) {
          if (!part.control.cancelRequested) await unlessOver(() => ports.engine.cancel(part.id))
        }
        return { done: parts.length === 0, advance: parts.map(({ state, step }) => [state, step]) }
      },
    },
  })

  .step('finish', {
    do: async ({ op, input, ports, now }) => {
      const [part] = await ports.engine.partsOf(op.id)
      const server = await ports.servers.find(input.serverId)
      if (part?.state !== 'succeeded' && server?.host === input.from) {
        return fail(ports, input, now(), part?.failure?.message ?? 'Its part was cancelled.')
      }
      await record(ports, input, now(), null)
      return null
    },
    undo: nothingToUndo,
  })

/** With the reason at the server, where its user looks for it. */
async function fail(
  { servers }: EvacuateServerPorts,
  { serverId, from }: EvacuateServerInput,
  now: Date,
  reason: string,
): Promise<never> {
  const message = `It was not evacuated from ${from}: ${reason}`
  await servers.update(serverId, { fault: faultOf(new Error(message), now) })
  throw final(message)
}

async function begin(
  { engine }: EvacuateServerPorts,
  parent: string,
  { serverId, from, to, staysStopped, migrationId }: EvacuateServerInput,
  volumeIds: string[],
) {
  const input = { serverId, volumeIds, from, to, staysStopped, migrationId }
  try {
    await engine.start(takeOverServer, input, { parent })
  } catch (error) {
    // Somebody was faster: the next look sees who.
    if (!isDomainError(error) || error.code !== 'conflict') throw error
    return { done: false, progress: { phase: 'making way', reason: messageOf(error) }, advance: null }
  }
  return { done: false, progress: { phase: 'taking over' }, advance: null }
}

async function workOn(
  { engine }: EvacuateServerPorts,
  serverId: string,
  volumeIds: readonly string[],
): Promise<InTheWay[]> {
  const found = new Map<string, InTheWay>()
  for (const key of [`server/${serverId}`, ...volumeIds.map((id) => `volume/${id}`)]) {
    const holder = await engine.holderOf(key)
    if (holder !== undefined) found.set(holder.id, { key, run: await engine.get(holder.id) })
  }
  return [...found.values()]
}

async function makeWay(
  ports: EvacuateServerPorts,
  { serverId }: EvacuateServerInput,
  inTheWay: readonly InTheWay[],
  now: Date,
): Promise<void> {
  const fencedAt = now.toISOString()
  for (const { headId, volumeId, host } of await ports.attachments.ofServer(serverId)) {
    if (host !== null) await ports.fencedHeads.add({ headId, volumeId, serverId, host, fencedAt })
  }
  for (const { run } of inTheWay) {
    const { id, control, state } = run
    if (!control.cancelRequested) await unlessOver(() => ports.engine.cancel(id))
    // What could not be undone, or not be gone on with, for want of the host can be now.
    if (state === 'needs-attention') await unlessOver(() => ports.engine.resume(id))
  }
}

function reasonOf({ key, run }: InTheWay, host: string): string {
  const what = `Operation ${run.id} (${run.kind}) works on ${key.replace('/', ' ')} and does not end`
  if (run.step === 'cutover') {
    return (
      `${what}: the volume is at its cutover, and which of its images is the truth is known to host ${host} alone. ` +
      `Bring the host back, or say which it is: volant operations decide ${run.id}.`
    )
  }
  return `${what}: it is ${run.state} at '${run.step ?? ''}'${run.failure === null ? '' : `: ${run.failure.message}`}.`
}

/** What the server's records say in the end, by where it is: a cancel may come when it is there already. */
async function record(
  ports: EvacuateServerPorts,
  input: EvacuateServerInput,
  now: Date,
  failure: string | null,
): Promise<void> {
  const { serverId, migrationId, from } = input
  const server = await ports.servers.find(serverId)
  const reason = server?.host === from ? (server.fault?.message ?? failure) : null
  await ports.servers.updateIf(serverId, { taskStates: ['rebuilding'] }, { taskState: null })
  await ports.serverMigrations.updateIf(migrationId, unfinishedMigrations, {
    status: reason === null ? 'done' : 'failed',
    reserves: null,
    message: reason,
  })
  await finishAction(ports, input, now, reason)
}
