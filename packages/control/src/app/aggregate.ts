import { dirname, join, resolve } from 'node:path'
import { DomainError, messageOf, type AggregateDefinition, type AggregateInfo } from '@volant/contract'
import { sizeText } from '../domain/size-text.ts'
import { aggregateId, aggregateKey } from '../domain/aggregate-name.ts'
import { availableBytes, placeKey } from '../domain/aggregate-space.ts'
import type { Cluster, StorageNode, Topology } from '../domain/topology.ts'
import type { FlexVol } from '../domain/volume.ts'
import { createAggregate } from '../operations/create-aggregate.ts'
import { deleteAggregate } from '../operations/delete-aggregate.ts'
import type { AggregateContents, ImagesThere } from '../ports/aggregate-contents.ts'
import type { AggregateFlexVol, AggregateRequest, Aggregates, AggregateView } from '../ports/aggregates.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AggregateRecords, FlexVolRecords } from '../ports/records.ts'
import type { Vacating } from '../ports/vacating.ts'
import { createSpaces } from './space.ts'

export interface AggregateSources {
  topology: Pick<Topology, 'clusters'>
  agents: Pick<Agents, 'storage'>
  backend: Pick<Backend, 'spaceAt'>
  records: AggregateRecords
  contents: AggregateContents
  flexvols: Pick<FlexVolRecords, 'list'>
  vacating: Vacating
  engine: Pick<OperationEngine, 'start' | 'underWay' | 'holderOf'>
}

const mib = 1024 ** 2
/** As the storage node has it: what XFS formats, and room for something in it. */
const leastXfsBytes = 512 * mib
const leastFolderBytes = 64 * mib
/** Sizes of files are multiples of it. */
const blockBytes = 4096
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** An aggregate by the configuration or the records, whether its node answers or not. */
interface Known extends AggregateDefinition {
  cluster: string
  node: string
  machine: string
  createdAt: string | null
}

export function createAggregates(sources: AggregateSources): Aggregates {
  const spaces = createSpaces(sources.backend)

  const known = async (): Promise<Known[]> => {
    const made = await sources.records.list()
    return sources.topology.clusters.flatMap((cluster) =>
      cluster.nodes.flatMap((node) => [
        ...node.aggregates.map((one) => knownOf(cluster, node, one, null)),
        ...made
          .filter((one) => one.cluster === cluster.name && one.node === node.name)
          .filter(({ name }) => !node.aggregates.some((one) => one.name === name))
          .map((one) => knownOf(cluster, node, one, one.createdAt)),
      ]),
    )
  }

  const view = async (all: readonly Known[]): Promise<AggregateView[]> => {
    const [flexvols, images, reserved, deletions, vacating, nodes] = await Promise.all([
      sources.flexvols.list(),
      sources.contents.images(),
      sources.contents.reserved(),
      sources.engine.underWay([deleteAggregate.kind]),
      sources.vacating(),
      askNodes(sources.agents, new Set(all.map(({ node }) => node))),
    ])
    const deleted = new Set(deletions.flatMap(({ keys }) => keys))
    return Promise.all(
      all.map(async (one): Promise<AggregateView> => {
        const place = { node: one.node, aggregate: one.name }
        const info = foundIn(nodes, one)
        const space = typeof info === 'string' ? info : await spaces(place, 'now').catch(messageOf)
        const reason = typeof space === 'string' ? space : null
        const isDeleted = deleted.has(aggregateKey(one.cluster, one.name))
        const held = reserved.get(placeKey(place)) ?? 0
        const vacatedBy = vacating.get(aggregateId(one.cluster, one.name))
        return {
          cluster: one.cluster,
          node: one.node,
          name: one.name,
          path: one.path,
          filesystem: one.filesystem ?? 'folder',
          configured: one.createdAt === null,
          createdAt: one.createdAt,
          state: isDeleted ? 'deleting' : reason === null ? 'online' : 'unavailable',
          reason,
          ...(vacatedBy !== undefined && { vacatedBy }),
          reflink: typeof info === 'string' ? null : info.reflink,
          space:
            typeof space === 'string'
              ? null
              : {
                  totalBytes: space.totalBytes,
                  usedBytes: space.usedBytes,
                  freeBytes: space.freeBytes,
                  reservedBytes: held,
                  availableBytes: availableBytes(space, held),
                },
          flexvols: flexVolsAt(place, one.cluster, flexvols, images),
        }
      }),
    )
  }

  return {
    list: async () => view(await known()),
    async find(cluster, name) {
      const found = (await known()).filter((one) => one.cluster === cluster && one.name === name)
      return (await view(found))[0]
    },

    async create(request) {
      const node = requireNode(sources.topology, request)
      const { filesystem, sizeBytes } = requireForm(request)
      const all = await known()
      requireFreeName(all, request)
      const path = join(dirname(node.aggregates[0]?.path ?? '/'), request.name)
      requireFreePath(all, node, path)
      // One that is away can't make it.
      await sources.agents.storage(node.name).listAggregates()
      const input = { cluster: request.cluster, node: node.name, name: request.name, path }
      const { id } = await sources.engine.start(createAggregate, { ...input, filesystem, sizeBytes })
      return { operationId: id }
    },

    async remove(cluster, name) {
      const found = (await known()).find((one) => one.cluster === cluster && one.name === name)
      if (found === undefined) throw noAggregate(cluster, name)
      if (found.createdAt === null) {
        throw new DomainError(
          'conflict',
          `Aggregate ${name} of cluster ${cluster} is of the configuration; remove it from volant.yaml.`,
        )
      }
      const [flexvols, images] = await Promise.all([sources.flexvols.list(), sources.contents.images()])
      const place = { node: found.node, aggregate: name }
      const inUse = flexVolsAt(place, cluster, flexvols, images).map(useOf)
      if (inUse.length > 0) {
        throw new DomainError(
          'conflict',
          `Aggregate ${name} of cluster ${cluster} is in use: ${inUse.join('; ')}.`,
        )
      }
      const { id } = await sources.engine.start(deleteAggregate, { cluster, node: found.node, name })
      return { operationId: id }
    },
  }
}

const knownOf = (
  cluster: Cluster,
  node: StorageNode,
  definition: AggregateDefinition,
  createdAt: string | null,
): Known => ({
  ...definition,
  path: resolve(definition.path),
  cluster: cluster.name,
  node: node.name,
  machine: node.machine,
  createdAt,
})

const noAggregate = (cluster: string, name: string): DomainError =>
  new DomainError('notFound', `Cluster ${cluster} has no aggregate ${name}.`)

/** What each node has; a text says why it does not answer. */
async function askNodes(
  agents: Pick<Agents, 'storage'>,
  names: ReadonlySet<string>,
): Promise<Map<string, AggregateInfo[] | string>> {
  const asked = [...names].map(async (name): Promise<[string, AggregateInfo[] | string]> => {
    try {
      return [name, await agents.storage(name).listAggregates()]
    } catch (error) {
      return [name, messageOf(error)]
    }
  })
  return new Map(await Promise.all(asked))
}

/** A text: why it can't be used. */
function foundIn(
  nodes: ReadonlyMap<string, AggregateInfo[] | string>,
  { node, name }: Known,
): AggregateInfo | string {
  const infos = nodes.get(node) ?? []
  if (typeof infos === 'string') return infos
  const info = infos.find((one) => one.name === name)
  return info === undefined ? `Node ${node} does not have it.` : (info.down ?? info)
}

function flexVolsAt(
  place: { node: string; aggregate: string },
  cluster: string,
  flexvols: readonly FlexVol[],
  images: readonly ImagesThere[],
): AggregateFlexVol[] {
  const isHere = (other: { node: string; aggregate: string } | null): boolean =>
    other !== null && placeKey(other) === placeKey(place)
  return flexvols
    .filter((flexvol) => flexvol.cluster === cluster)
    .flatMap((flexvol): AggregateFlexVol[] => {
      const there = images.find((one) => isHere(one) && one.flexvolId === flexvol.id)
      const role = isHere(flexvol) ? 'home' : isHere(flexvol.destination) ? 'destination' : 'images'
      if (role === 'images' && there === undefined) return []
      const { id, name } = flexvol
      const { retained = 0, retainedUntil = null } = there ?? {}
      return [{ id, name, role, images: there?.images ?? 0, retained, retainedUntil }]
    })
}

function useOf({ name, role, images, retained, retainedUntil }: AggregateFlexVol): string {
  if (role === 'home') return `FlexVol ${name} is on it; move it to another aggregate, or delete it`
  if (role === 'destination') return `FlexVol ${name} is moving to it; abort that move`
  if (images > 0) return `${images} images of FlexVol ${name} are on it`
  return `${retained} images of FlexVol ${name} are kept on it for an undo, until ${retainedUntil}`
}

function requireNode(
  { clusters }: Pick<Topology, 'clusters'>,
  { cluster: name, node: wanted }: AggregateRequest,
): StorageNode {
  const cluster = clusters.find((one) => one.name === name)
  if (cluster === undefined) {
    throw new DomainError(
      'notFound',
      `There is no cluster ${name}; there are ${clusters.map((one) => one.name).join(', ')}.`,
    )
  }
  const node = wanted === undefined ? cluster.nodes[0] : cluster.nodes.find((one) => one.name === wanted)
  if (node !== undefined) return node
  const names = cluster.nodes.map((one) => one.name).join(', ')
  throw new DomainError('notFound', `Cluster ${name} has no node ${wanted}; it has ${names}.`)
}

/** Null as the file system: the node is to see. */
function requireForm({ name, filesystem, sizeBytes }: AggregateRequest): {
  filesystem: 'folder' | 'xfs' | null
  sizeBytes: number | null
} {
  if (!namePattern.test(name)) {
    throw new DomainError(
      'invalid',
      `'${name}' is no name for an aggregate; use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit.`,
    )
  }
  if (sizeBytes !== undefined && (!Number.isSafeInteger(sizeBytes) || sizeBytes < leastFolderBytes)) {
    throw new DomainError(
      'invalid',
      `${sizeText(sizeBytes)} is no size for an aggregate; the least is 64 MiB.`,
    )
  }
  if (filesystem === 'xfs' && (sizeBytes ?? 0) < leastXfsBytes) {
    throw new DomainError('invalid', 'An aggregate that is XFS needs a size, of at least 512 MiB.')
  }
  if (sizeBytes === undefined) return { filesystem: 'folder', sizeBytes: null }
  const whole = Math.ceil(sizeBytes / blockBytes) * blockBytes
  return { filesystem: filesystem ?? (whole < leastXfsBytes ? 'folder' : null), sizeBytes: whole }
}

function requireFreeName(all: readonly Known[], { cluster, name }: AggregateRequest): void {
  const taken = all.find((one) => one.cluster === cluster && one.name === name)
  if (taken === undefined) return
  throw new DomainError('conflict', `Cluster ${cluster} has an aggregate ${name}, on node ${taken.node}.`)
}

/** Nodes of one machine share its folders. */
function requireFreePath(all: readonly Known[], { machine }: StorageNode, path: string): void {
  const taken = all.find(
    (one) =>
      one.machine === machine &&
      (`${one.path}/`.startsWith(`${path}/`) || `${path}/`.startsWith(`${one.path}/`)),
  )
  if (taken === undefined) return
  throw new DomainError(
    'conflict',
    `${path} is, or lies in, the place of aggregate ${taken.name} of node ${taken.node}; choose another name.`,
  )
}
