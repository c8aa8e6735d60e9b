/** The REST API of each storage cluster at its own management address: a part of the composition root. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { messageOf } from '@volant/contract'
import { readJson, writeJsonDurably } from '@volant/qemu'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { createOntapChanges } from './app/ontap/changes.ts'
import { createOntapCluster, type OntapClusterSources } from './app/ontap/cluster.ts'
import { createOntapNfs } from './app/ontap/nfs.ts'
import type { FlexVols } from './app/flexvol.ts'
import type { Cluster, Topology } from './domain/topology.ts'
import { buildOntapServer } from './http/ontap/server.ts'
import type { Agents } from './ports/agents.ts'
import type { Aggregates } from './ports/aggregates.ts'
import type { Clock } from './ports/clock.ts'
import type { FlexVolMoves } from './ports/flexvol-moves.ts'
import type { OperationEngine } from './ports/operations.ts'
import type { FlexVolRecords } from './ports/records.ts'

export interface OntapListenerParts extends Omit<
  OntapClusterSources,
  'cluster' | 'usedBytes' | 'flexvols' | 'aggregates' | 'moves'
> {
  topology: Topology
  stateDir: string
  flexvols: FlexVolRecords
  changes: FlexVols
  aggregates: Aggregates
  moves: FlexVolMoves
  engine: OperationEngine
  agents: Pick<Agents, 'shares'>
  clock: Clock
  log: Logger
}

/** One entry of `STATE/clusters.json`. */
interface ClusterAccess {
  name: string
  url: string
  user: string
  password: string
}

export interface OntapListeners {
  /** By the cluster's name: `http://127.0.0.1:PORT`. */
  urls: ReadonlyMap<string, string>
  close(): Promise<void>
}

const user = 'admin'

/**
 * Listens for each cluster, and writes `STATE/clusters.json`, for its owner only: an array of `{name, url, user,
 * password}`. A cluster keeps its password, and its port where that is free.
 */
export async function openOntapListeners(parts: OntapListenerParts): Promise<OntapListeners> {
  const file = join(parts.stateDir, 'clusters.json')
  const known = formerAccess(file, parts.log)
  const servers: FastifyInstance[] = []
  const accesses: ClusterAccess[] = []
  const close = async (): Promise<void> => {
    for (const server of servers) await server.close()
  }
  try {
    for (const cluster of parts.topology.clusters) {
      const former = known.get(cluster.name)
      const password = former?.password ?? randomBytes(18).toString('base64url')
      const server = await buildServer(parts, cluster, password)
      servers.push(server)
      const url = await listen(server, cluster, former?.url)
      accesses.push({ name: cluster.name, url, user, password })
    }
    writeJsonDurably(file, accesses)
  } catch (error) {
    await close()
    throw error
  }
  return { urls: new Map(accesses.map(({ name, url }) => [name, url])), close }
}

function buildServer(
  parts: OntapListenerParts,
  cluster: Cluster,
  password: string,
): Promise<FastifyInstance> {
  const view = createOntapCluster({ ...parts, cluster, usedBytes: parts.changes.usedBytes })
  return buildOntapServer({
    log: parts.log,
    cluster: view,
    nfs: createOntapNfs({ ...parts, cluster }),
    changes: createOntapChanges({ ...parts, cluster, view }),
    jobs: parts.engine,
    credentials: { user, password },
    address: cluster.management?.host ?? '127.0.0.1',
  })
}

/** At the configured address; without one on the loopback address, at the port of last time where it is free. */
async function listen(
  server: FastifyInstance,
  cluster: Cluster,
  formerUrl: string | undefined,
): Promise<string> {
  if (cluster.management !== undefined) return server.listen(cluster.management)
  const host = '127.0.0.1'
  const port = formerUrl === undefined ? 0 : Number(new URL(formerUrl).port)
  try {
    return await server.listen({ host, port })
  } catch (error) {
    if (port === 0 || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    return server.listen({ host, port: 0 })
  }
}

/** By the cluster's name. A file that cannot be understood is written anew, with new passwords. */
function formerAccess(file: string, log: Logger): Map<string, ClusterAccess> {
  try {
    const entries = (readJson(file) ?? []) as ClusterAccess[]
    const whole = entries.filter(
      ({ name, url, password }) =>
        typeof name === 'string' && URL.canParse(url) && typeof password === 'string',
    )
    return new Map(whole.map((entry) => [entry.name, entry]))
  } catch (error) {
    log.warn({ file, reason: messageOf(error) }, 'the clusters have new passwords: the old file is damaged')
    return new Map()
  }
}
