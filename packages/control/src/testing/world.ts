import { createSimulatedComputeAgent } from '@volant/agent/simulated/compute.ts'
import { createSimulatedShareAgent } from '@volant/agent/simulated/shares.ts'
import { createSimulatedHolderAgent } from '@volant/agent/simulated/holder.ts'
import { createSimulatedStorageAgent, type SimulatedImage } from '@volant/agent/simulated/storage.ts'
import { DomainError } from '@volant/contract'
import { ungoverned } from './ungoverned.ts'
import { aggregatesBackend } from '../backends/aggregates.ts'
import { openMemoryDatabase } from './database.ts'
import { fencedHeadRecords } from '../db/repositories/fenced-head.ts'
import { storageRecords } from '../db/repositories/storage-records.ts'
import { defaultConvergencePolicy, type Convergence } from '../domain/convergence.ts'
import type { CopyProgress } from '../domain/copy-progress.ts'
import { CutoverTurns } from '../domain/cutover-turns.ts'
import { placesOf } from '../domain/places.ts'
import type { Topology } from '../domain/topology.ts'
import { gib, newFlexVol, type Attachment, type FlexVol, type Volume } from '../domain/volume.ts'
import type { MigrateVolumeInput } from '../operations/migrate-volume.ts'
import type { Agents } from '../ports/agents.ts'
import { systemClock } from '../ports/clock.ts'

/**
 * `lma2`: the machine of a second node of the first cluster; absent: it has one. `compute2`: that of a second compute
 * host, compute-2; absent: there is one.
 */
export interface Machines {
  lma: string
  lmb: string
  compute: string
  lma2?: string
  compute2?: string
}

/** A topology of two clusters; storage nodes and the compute host on machines as asked. */
function testTopology(machines: Machines): Topology {
  const cluster = (name: string, node: string, machine: string, lif: string, flexvol: string) => ({
    name,
    nodes: [
      {
        name: node,
        machine,
        dataAddress: lif,
        aggregates: aggregatesOf(node, 'aggr1', 'aggr2'),
      },
    ],
    flexvols: [{ name: flexvol, lif, junctionPath: `/${flexvol}`, node, aggregate: 'aggr1' }],
  })
  const lma = cluster('cinder-lma', 'lma-01', machines.lma, '127.250.118.49', 'cinder_flexvol_OSTK02')
  if (machines.lma2 !== undefined) {
    lma.nodes.push({
      name: 'lma-02',
      machine: machines.lma2,
      dataAddress: '127.250.118.50',
      aggregates: aggregatesOf('lma-02', 'aggr3'),
    })
  }
  return {
    host: 'testhost',
    availabilityZone: 'nova',
    clusters: [lma, cluster('cinder-lmb', 'lmb-01', machines.lmb, '127.250.118.51', 'cinder_flexvol_OSTK09')],
    computeHosts: [
      { name: 'compute-1', machine: machines.compute },
      ...(machines.compute2 === undefined ? [] : [{ name: 'compute-2', machine: machines.compute2 }]),
    ],
  }
}

const aggregatesOf = (node: string, ...names: string[]) =>
  names.map((name) => ({ name, path: `/simulated/${node}/${name}` }))

/** A control plane's inside over an in-memory database and simulated agents: what operations are tested in. */
export async function openWorld(
  machines: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' },
  options: {
    /** Whether images can share blocks; absent: yes. */
    reflink?: boolean
    /** Of a head's mirrors and copies, which the test leads on then; absent: they are at once. */
    firstPhase?: 'copying'
  } = {},
) {
  const topology = testTopology(machines)
  const db = await openMemoryDatabase()
  const nodes = new Map(
    topology.clusters.flatMap((c) =>
      c.nodes.map((n) => [
        n.name,
        createSimulatedStorageAgent({
          node: n.name,
          aggregates: n.aggregates.map(({ name }) => ({
            name,
            totalBytes: 2 ** 40,
            reflink: options.reflink ?? true,
          })),
          onExported: (imageId, from) => receive(imageId, from),
        }),
      ]),
    ),
  )
  const receive = (imageId: string, { content, allocatedBytes }: SimulatedImage): void => {
    for (const node of nodes.values()) {
      const image = node.images.get(imageId)
      if (image) Object.assign(image, { content, allocatedBytes, changes: image.changes + 1 })
    }
  }
  const open = (imageId: string, isOpen: boolean) => {
    for (const node of nodes.values()) {
      if (isOpen) node.openImages.add(imageId)
      else node.openImages.delete(imageId)
    }
  }
  const holders = new Map(
    [...new Set(Object.values(machines))].map((machine) => [
      machine,
      createSimulatedHolderAgent({
        host: machine,
        ...(options.firstPhase !== undefined && { firstPhase: options.firstPhase }),
        onOpen: (imageId) => open(imageId, true),
        onClose: (imageId) => open(imageId, false),
      }),
    ]),
  )
  const shares = new Map([...nodes.keys()].map((node) => [node, createSimulatedShareAgent({ node })]))
  const hosts = new Map(
    topology.computeHosts.map(({ name }) => [name, createSimulatedComputeAgent({ host: name })]),
  )
  const found = <T>(map: Map<string, T>, name: string): T => {
    const agent = map.get(name)
    if (agent === undefined) throw new DomainError('unavailable', `There is no agent '${name}'.`)
    return agent
  }
  const agents = {
    storage: (node: string) => found(nodes, node),
    holders: (machine: string) => found(holders, machine),
    compute: (host: string) => found(hosts, host),
    shares: (node: string) => found(shares, node),
  } satisfies Agents
  const places = placesOf(topology)
  const records = storageRecords(db, systemClock)
  const { flexvols } = records
  const fencedHeads = fencedHeadRecords(db)
  const backend = aggregatesBackend({ agents, flexvols, fencedHeads, machineOf: places.machineOfNode })
  const pools: FlexVol[] = []
  for (const cluster of topology.clusters) {
    for (const definition of cluster.flexvols) {
      const flexvol = newFlexVol({ cluster: cluster.name, ...definition }, new Date().toISOString())
      await flexvols.create(flexvol)
      await backend.ensureFlexVol({ fence: 0 }, flexvol)
      pools.push(flexvol)
    }
  }
  const [lma, lmb] = pools as [FlexVol, FlexVol]
  const ports = {
    ...records,
    backend,
    fencedHeads,
    agents,
    places,
    policy: defaultConvergencePolicy,
    convergence: new Map<string, Convergence>(),
    copying: new Map<string, CopyProgress>(),
    turns: new CutoverTurns(),
    pace: ungoverned,
    monotonic: () => performance.now(),
  }
  return {
    topology,
    db,
    nodes,
    holders,
    hosts,
    agents,
    places,
    pace: ungoverned,
    records,
    backend,
    ports,
    lma,
    lmb,
  }
}

export type World = Awaited<ReturnType<typeof openWorld>>

/** A volume of 1 GiB with its image in a pool, attached to a server of compute-1 if asked. */
export async function makeVolume(
  world: World,
  flexvol: FlexVol,
  options: {
    attached: boolean
    /** The control plane's, where there is one; 0 where absent. */
    fence?: number
  },
): Promise<Volume> {
  const { records, backend } = world
  const id = crypto.randomUUID()
  const imageId = crypto.randomUUID()
  const createdAt = new Date().toISOString()
  const volume: Volume = {
    id,
    projectId: 'p',
    userId: 'u',
    name: 'data',
    description: null,
    sizeGib: 1,
    status: options.attached ? 'in-use' : 'available',
    migrationStatus: null,
    previousStatus: null,
    bootable: false,
    multiattach: false,
    availabilityZone: 'nova',
    volumeTypeId: null,
    flexvolId: flexvol.id,
    imageId,
    sourceVolid: null,
    snapshotId: null,
    metadata: {},
    shareId: null,
    rootOf: null,
    imageMetadata: {},
    createdAt,
    updatedAt: null,
  }
  await records.volumes.create(volume)
  const copy = {
    imageId,
    volumeId: id,
    snapshotId: null,
    flexvolId: flexvol.id,
    node: flexvol.node,
    aggregate: flexvol.aggregate,
    sizeBytes: gib,
    state: 'live' as const,
    operationId: null,
    reservedBytes: 0,
    retainedUntil: null,
    createdAt,
  }
  await records.copies.create(copy)
  await backend.ensureImage({ fence: options.fence ?? 0 }, copy)
  if (options.attached) await records.attachments.create(attachmentOf(volume))
  return volume
}

export const attachmentOf = (volume: Volume, id: string = crypto.randomUUID()): Attachment => ({
  id,
  headId: id,
  volumeId: volume.id,
  serverId: 'server-1',
  projectId: volume.projectId,
  host: 'compute-1',
  status: 'attached',
  shareId: null,
  rootOf: null,
  attachMode: 'rw',
  mountpoint: '/dev/vdb',
  bootIndex: null,
  deleteOnTermination: false,
  connector: null,
  attachedAt: volume.createdAt,
  createdAt: volume.createdAt,
})

/** A migration of the volume from lma to lmb, as a request would start it. */
export const migrationInput = (world: World, volume: Volume): MigrateVolumeInput => ({
  volumeId: volume.id,
  sourceImageId: volume.imageId as string,
  sourceFlexvolId: world.lma.id,
  targetFlexvolId: world.lmb.id,
  targetImageId: crypto.randomUUID(),
  reservedBytes: 4096,
  cutoverWindowMs: 1000,
  cutoverAttempts: 3,
  retentionSeconds: 600,
  lockedFrom: null,
})
