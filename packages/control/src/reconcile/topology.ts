import { access, constants, mkdir, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { requireXfsPossible } from '@volant/agent'
import { DomainError, isDomainError, type Caller } from '@volant/contract'
import type { Logger } from 'pino'
import type { Aggregate, StorageNode, Topology } from '../domain/topology.ts'
import { newFlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolRecords } from '../ports/records.ts'

/**
 * Aggregates below the state folder are Volant's own and are made. Any other must be there: a folder that is missing
 * is more likely a file system that is not mounted, and images would land on the wrong disk.
 */
export async function ensureAggregates(topology: Topology, stateDir: string): Promise<void> {
  // Those of an agent elsewhere are looked at there.
  const nodes = topology.clusters.flatMap((cluster) => cluster.nodes)
  await ensureAggregateFolders(
    nodes.filter(({ agent }) => agent === undefined),
    stateDir,
  )
}

/** As `ensureAggregates`, of these storage nodes. */
export async function ensureAggregateFolders(
  nodes: readonly Pick<StorageNode, 'name' | 'aggregates'>[],
  stateDir: string,
): Promise<void> {
  for (const node of nodes) {
    for (const aggregate of node.aggregates) {
      const { name, path } = aggregate
      if (aggregate.filesystem === 'xfs') {
        await requireXfsAggregate(node.name, aggregate, stateDir)
        continue
      }
      if (path.startsWith(`${stateDir}/`)) {
        await mkdir(path, { recursive: true, mode: 0o700 })
      } else if (!(await stat(path).catch(() => undefined))?.isDirectory()) {
        throw new DomainError(
          'invalid',
          `Aggregate ${name} of node ${node.name}: there is no folder ${path}. Mount its file system, or make it.`,
        )
      }
      await access(path, constants.R_OK | constants.W_OK | constants.X_OK).catch((error: unknown) => {
        throw new DomainError(
          'invalid',
          `Aggregate ${name} of node ${node.name}: this user may not write to the folder ${path}. Give it to the user, or choose another.`,
          { cause: error },
        )
      })
    }
  }
}

/**
 * The agent makes the file, and mounts it. Here is said what it could not do anything about. What is at the path now is
 * of no account: it may be the empty folder below.
 */
async function requireXfsAggregate(node: string, aggregate: Aggregate, stateDir: string): Promise<void> {
  const parent = dirname(resolve(aggregate.path))
  if (`${parent}/`.startsWith(`${stateDir}/`)) {
    await mkdir(parent, { recursive: true, mode: 0o700 })
  } else if (!(await stat(parent).catch(() => undefined))?.isDirectory()) {
    throw new DomainError(
      'invalid',
      `Aggregate ${aggregate.name} of node ${node}: there is no folder ${parent} for its file. Mount its file system, or make it.`,
    )
  }
  await requireXfsPossible(aggregate)
}

/**
 * The FlexVols that the configuration names and the database does not know yet; each has its folder. False where a
 * node is away and is to be asked again.
 */
export async function ensureFlexVols(options: {
  topology: Topology
  flexvols: Pick<FlexVolRecords, 'list' | 'create'>
  backend: Pick<Backend, 'ensureFlexVol'>
  caller: Caller
  at: string
  log: Logger
}): Promise<boolean> {
  let complete = true
  const known = await options.flexvols.list()
  for (const cluster of options.topology.clusters) {
    for (const definition of cluster.flexvols) {
      const present = known.find((f) => f.cluster === cluster.name && f.name === definition.name)
      const flexvol = present ?? newFlexVol({ cluster: cluster.name, ...definition }, options.at)
      if (present === undefined) await options.flexvols.create(flexvol)
      try {
        await options.backend.ensureFlexVol(options.caller, flexvol)
      } catch (error) {
        if (!isDomainError(error) || error.code !== 'unavailable') throw error
        complete = false
        options.log.warn(
          { flexvol: flexvol.name, reason: error.message },
          'a FlexVol has to wait for its node',
        )
      }
    }
  }
  return complete
}
