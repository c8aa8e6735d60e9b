import { join } from 'node:path'
import { mkdir } from 'node:fs/promises'
import { createHolderAgent } from '@volant/agent/holder/agent.ts'
import { createStorageAgent } from '@volant/agent/storage/agent.ts'
import { DomainError, type GuestDisk } from '@volant/contract'
import { ungoverned } from '@volant/control/testing/ungoverned.ts'
import { aggregatesBackend } from '@volant/control/backends/aggregates.ts'
import { openDatabase } from '@volant/control/db/open.ts'
import { attachmentRecords } from '@volant/control/db/repositories/attachment.ts'
import { copyRecords } from '@volant/control/db/repositories/copy.ts'
import { flexVolRecords } from '@volant/control/db/repositories/flexvol.ts'
import { operationStore } from '@volant/control/db/repositories/operation.ts'
import { volumeRecords } from '@volant/control/db/repositories/volume.ts'
import { defaultConvergencePolicy, type Convergence } from '@volant/control/domain/convergence.ts'
import { placesOf } from '@volant/control/domain/places.ts'
import type { Topology } from '@volant/control/domain/topology.ts'
import {
  newFlexVol,
  type Attachment,
  type Copy,
  type FlexVol,
  type Volume,
} from '@volant/control/domain/volume.ts'
import { ensureHead, ensureNoHead } from '@volant/control/operations/head.ts'
import { migrateVolume } from '@volant/control/operations/migrate-volume.ts'
import type { Agents } from '@volant/control/ports/agents.ts'
import { systemClock } from '@volant/control/ports/clock.ts'
import { bind, Executor, type LogEntry } from '@volant/saga'
import { timedCalls } from './timed-calls.ts'

const machine = 'bench'

const cluster = (folder: string, name: string, node: string, lif: string) => ({
  name,
  nodes: [
    {
      name: node,
      machine,
      dataAddress: '127.0.0.1',
      aggregates: [{ name: 'aggr1', path: join(folder, name) }],
    },
  ],
  flexvols: [{ name: 'fv', lif, junctionPath: '/fv', node, aggregate: 'aggr1' }],
})

/** Told how long each durable write took that an operation waited for, in milliseconds. */
export interface DurableWrites {
  /** Of the engine's journal. */
  journal?: (ms: number) => void
  /** In a cutover, while the client is held. */
  held?: (ms: number) => void
}

/**
 * What carries out a migration, without the HTTP in front of it: the real agents, the real database on disk, the
 * engine and the operation `volume.migrate`. Two clusters, in two folders below `folder`.
 */
export async function openDataPlane(folder: string, durable: DurableWrites = {}) {
  const topology: Topology = {
    host: machine,
    availabilityZone: 'nova',
    clusters: [cluster(folder, 'lma', 'lma-01', '127.0.0.1'), cluster(folder, 'lmb', 'lmb-01', '127.0.0.1')],
    computeHosts: [{ name: 'compute-1', machine }],
  }
  const runDir = join(folder, 'r')
  const storage = new Map(
    topology.clusters.flatMap(({ nodes }) =>
      nodes.map(({ name, aggregates, dataAddress }) => [
        name,
        createStorageAgent({ node: name, stateDir: join(folder, name), runDir, aggregates, dataAddress }),
      ]),
    ),
  )
  const { journal = () => {}, held = () => {} } = durable
  const holders = timedCalls(
    createHolderAgent({ host: machine, stateDir: join(folder, 'h'), runDir }),
    ['commitCutover'],
    held,
  )
  const agents: Agents = {
    storage(node) {
      const found = storage.get(node)
      if (!found) throw new DomainError('notFound', `There is no node ${node}.`)
      return found
    },
    holders: () => holders,
    compute() {
      throw new DomainError('unavailable', 'The bench has no compute host.')
    },
    shares() {
      throw new DomainError('unavailable', 'The bench has no shares.')
    },
  }
  for (const { nodes } of topology.clusters) {
    for (const { aggregates } of nodes)
      for (const { path } of aggregates) await mkdir(path, { recursive: true })
  }
  const db = await openDatabase(join(folder, 'volant.db'))
  const places = placesOf(topology)
  const flexvols = flexVolRecords(db)
  const records = {
    volumes: volumeRecords(db, systemClock),
    copies: timedCalls(copyRecords(db), ['changeTruth'], held),
    attachments: attachmentRecords(db),
    flexvols,
  }
  const backend = aggregatesBackend({
    agents,
    flexvols,
    fencedHeads: { isFenced: async () => false },
    machineOf: places.machineOfNode,
  })
  const ports = {
    ...records,
    backend,
    agents,
    places,
    policy: defaultConvergencePolicy,
    convergence: new Map<string, Convergence>(),
    pace: ungoverned,
    monotonic: () => performance.now(),
  }
  const executor = new Executor({
    store: timedCalls(operationStore(db), ['createRun', 'record'], journal),
    owner: 'bench',
    operations: [bind(migrateVolume, ports)],
  })
  await executor.begin()
  const caller = { fence: executor.fence }
  const pools: FlexVol[] = []
  for (const { name, flexvols: definitions } of topology.clusters) {
    for (const definition of definitions) {
      const flexvol = newFlexVol({ cluster: name, ...definition }, new Date().toISOString())
      await flexvols.create(flexvol)
      await backend.ensureFlexVol(caller, flexvol)
      pools.push(flexvol)
    }
  }
  const [lma, lmb] = pools as [FlexVol, FlexVol]
  return { folder, records, backend, holders, ports, executor, caller, lma, lmb, close }

  async function close(): Promise<void> {
    await executor.stop()
    for (const { holderId } of await holders.listHolders()) await holders.ensureNoHolder(caller, holderId)
    holders.detach()
    await db.destroy()
  }
}

export type DataPlane = Awaited<ReturnType<typeof openDataPlane>>

/** A volume in `lma` with an empty image of any size; its path is for whoever fills it. */
export async function makeVolume(plane: DataPlane, sizeBytes: number): Promise<Volume & { path: string }> {
  const { records, backend, lma, caller } = plane
  const id = crypto.randomUUID()
  const createdAt = new Date().toISOString()
  const copy = copyIn(lma, id, sizeBytes)
  const volume: Volume = {
    id,
    projectId: 'p',
    userId: 'u',
    name: 'bench',
    description: null,
    status: 'available',
    sizeGib: Math.ceil(sizeBytes / 1024 ** 3),
    migrationStatus: null,
    previousStatus: null,
    bootable: false,
    multiattach: false,
    availabilityZone: 'nova',
    volumeTypeId: null,
    sourceVolid: null,
    snapshotId: null,
    flexvolId: lma.id,
    imageId: copy.imageId,
    metadata: {},
    shareId: null,
    rootOf: null,
    imageMetadata: {},
    createdAt,
    updatedAt: null,
  }
  await records.volumes.create(volume)
  await records.copies.create(copy)
  await backend.ensureImage(caller, copy)
  return { ...volume, path: pathOf(plane, copy) }
}

export const copyIn = (flexvol: FlexVol, volumeId: string, sizeBytes: number): Copy => ({
  imageId: crypto.randomUUID(),
  volumeId,
  snapshotId: null,
  flexvolId: flexvol.id,
  node: flexvol.node,
  sizeBytes,
  aggregate: flexvol.aggregate,
  state: 'live',
  operationId: null,
  reservedBytes: 0,
  retainedUntil: null,
  createdAt: new Date().toISOString(),
})

export const pathOf = (plane: DataPlane, copy: Copy): string =>
  join(plane.folder, copy.node === plane.lma.node ? 'lma' : 'lmb', 'fv', copy.imageId)

/** Attaches the volume to a host without a server: its head runs, and says where a client connects. */
export async function attach(
  plane: DataPlane,
  volume: Volume,
): Promise<{ attachment: Attachment; disk: GuestDisk }> {
  const now = new Date().toISOString()
  const id = crypto.randomUUID()
  const attachment: Attachment = {
    id,
    headId: id,
    volumeId: volume.id,
    serverId: 'server',
    projectId: 'p',
    host: 'compute-1',
    status: 'attached',
    shareId: null,
    rootOf: null,
    attachMode: 'rw',
    mountpoint: '/dev/vdb',
    bootIndex: null,
    connector: null,
    deleteOnTermination: false,
    attachedAt: now,
    createdAt: now,
  }
  await plane.records.attachments.create(attachment)
  return { attachment, disk: await ensureHead(plane.ports, plane.caller, attachment) }
}

export async function detach(plane: DataPlane, attachment: Attachment): Promise<void> {
  await ensureNoHead(plane.ports, plane.caller, attachment)
  await plane.records.attachments.remove(attachment.id)
}

export interface Migration {
  /** The path of the volume's image afterwards. */
  path: string
  /** What the operation itself reported: by the daemon's events WAITING to CONCLUDED; null for a detached volume. */
  pauseMs: number | null
  /** From job-complete to CONCLUDED: no request waited longer for the cutover. */
  pauseBoundMs: number | null
  removeSource(): Promise<void>
  /** From the request to the end, with everything. */
  totalMs: number
  log: LogEntry[]
}

/**
 * Moves the volume to the other cluster by the operation, and waits for its end. The source is kept, as it is by
 * default: `removeSource` takes it away when nothing is measured.
 */
export async function migrate(plane: DataPlane, volumeId: string): Promise<Migration> {
  const { executor, records, lma, lmb } = plane
  const { imageId, flexvolId } = await records.volumes.get(volumeId)
  const targetFlexvolId = flexvolId === lma.id ? lmb.id : lma.id
  const targetImageId = crypto.randomUUID()
  const begun = performance.now()
  const started = await executor.start(migrateVolume, {
    volumeId,
    sourceImageId: imageId ?? '',
    sourceFlexvolId: flexvolId ?? '',
    targetFlexvolId,
    targetImageId,
    reservedBytes: 0,
    cutoverWindowMs: 30_000,
    cutoverAttempts: 5,
    retentionSeconds: 600,
    lockedFrom: null,
  })
  const run = await executor.ended(started.id)
  const totalMs = performance.now() - begun
  if (run.state !== 'succeeded')
    throw new Error(`The migration ${run.state}: ${run.failure?.message ?? 'no reason'}`)
  const log = await executor.history(run.id)
  const report = log.find(({ event, step }) => event === 'done' && step === 'cutover')?.output
  const path = pathOf(plane, await records.copies.get(targetImageId))
  const removeSource = async () => {
    const source = await records.copies.get(imageId ?? '')
    await plane.backend.ensureNoImage(plane.caller, source)
    await records.copies.remove(source.imageId)
  }
  return {
    path,
    totalMs,
    log,
    removeSource,
    ...(report as Pick<Migration, 'pauseMs' | 'pauseBoundMs'>),
  }
}
