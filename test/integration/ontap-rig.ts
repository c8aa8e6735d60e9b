import { bind, Executor, operation, type Operation } from '@volant/saga'
import { DomainError } from '@volant/contract'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { createFlexVols } from '../../packages/control/src/app/flexvol.ts'
import { operationEngine } from '../../packages/control/src/app/operation-engine.ts'
import { createOntapChanges } from '../../packages/control/src/app/ontap/changes.ts'
import { createOntapCluster } from '../../packages/control/src/app/ontap/cluster.ts'
import { createOntapNfs } from '../../packages/control/src/app/ontap/nfs.ts'
import { operationStore } from '../../packages/control/src/db/repositories/operation.ts'
import { snapshotRecords } from '../../packages/control/src/db/repositories/snapshot.ts'
import type { FlexVolMove } from '../../packages/control/src/domain/flexvol-move.ts'
import { svmName, uuidOf } from '../../packages/control/src/domain/ontap/identity.ts'
import { buildOntapServer } from '../../packages/control/src/http/ontap/server.ts'
import { createFlexVol } from '../../packages/control/src/operations/create-flexvol.ts'
import { deleteFlexVol } from '../../packages/control/src/operations/delete-flexvol.ts'
import { renameFlexVol } from '../../packages/control/src/operations/rename-flexvol.ts'
import type { Aggregates, AggregateView } from '../../packages/control/src/ports/aggregates.ts'
import type { FlexVolMoves, Movement } from '../../packages/control/src/ports/flexvol-moves.ts'
import type { OperationEngine } from '../../packages/control/src/ports/operations.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { openWorld, type World } from '../../packages/control/src/testing/world.ts'

export const password = 'the password'
export const cluster = 'cinder-lma'
export const svm = svmName(cluster)
export const aggregateUuid = (name: string): string => uuidOf(cluster, 'aggregate', name)

export interface OntapReply {
  status: number
  headers: Record<string, unknown>
  // oxlint-disable-next-line typescript/no-explicit-any -- what a test reads of an answer it asserts
  body: any
}

export interface OntapRig {
  world: World
  app: FastifyInstance
  executor: Executor
  /** What was asked of the moves, in order. */
  wishes: unknown[][]
  /** Lets the move under way end. */
  endMove(): Promise<void>
  call(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    options?: { body?: unknown; headers?: Record<string, string> },
  ): Promise<OntapReply>
  stop(): Promise<void>
}

/**
 * The REST API of the first cluster, with two aggregates (the second with 1 GiB) and one FlexVol, over simulated nodes,
 * an in-memory database and the real engine. Moves and aggregates are doubles of their ports.
 */
export async function openOntapRig(): Promise<OntapRig> {
  const world = await openWorld()
  const [own] = world.topology.clusters
  const node = world.nodes.get('lma-01')
  if (own === undefined || node === undefined) throw new Error('the world has no cluster')
  const second = { name: 'aggr2', path: '/simulated/lma-01/aggr2' }
  const [storageNode] = own.nodes
  if (storageNode?.aggregates.some(({ name }) => name === second.name) !== true) {
    storageNode?.aggregates.push(second)
  }
  node.aggregates.set('aggr2', { ...second, filesystem: 'folder', reflink: true, totalBytes: 2 ** 30 })

  const store = operationStore(world.db)
  const late: { executor?: Executor } = {}
  const engine = operationEngine(() => late.executor as Executor, store)
  const snapshots = snapshotRecords(world.db)
  const records = { ...world.records, snapshots }
  const aggregates = aggregatesOf(world)
  const moving = movesDouble(world, engine, aggregates)
  const executor = new Executor({
    store,
    owner: 'rig',
    operations: [
      bind(createFlexVol, world.ports),
      bind(renameFlexVol, world.ports),
      bind(deleteFlexVol, world.ports),
      bind(moving.operation, {}),
    ],
    policy: { step: { attempts: 2, backoff: '1ms' }, longestBackoff: '5ms' },
  })
  late.executor = executor
  await executor.begin()
  const changes = createFlexVols({
    topology: world.topology,
    ...records,
    backend: world.backend,
    aggregates,
    engine,
  })
  const view = createOntapCluster({
    cluster: own,
    version: '1.2.3',
    ...records,
    aggregates,
    moves: moving.moves,
    usedBytes: changes.usedBytes,
    executor,
  })
  const sources = { cluster: own, view, flexvols: records.flexvols, changes, aggregates, engine }
  const app = await buildOntapServer({
    log: pino({ level: 'silent' }),
    cluster: view,
    nfs: createOntapNfs({
      cluster: own,
      agents: world.agents,
      flexvols: records.flexvols,
      clock: systemClock,
    }),
    changes: createOntapChanges({ ...sources, moves: moving.moves }),
    jobs: engine,
    credentials: { user: 'admin', password },
    address: '127.0.0.1',
  })
  const authorization = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`
  return {
    world,
    app,
    executor,
    wishes: moving.wishes,
    endMove: moving.end,
    async call(method, path, { body, headers } = {}) {
      const answer = await app.inject({
        method,
        url: path,
        headers: {
          authorization,
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body !== undefined && { payload: JSON.stringify(body) }),
      })
      return { status: answer.statusCode, headers: answer.headers, body: answer.json() }
    },
    async stop() {
      await app.close()
      await executor.stop()
      await world.db.destroy()
    },
  }
}

function aggregatesOf(world: World): Aggregates {
  const list = async (): Promise<AggregateView[]> => {
    const flexvols = await world.records.flexvols.list()
    const views = world.topology.clusters.slice(0, 1).flatMap((cluster) =>
      cluster.nodes.flatMap((node) =>
        node.aggregates.map(async ({ name, path }): Promise<AggregateView> => {
          const space = await world.agents.storage(node.name).aggregateSpace(name)
          const here = flexvols.filter((f) => f.node === node.name && f.aggregate === name)
          const home = { role: 'home' as const, images: 0, retained: 0, retainedUntil: null }
          return {
            cluster: cluster.name,
            node: node.name,
            name,
            path,
            filesystem: 'folder',
            configured: true,
            createdAt: null,
            state: 'online',
            reason: null,
            reflink: true,
            space: { ...space, reservedBytes: 0, availableBytes: space.freeBytes },
            flexvols: here.map((flexvol) => ({ id: flexvol.id, name: flexvol.name, ...home })),
          }
        }),
      ),
    )
    return Promise.all(views)
  }
  return {
    list,
    find: async (cluster, name) => (await list()).find((a) => a.cluster === cluster && a.name === name),
    create: () => Promise.reject(new DomainError('notFound', 'the rig makes no aggregates')),
    async remove(cluster, name) {
      const found = (await list()).find((a) => a.cluster === cluster && a.name === name)
      throw new DomainError(
        'conflict',
        `Aggregate ${name} cannot be deleted: ${found?.flexvols.length} FlexVol(s) are there.`,
      )
    },
  }
}

/** Moves that last until they are let go; what is asked of them is noted. */
function movesDouble(world: World, engine: OperationEngine, aggregates: Aggregates) {
  const wishes: unknown[][] = []
  const known = new Map<string, { move: FlexVolMove; state: Movement['state'] }>()
  let letGo = false
  const moveOperation: Operation<{ flexvolId: string; cluster: string }, object> = operation<
    { flexvolId: string; cluster: string },
    object
  >('flexvol.move', { version: 1 })
    .holds(({ flexvolId }) => [`flexvol/${flexvolId}`])
    .wait('imagesMoved', { every: '5ms', timeout: '1m', until: () => ({ done: letGo }) })
  const noted =
    (name: string) =>
    async (...given: unknown[]): Promise<void> => {
      wishes.push([name, ...given])
    }
  const movementOf = async (flexvolId: string): Promise<Movement | undefined> => {
    const found = known.get(flexvolId)
    if (found === undefined) return undefined
    const percentComplete = found.state === 'success' ? 100 : 41.7
    return { ...found, percentComplete, progress: null, reason: null }
  }
  const plan: FlexVolMoves['plan'] = async (request) => {
    const flexvol = await world.records.flexvols.get(request.flexvolId)
    const to = await aggregates.find(flexvol.cluster, request.aggregate)
    const isMoving = known.get(flexvol.id)?.move.state === 'running'
    const checks = [
      {
        name: 'aggregate-known',
        ok: to !== undefined,
        reason: `There is no aggregate ${request.aggregate}.`,
      },
      {
        name: 'aggregate-differs',
        ok: request.aggregate !== flexvol.aggregate,
        reason: `It is on ${request.aggregate} already.`,
      },
      { name: 'not-moving', ok: !isMoving, reason: 'It is moving.' },
    ]
    const ok = checks.every((check) => check.ok)
    const place = { node: flexvol.node, aggregate: request.aggregate }
    const images = { volumes: 0, attached: 0, snapshots: 0 }
    return { ok, flexvol, from: flexvol, to: place, checks, images, estimate: null, steps: [] }
  }
  const moves: FlexVolMoves = {
    plan,
    async start(request) {
      const flexvol = await world.records.flexvols.get(request.flexvolId)
      wishes.push(['start', request])
      const { id } = await engine.start(moveOperation, { flexvolId: flexvol.id, cluster: flexvol.cluster })
      const move: FlexVolMove = {
        id,
        flexvolId: flexvol.id,
        from: { node: flexvol.node, aggregate: flexvol.aggregate },
        to: { node: flexvol.node, aggregate: request.aggregate },
        cutoverWindowSeconds: request.cutoverWindowSeconds ?? 30,
        cutoverAction: request.cutoverAction ?? 'retry_on_failure',
        cutover: 'automatic',
        state: 'running',
        startedAt: new Date().toISOString(),
        endedAt: null,
      }
      known.set(flexvol.id, { move, state: 'replicating' })
      return { operationId: id }
    },
    modify: noted('modify'),
    trigger: noted('trigger'),
    hold: noted('hold'),
    pause: noted('pause'),
    resume: noted('resume'),
    abort: noted('abort'),
    movementOf,
    async movements() {
      const all = await Promise.all([...known.keys()].map(movementOf))
      return new Map(all.flatMap((one) => (one === undefined ? [] : [[one.move.flexvolId, one] as const])))
    },
    images: async () => [],
  }
  const end = async (): Promise<void> => {
    letGo = true
    for (const [id, found] of known) {
      await engine.settled(found.move.id)
      known.set(id, { move: { ...found.move, state: 'succeeded' }, state: 'success' })
    }
  }
  return { moves, operation: moveOperation, wishes, end }
}
