import { join } from 'node:path'
import { DomainError, messageOf, type Caller, type ComputeAgent, type GuestStatus } from '@volant/contract'
import { readJson } from '@volant/qemu'
import type { Kysely } from 'kysely'
import pino from 'pino'
import { endAgentProcesses } from './agent-process.ts'
import { openDatabase } from './db/open.ts'
import { operationStore } from './db/repositories/operation.ts'
import { copyRecords } from './db/repositories/copy.ts'
import type { Database } from './db/schema.ts'
import { keptForTheMove } from './domain/relocation-part.ts'
import type { Topology } from './domain/topology.ts'
import { migrateVolume, type MigrateVolumeInput } from './operations/migrate-volume.ts'
import { jobOf, keptFor, recordTruth, type Holder } from './operations/migration-holder.ts'
import { relocateVolume, type RelocateVolumeInput } from './operations/relocate-volume.ts'
import type { Agents } from './ports/agents.ts'
import { openPlaneAgents, type PlaneAgents } from './plane-agents.ts'
import { openStateFolder, removeOutsideRunFolder } from './state-folder.ts'

/** How long guests have to power off by themselves. */
const guestGraceMs = 5000

/**
 * Stops what outlives the control plane: its processes of agents, guests (powered off), NFS servers and the file systems
 * of shares, volume heads, movers and export daemons; unmounts the aggregates that are files. The control plane must not
 * run. Volumes, shares, servers and operations stay as recorded, and the next start goes on. Returns the names of the
 * agents elsewhere that are away, whose daemons and guests run on.
 */
export async function stopDataPlane(stateDir: string): Promise<string[]> {
  const log = pino({ level: 'silent' })
  const folder = openStateFolder(stateDir)
  const topology = readJson(join(folder.path, 'topology.json')) as Topology | undefined
  // Nothing was ever started here.
  if (topology === undefined) return []
  const db = await openDatabase(folder.database, { used: true })
  await endAgentProcesses(folder.path)
  const { agents: _asProcesses, ...inside } = topology
  const agents = await openPlaneAgents({ topology: inside, folder, log, probe: undefined })
  let away: string[]
  try {
    // As the newest control plane: one that is forgotten somewhere can't start again what is stopped here.
    const owner = `stop/${process.pid}`
    const fence = await operationStore(db).acquireFence({ owner, at: new Date().toISOString() })
    const caller = { fence }
    await recordCutovers(db, agents, fence)
    away = await stopAll(topology, agents, caller)
  } finally {
    await agents.close()
    await db.destroy()
  }
  removeOutsideRunFolder(folder)
  return away
}

async function stopAll(topology: Topology, agents: PlaneAgents, caller: Caller): Promise<string[]> {
  const away = new Set<string>()
  const unlessAway = async (
    of: 'storageNodes' | 'machines' | 'computeHosts',
    name: string,
    stop: () => Promise<void>,
  ): Promise<void> => {
    try {
      await stop()
    } catch (error) {
      const process = agents.processes().find((one) => one[of].includes(name))
      if (process?.place !== 'remote' || process.up) throw error
      away.add(process.name)
    }
  }
  await Promise.all(
    topology.computeHosts.map(({ name }) =>
      unlessAway('computeHosts', name, () => stopGuests(agents.compute(name), caller)),
    ),
  )
  const nodes = topology.clusters.flatMap((cluster) => cluster.nodes)
  // Guests may have mounted them; and what they stand on are heads.
  await stopShares(
    nodes.map(({ name }) => name),
    agents,
    caller,
    (name, stop) => unlessAway('storageNodes', name, stop),
  )
  for (const machine of new Set([...topology.computeHosts, ...nodes].map((place) => place.machine))) {
    await unlessAway('machines', machine, async () => {
      const holders = agents.holders(machine)
      for (const { holderId } of await holders.listHolders()) await holders.ensureNoHolder(caller, holderId)
    })
  }
  for (const { name } of nodes) {
    await unlessAway('storageNodes', name, async () => {
      const storage = agents.storage(name)
      const exports = await storage.listExports()
      for (const { exportId } of exports) await storage.ensureNoExport(caller, exportId)
      // The first word is the fence; the second waits for the end of the daemon, which this process must not cut short.
      for (const { exportId } of exports) await storage.ensureNoExport(caller, exportId)
    })
  }
  // When nothing of any node has an image open any more.
  for (const { name } of nodes) {
    await unlessAway('storageNodes', name, () => agents.storage(name).ensureUnmounted(caller))
  }
  return [...away]
}

/** Every guest of a host. Exported for its test. */
export async function stopGuests(compute: ComputeAgent, caller: Caller): Promise<void> {
  const guests = await compute.listGuests()
  await Promise.all(guests.map((guest) => stopGuest(compute, caller, guest)))
}

/** A live migration ends with its guest: before its commit nothing waits elsewhere, after it the server is stopped there. */
async function stopGuest(
  compute: ComputeAgent,
  caller: Caller,
  { serverId, state, migrationId }: GuestStatus,
): Promise<void> {
  if (migrationId !== undefined && state === 'incoming') {
    await compute.ensureNoIncoming(caller, serverId, migrationId)
    return
  }
  if (migrationId !== undefined) await compute.ensureMigrationAbandoned(caller, serverId, migrationId)
  await compute.ensureGuestStopped(caller, serverId, guestGraceMs)
}

/**
 * NFS servers first, then file systems. Where one of them can't be stopped all others are, and it throws `unavailable` with
 * what is left: a head that ended below a mounted file system would take what clients wrote last with it.
 */
export async function stopShares(
  nodes: readonly string[],
  agents: Pick<Agents, 'shares'>,
  caller: Caller,
  unlessAway: (node: string, stop: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const remains: string[] = []
  for (const node of nodes) {
    await unlessAway(node, () => agents.shares(node).ensureAllStopped(caller)).catch((error: unknown) => {
      remains.push(
        ...messageOf(error)
          .split('\n')
          .map((line) => `node ${node}: ${line}`),
      )
    })
    await unlessAway(node, async () => {
      for (const { kind, what, pids, shareId } of await agents.shares(node).inventory()) {
        // The record of a server that has ended stays: its clients may claim what they had.
        const runs = kind === 'file-system' || (kind === 'nfs-server' && pids.length > 0)
        const isTold = shareId !== undefined && remains.some((line) => line.includes(shareId))
        if (runs && !isTold) remains.push(`node ${node}: ${what}`)
      }
    })
  }
  if (remains.length === 0) return
  throw new DomainError(
    'unavailable',
    [
      'Shares could not all be stopped, so the storage daemons below them run on:',
      ...remains.map((line) => `  ${line}`),
      'End what uses them (fuser -vm PATH), and say it again.',
    ].join('\n'),
  )
}

/**
 * Of a cutover that is committed and not recorded, only the holder knows, and with the holder that would go: the next
 * start would take the source for the truth. Where it can't be recorded nothing is stopped.
 */
async function recordCutovers(db: Kysely<Database>, agents: Agents, fence: number): Promise<void> {
  const store = operationStore(db)
  const ports = { copies: copyRecords(db) }
  for (const run of await store.listUnfinished()) {
    if (run.kind !== migrateVolume.kind && run.kind !== relocateVolume.kind) continue
    const log = await store.history({ runId: run.id })
    const opened = log.findLast(({ event, step }) => event === 'done' && step === 'openHolder')
    if (opened === undefined) continue
    const { holderId, machine } = opened.output as Holder
    const op = { id: run.id, fence }
    const decision = await agents.holders(machine).cutoverDecision({ fence }, holderId, jobOf(op))
    if (decision !== 'committed') continue
    const input = run.input as MigrateVolumeInput | RelocateVolumeInput
    const until = 'retentionSeconds' in input ? keptFor(input.retentionSeconds, new Date()) : keptForTheMove
    await recordTruth(ports, op, input, until)
  }
}
