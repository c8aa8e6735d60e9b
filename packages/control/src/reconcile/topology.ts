import { access, constants, mkdir, stat } from 'node:fs/promises'
import { DomainError, type Caller } from '@volant/contract'
import type { Topology } from '../domain/topology.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolRecords } from '../ports/records.ts'

/**
 * Aggregates below the state folder are Volant's own and are made. Any other must be there: a folder that is missing
 * is more likely a file system that is not mounted, and images would land on the wrong disk.
 */
export async function ensureAggregates(topology: Topology, stateDir: string): Promise<void> {
  for (const node of topology.clusters.flatMap((cluster) => cluster.nodes)) {
    for (const { name, path } of node.aggregates) {
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

/** The FlexVols that the configuration names and the database does not know yet; each has its folder. */
export async function ensureFlexVols(options: {
  topology: Topology
  flexvols: Pick<FlexVolRecords, 'list' | 'create'>
  backend: Pick<Backend, 'ensureFlexVol'>
  caller: Caller
  at: string
}): Promise<void> {
  const known = await options.flexvols.list()
  for (const cluster of options.topology.clusters) {
    for (const definition of cluster.flexvols) {
      const present = known.find((f) => f.cluster === cluster.name && f.name === definition.name)
      const flexvol = present ?? { id: crypto.randomUUID(), cluster: cluster.name, ...definition }
      if (present === undefined) await options.flexvols.create({ ...flexvol, createdAt: options.at })
      await options.backend.ensureFlexVol(options.caller, flexvol)
    }
  }
}
