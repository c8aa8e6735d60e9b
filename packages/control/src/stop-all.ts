import { join } from 'node:path'
import { readJson } from '@volant/qemu'
import pino from 'pino'
import { endAgentProcesses } from './agent-process.ts'
import { openDatabase } from './db/open.ts'
import { operationStore } from './db/repositories/operation.ts'
import type { Topology } from './domain/topology.ts'
import { openPlaneAgents } from './plane-agents.ts'
import { openStateFolder, removeOutsideRunFolder } from './state-folder.ts'

/** How long guests have to power off by themselves. */
const guestGraceMs = 5000

/**
 * Stops what outlives the control plane: its processes of agents, guests (powered off), volume heads, movers and
 * export daemons. The control plane must not run. Volumes, servers and operations stay as recorded, and the next start goes on.
 */
export async function stopDataPlane(stateDir: string): Promise<void> {
  const log = pino({ level: 'silent' })
  const folder = openStateFolder(stateDir)
  const topology = readJson(join(folder.path, 'topology.json')) as Topology | undefined
  // Nothing was ever started here.
  if (topology === undefined) return
  const db = await openDatabase(folder.database, { used: true })
  await endAgentProcesses(folder.path)
  const { agents: _asProcesses, ...inside } = topology
  const agents = await openPlaneAgents({ topology: inside, folder, log, probe: undefined })
  try {
    // As the newest control plane: one that is forgotten somewhere can't start again what is stopped here.
    const owner = `stop/${process.pid}`
    const fence = await operationStore(db).acquireFence({ owner, at: new Date().toISOString() })
    const caller = { fence }
    await Promise.all(
      topology.computeHosts.map(async ({ name }) => {
        const compute = agents.compute(name)
        const guests = await compute.listGuests()
        await Promise.all(guests.map((g) => compute.ensureGuestStopped(caller, g.serverId, guestGraceMs)))
      }),
    )
    const nodes = topology.clusters.flatMap((cluster) => cluster.nodes)
    for (const machine of new Set([...topology.computeHosts, ...nodes].map((place) => place.machine))) {
      const holders = agents.holders(machine)
      for (const { holderId } of await holders.listHolders()) await holders.ensureNoHolder(caller, holderId)
    }
    for (const { name } of nodes) {
      const storage = agents.storage(name)
      for (const { exportId } of await storage.listExports()) await storage.ensureNoExport(caller, exportId)
    }
  } finally {
    await agents.close()
    await db.destroy()
  }
  removeOutsideRunFolder(folder)
}
