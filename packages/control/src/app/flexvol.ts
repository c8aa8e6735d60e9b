import { DomainError } from '@volant/contract'
import type { Topology } from '../domain/topology.ts'
import { enoughText, sizeText } from '../domain/size-text.ts'
import type { Copy, FlexVol } from '../domain/volume.ts'
import { createFlexVol, requireFreeName } from '../operations/create-flexvol.ts'
import { deleteFlexVol } from '../operations/delete-flexvol.ts'
import { renameFlexVol } from '../operations/rename-flexvol.ts'
import type { Aggregates, AggregateView } from '../ports/aggregates.ts'
import type { Backend } from '../ports/backend.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { CopyRecords, FlexVolRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'

/**
 * FlexVols made, changed and removed at run time. Who may is decided before: only administrators get this far. Every
 * method checks all its preconditions, and only then changes something.
 */
export interface FlexVols {
  /** Throws `notFound` (cluster, aggregate), `conflict` (name or pool taken), `invalid`, `noCapacity`, `unavailable`. */
  create(request: FlexVolRequest): Promise<{ operationId: string; flexvolId: string }>
  /**
   * Bytes; null: as large as its aggregate. Throws `conflict` below what its images occupy and where it is a share's,
   * `noCapacity`, `notFound`.
   */
  resize(flexvolId: string, sizeBytes: number | null): Promise<void>
  /** What `resize` would throw. */
  checkSize(flexvolId: string, sizeBytes: number | null): Promise<void>
  /** Another name, or another junction path, of an empty one; null: it is so already. Throws as `create`. */
  rename(
    flexvolId: string,
    to: { name?: string; junctionPath?: string },
  ): Promise<{ operationId: string } | null>
  /**
   * Throws `conflict` while something is in it, while an operation works on it, and where the configuration has it or it is
   * a share's.
   */
  remove(flexvolId: string): Promise<{ operationId: string }>
  /** What the FlexVol's images occupy, wherever they are, in bytes, shared blocks once. */
  usedBytes(flexvol: FlexVol): Promise<number>
}

export interface FlexVolRequest {
  cluster: string
  name: string
  /** Absent: `/NAME`. */
  junctionPath?: string
  /** Of its pool's name; absent: the one that the cluster's other FlexVols have, those of the same node first. */
  lif?: string
  aggregate: string
  /** Bytes; absent: as large as its aggregate. */
  sizeBytes?: number
}

export interface FlexVolSources {
  topology: Topology
  flexvols: FlexVolRecords
  copies: Pick<CopyRecords, 'ofFlexVol'>
  volumes: Pick<VolumeRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'ofFlexVol'>
  backend: Pick<Backend, 'usageAt'>
  aggregates: Pick<Aggregates, 'find'>
  engine: Pick<OperationEngine, 'start' | 'holderOf'>
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const pathPattern = /^(\/[A-Za-z0-9][A-Za-z0-9._-]*)+$/

/** The least that a FlexVol may be limited to: ONTAP's own least. */
const leastFlexVolBytes = 20 * 1024 ** 2

export function createFlexVols(sources: FlexVolSources): FlexVols {
  const { flexvols, engine } = sources

  const usedBytes = (flexvol: FlexVol): Promise<number> => usedBytesOf(sources.backend, flexvol)

  const checkSize = async (flexvolId: string, sizeBytes: number | null): Promise<void> => {
    const flexvol = await flexvols.get(flexvolId)
    requireNoShare(flexvol, 'resized')
    if (sizeBytes === null) return
    requireSize(sizeBytes)
    const used = await usedBytes(flexvol)
    if (sizeBytes < used) {
      throw new DomainError(
        'conflict',
        `FlexVol ${flexvol.name} cannot have ${sizeText(sizeBytes)}: its images occupy ${sizeText(used)}. ` +
          `Choose at least ${enoughText(used)}.`,
      )
    }
    await requireFitting(sources, flexvol.cluster, flexvol.aggregate, sizeBytes)
  }

  return {
    usedBytes,
    checkSize,
    async create(request) {
      const cluster = sources.topology.clusters.find(({ name }) => name === request.cluster)
      if (cluster === undefined)
        throw new DomainError('notFound', `There is no cluster named ${request.cluster}.`)
      const junctionPath = request.junctionPath ?? `/${request.name}`
      requireName(request.name)
      requirePath(junctionPath)
      if (request.sizeBytes !== undefined) requireSize(request.sizeBytes)
      const aggregate = await requireFitting(sources, cluster.name, request.aggregate, request.sizeBytes ?? 0)
      requireNotVacated(aggregate)
      const known = await flexvols.list()
      const lif = request.lif ?? lifFor(sources.topology, known, cluster.name, aggregate.node)
      const flexvol = {
        cluster: cluster.name,
        name: request.name,
        lif,
        junctionPath,
        node: aggregate.node,
        aggregate: aggregate.name,
        sizeBytes: request.sizeBytes ?? null,
      }
      const flexvolId = crypto.randomUUID()
      requireFreeName(known, { ...flexvol, id: flexvolId })
      const { id } = await engine.start(createFlexVol, { flexvolId, ...flexvol })
      return { operationId: id, flexvolId }
    },
    async resize(flexvolId, sizeBytes) {
      await checkSize(flexvolId, sizeBytes)
      await flexvols.update(flexvolId, { sizeBytes })
    },
    async rename(flexvolId, to) {
      const flexvol = await flexvols.get(flexvolId)
      requireNoShare(flexvol, 'renamed')
      const name = to.name ?? flexvol.name
      const junctionPath = to.junctionPath ?? flexvol.junctionPath
      requireName(name)
      requirePath(junctionPath)
      if (name === flexvol.name && junctionPath === flexvol.junctionPath) return null
      if (name !== flexvol.name) requireNotConfigured(sources.topology, flexvol, 'renamed')
      requireFreeName(await flexvols.list(), { ...flexvol, name, junctionPath })
      const what = name === flexvol.name ? 'another junction path' : 'another name'
      await requireEmpty(sources, flexvol, `get ${what}: its pool would change under its volumes`)
      const { id } = await engine.start(renameFlexVol, {
        flexvolId,
        cluster: flexvol.cluster,
        flexvol,
        name,
        junctionPath,
      })
      return { operationId: id }
    },
    async remove(flexvolId) {
      const flexvol = await flexvols.get(flexvolId)
      requireNoShare(flexvol, 'deleted')
      requireNotConfigured(sources.topology, flexvol, 'deleted')
      await requireEmpty(sources, flexvol, 'be deleted')
      const { id } = await engine.start(deleteFlexVol, { flexvolId, cluster: flexvol.cluster, flexvol })
      return { operationId: id }
    },
  }
}

/** What the FlexVol's images occupy where it is and where it moves to, in bytes, shared blocks once. */
async function usedBytesOf(backend: Pick<Backend, 'usageAt'>, flexvol: FlexVol): Promise<number> {
  const places = [flexvol, ...(flexvol.destination === null ? [] : [flexvol.destination])]
  const usages = await Promise.all(places.map((place) => backend.usageAt(flexvol, place)))
  return usages.reduce((sum, usage) => sum + usage.uniqueBytes, 0)
}

function requireName(name: string): void {
  if (namePattern.test(name)) return
  throw new DomainError(
    'invalid',
    `'${name.slice(0, 80)}' is no name for a FlexVol: 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit.`,
  )
}

function requirePath(path: string): void {
  if (pathPattern.test(path) && path.length <= 200) return
  throw new DomainError(
    'invalid',
    `'${path.slice(0, 80)}' is no junction path: '/' and then letters, digits, '.', '_' and '-' between slashes, at most 200 in all.`,
  )
}

function requireSize(sizeBytes: number): void {
  if (sizeBytes >= leastFlexVolBytes) return
  throw new DomainError(
    'invalid',
    `A FlexVol has at least ${sizeText(leastFlexVolBytes)}, not ${sizeText(sizeBytes)}.`,
  )
}

/** A FlexVol is thin: it must fit into the whole aggregate, not into what is free. */
async function requireFitting(
  { aggregates }: Pick<FlexVolSources, 'aggregates'>,
  cluster: string,
  name: string,
  sizeBytes: number,
): Promise<Pick<AggregateView, 'node' | 'name' | 'vacatedBy'>> {
  const aggregate = await aggregates.find(cluster, name)
  if (aggregate === undefined) {
    throw new DomainError('notFound', `Cluster ${cluster} has no aggregate named ${name}.`)
  }
  if (aggregate.state === 'deleting') {
    throw new DomainError('conflict', `Aggregate ${name} is being deleted.`)
  }
  if (aggregate.space === null) {
    throw new DomainError(
      'unavailable',
      `Aggregate ${name} cannot be reached: ${aggregate.reason ?? 'its node is away'}`,
    )
  }
  const { totalBytes } = aggregate.space
  if (sizeBytes > totalBytes) {
    throw new DomainError(
      'noCapacity',
      `Aggregate ${name} has ${sizeText(totalBytes)} in all: ${sizeText(sizeBytes - totalBytes)} less than ${sizeText(sizeBytes)}.`,
    )
  }
  return aggregate
}

function requireNotVacated({ name, vacatedBy }: Pick<AggregateView, 'name' | 'vacatedBy'>): void {
  if (vacatedBy === undefined) return
  throw new DomainError(
    'conflict',
    `Aggregate ${name} is being emptied by operation ${vacatedBy}. Name another one, or cancel that.`,
  )
}

function lifFor(topology: Topology, known: readonly FlexVol[], cluster: string, node: string): string {
  const own = known.filter((flexvol) => flexvol.cluster === cluster)
  const like = own.find((flexvol) => flexvol.node === node) ?? own[0]
  if (like !== undefined) return like.lif
  const nodes = topology.clusters.flatMap((one) => (one.name === cluster ? one.nodes : []))
  return nodes.find(({ name }) => name === node)?.dataAddress ?? nodes[0]?.dataAddress ?? '127.0.0.1'
}

/** It has the share's size and path, and lives as long as the share. */
function requireNoShare({ name, shareId }: FlexVol, done: string): void {
  if (shareId === null) return
  throw new DomainError(
    'conflict',
    `FlexVol ${name} belongs to share ${shareId} and cannot be ${done} by itself: use the Shared File Systems API.`,
  )
}

function requireNotConfigured(topology: Topology, flexvol: FlexVol, done: string): void {
  const cluster = topology.clusters.find(({ name }) => name === flexvol.cluster)
  if (cluster?.flexvols.some(({ name }) => name === flexvol.name) !== true) return
  throw new DomainError(
    'conflict',
    `FlexVol ${flexvol.name} is in the configuration file, and would be made again at the next start. Take it out ` +
      `there, and start again; then it can be ${done}.`,
  )
}

async function requireEmpty(sources: FlexVolSources, flexvol: FlexVol, wish: string): Promise<void> {
  const holder = await sources.engine.holderOf(`flexvol/${flexvol.id}`)
  if (holder !== undefined) {
    throw new DomainError(
      'conflict',
      `FlexVol ${flexvol.name} cannot ${wish} while operation ${holder.id} (${holder.kind}) works on it.`,
    )
  }
  const copies = await sources.copies.ofFlexVol(flexvol.id)
  const retained = copies.filter(({ state }) => state === 'retained')
  const found = [
    amount(await sources.flexvols.countVolumes(flexvol.id), 'volume'),
    amount((await sources.snapshots.ofFlexVol(flexvol.id)).length, 'snapshot'),
    amount(copies.length - retained.length, 'image'),
    amount(retained.length, 'image that is kept for an undo', 'images that are kept for an undo'),
  ].filter((text) => text !== null)
  if (found.length === 0) return
  const servers = await rootDisksAmong(sources, copies)
  const hidden =
    servers.length === 0 ? '' : ` Root disks of servers are among them: of ${servers.join(', ')}.`
  throw new DomainError(
    'conflict',
    `FlexVol ${flexvol.name} cannot ${wish}: in it are ${found.join(', ')}.${hidden}`,
  )
}

/** Servers of which a few of the images are root disks: no list of Cinder's tells of them. */
async function rootDisksAmong(
  { volumes }: Pick<FlexVolSources, 'volumes'>,
  copies: readonly Copy[],
): Promise<string[]> {
  const found = await Promise.all(copies.slice(0, 20).map(({ volumeId }) => volumes.find(volumeId)))
  return [...new Set(found.flatMap((volume) => volume?.rootOf ?? []))]
}

const amount = (count: number, one: string, many = `${one}s`): string | null =>
  count === 0 ? null : `${count} ${count === 1 ? one : many}`
