import { OntapError, ontapCodes } from '../../domain/ontap/error.ts'
import { svmName, uuidOf } from '../../domain/ontap/identity.ts'
import { isJobOf, jobRecord } from '../../domain/ontap/job.ts'
import { movementRecord } from '../../domain/ontap/movement.ts'
import { looksAt, type OntapQuery, type OntapRecord } from '../../domain/ontap/query.ts'
import {
  aggregateRecord,
  clusterRecord,
  fileRecord,
  interfaceRecord,
  nodeRecord,
  snapshotRecord,
  svmRecord,
  volumeRecord,
} from '../../domain/ontap/records.ts'
import type { Cluster } from '../../domain/topology.ts'
import type { FlexVol } from '../../domain/volume.ts'
import type { Executor, RunRecord } from '@volant/saga'
import type { Aggregates, AggregateView } from '../../ports/aggregates.ts'
import type { FlexVolMoves, Movement } from '../../ports/flexvol-moves.ts'
import type { CopyRecords, FlexVolRecords, SnapshotRecords } from '../../ports/records.ts'
import type { FlexVols } from '../flexvol.ts'

/**
 * One storage cluster as its REST API shows it: records of everything, from which the query takes its pick. A figure
 * that costs something (what images occupy) is only there where the query looks at it.
 */
export interface OntapCluster {
  readonly name: string
  cluster(address: string): OntapRecord
  nodes(query: OntapQuery): Promise<OntapRecord[]>
  aggregates(): Promise<OntapRecord[]>
  /** Of one, where `uuid` is given; empty: there is none. */
  volumes(query: OntapQuery, uuid?: string): Promise<OntapRecord[]>
  /** Throw code 4 for an unknown volume. */
  snapshots(volumeUuid: string): Promise<OntapRecord[]>
  files(volumeUuid: string): Promise<OntapRecord[]>
  svms(): Promise<OntapRecord[]>
  interfaces(): Promise<OntapRecord[]>
  /** Operations about this cluster, newest first, without the parts of others. */
  jobs(): Promise<OntapRecord[]>
  /** Throws code 4. */
  job(uuid: string): Promise<RunRecord>
  jobView(run: RunRecord): OntapRecord
  /** Throws where the cluster has no such SVM. */
  requireSvm(svm: { name?: string; uuid?: string }): void
}

export interface OntapClusterSources {
  cluster: Cluster
  version: string
  flexvols: Pick<FlexVolRecords, 'list' | 'find'>
  copies: Pick<CopyRecords, 'ofFlexVol'>
  snapshots: Pick<SnapshotRecords, 'ofFlexVol'>
  aggregates: Pick<Aggregates, 'list'>
  moves: Pick<FlexVolMoves, 'movements' | 'movementOf'>
  usedBytes: FlexVols['usedBytes']
  executor: Pick<Executor, 'get' | 'list'>
}

/** Jobs that a list goes back through, newest first. */
const jobsListed = 10_000

export function createOntapCluster(sources: OntapClusterSources): OntapCluster {
  const { cluster } = sources
  const ownFlexVols = async (): Promise<FlexVol[]> =>
    (await sources.flexvols.list()).filter((flexvol) => flexvol.cluster === cluster.name)
  const ownAggregates = async (): Promise<AggregateView[]> =>
    (await sources.aggregates.list()).filter((aggregate) => aggregate.cluster === cluster.name)
  const flexvolOf = async (uuid: string): Promise<FlexVol> => {
    const flexvol = await sources.flexvols.find(uuid)
    if (flexvol?.cluster !== cluster.name) throw OntapError.notFound(`volume ${uuid}`, 'uuid')
    return flexvol
  }

  return {
    name: cluster.name,
    cluster: (address) => clusterRecord(cluster, sources.version, address),
    async nodes(query) {
      const aggregates = looksAt(query, 'state') ? await ownAggregates() : []
      const isUp = (node: string): boolean =>
        !aggregates.some((aggregate) => aggregate.node === node && aggregate.state === 'unavailable')
      return cluster.nodes.map((node) => nodeRecord(cluster, node, sources.version, isUp(node.name)))
    },
    async aggregates() {
      return (await ownAggregates()).map((view) =>
        aggregateRecord(cluster, {
          ...view,
          volumes: view.flexvols.filter(({ role }) => role === 'home').length,
        }),
      )
    },
    volumes: (query, uuid) => volumesOf(sources, query, uuid),
    async snapshots(volumeUuid) {
      const flexvol = await flexvolOf(volumeUuid)
      const found = await sources.snapshots.ofFlexVol(flexvol.id)
      return found.map((snapshot) => snapshotRecord(cluster, flexvol, snapshot))
    },
    async files(volumeUuid) {
      const flexvol = await flexvolOf(volumeUuid)
      // The files of a share are its users'; those below it are none of theirs.
      if (flexvol.shareId !== null) return []
      const copies = await sources.copies.ofFlexVol(flexvol.id)
      return copies.filter(({ state }) => state === 'live').map(fileRecord)
    },
    async svms() {
      const aggregates = await ownAggregates()
      return [
        svmRecord(
          cluster,
          aggregates.map(({ name }) => name),
        ),
      ]
    },
    async interfaces() {
      const served = cluster.shares === undefined ? [] : [cluster.shares.lif]
      const lifs = new Set([...(await ownFlexVols()).map(({ lif }) => lif), ...served])
      return [...lifs].map((lif) => interfaceRecord(cluster, lif))
    },
    async jobs() {
      const ids = new Set((await ownFlexVols()).map(({ id }) => id))
      const own = (await allRuns(sources.executor)).filter(
        (run) => run.parentId === null && isJobOf(cluster.name, ids, run),
      )
      return own.map((run) => jobRecord(cluster, run))
    },
    async job(uuid) {
      const run = await sources.executor.get(uuid).catch(() => undefined)
      const ids = new Set((await ownFlexVols()).map(({ id }) => id))
      if (run === undefined || !isJobOf(cluster.name, ids, run))
        throw OntapError.notFound(`job ${uuid}`, 'uuid')
      return run
    },
    jobView: (run) => jobRecord(cluster, run),
    requireSvm(svm) {
      const name = svmName(cluster.name)
      const uuid = uuidOf(cluster.name, 'svm', name)
      const nameFits = svm.name === undefined || svm.name === name
      const uuidFits = svm.uuid === undefined || svm.uuid === uuid
      if (nameFits && uuidFits) return
      if (svm.name !== undefined && svm.uuid !== undefined && nameFits !== uuidFits) {
        throw new OntapError(
          400,
          ontapCodes.svmMismatch,
          'The specified "svm.name" and "svm.uuid" do not refer to the same SVM.',
          'svm',
        )
      }
      throw new OntapError(
        404,
        ontapCodes.noSuchSvm,
        `SVM "${(svm.name ?? svm.uuid ?? '').slice(0, 200)}" does not exist. Cluster ${cluster.name} has one: ${name}.`,
        'svm',
      )
    },
  }
}

async function allRuns(executor: Pick<Executor, 'list'>): Promise<RunRecord[]> {
  const runs: RunRecord[] = []
  for (;;) {
    const after = runs.at(-1)?.id
    const page = await executor.list({ limit: 1000, ...(after !== undefined && { after }) })
    runs.push(...page.runs)
    if (!page.more || runs.length >= jobsListed) return runs
  }
}

async function volumesOf(
  sources: OntapClusterSources,
  query: OntapQuery,
  uuid: string | undefined,
): Promise<OntapRecord[]> {
  const { cluster } = sources
  const all = uuid === undefined
  const found = all ? await sources.flexvols.list() : [await sources.flexvols.find(uuid)]
  const flexvols = found.filter((flexvol) => flexvol?.cluster === cluster.name) as FlexVol[]
  const wantsSpace = ['space', 'size'].some((field) => looksAt(query, field))
  const aggregates = wantsSpace || looksAt(query, 'state') ? await sources.aggregates.list() : []
  const movements = looksAt(query, 'movement')
    ? await (all ? sources.moves.movements() : movementOf(sources, uuid))
    : new Map<string, Movement>()
  return Promise.all(
    flexvols.map(async (flexvol) => {
      const aggregate = aggregates.find((a) => a.cluster === cluster.name && a.name === flexvol.aggregate)
      const movement = movements.get(flexvol.id)
      return volumeRecord(cluster, {
        flexvol,
        isOnline: aggregate?.state !== 'unavailable',
        space: wantsSpace && aggregate !== undefined ? await spaceOf(sources, flexvol, aggregate) : null,
        movement: movement === undefined ? null : movementView(cluster, movement),
      })
    }),
  )
}

async function movementOf(sources: OntapClusterSources, uuid: string): Promise<Map<string, Movement>> {
  const movement = await sources.moves.movementOf(uuid)
  return new Map(movement === undefined ? [] : [[uuid, movement]])
}

const movementView = (cluster: Cluster, { move, state, percentComplete }: Movement): OntapRecord =>
  movementRecord(cluster, {
    destination: move.to.aggregate,
    // It has no word for the way back, on which images are copied as well.
    state: state === 'bringing-back' ? 'replicating' : state,
    percentComplete,
    startedAt: move.startedAt,
    cutoverWindowSeconds: move.cutoverWindowSeconds,
    cutoverAction: move.cutoverAction,
  })

/** Null where a node does not answer. */
async function spaceOf(
  sources: OntapClusterSources,
  flexvol: FlexVol,
  aggregate: AggregateView,
): Promise<{ usedBytes: number; availableBytes: number } | null> {
  if (aggregate.space === null) return null
  try {
    const usedBytes = await sources.usedBytes(flexvol)
    const rest = flexvol.sizeBytes === null ? Infinity : Math.max(0, flexvol.sizeBytes - usedBytes)
    return { usedBytes, availableBytes: Math.min(rest, aggregate.space.availableBytes) }
  } catch {
    return null
  }
}
