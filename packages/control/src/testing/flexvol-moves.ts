import assert from 'node:assert/strict'
import { bind, Executor, type BoundOperation } from '@volant/saga'
import { createFlexVolMoves } from '../app/flexvol-move.ts'
import { operationEngine } from '../app/operation-engine.ts'
import { operationStore } from '../db/repositories/operation.ts'
import type { Topology } from '../domain/topology.ts'
import type { FlexVol } from '../domain/volume.ts'
import type { MoveMemory } from '../operations/move-facts.ts'
import { moveFlexVol } from '../operations/move-flexvol.ts'
import { relocateImage } from '../operations/relocate-image.ts'
import { relocateVolume } from '../operations/relocate-volume.ts'
import type { AggregateView } from '../ports/aggregates.ts'
import type { OperationEngine } from '../ports/operations.ts'
import { systemClock } from '../ports/clock.ts'
import { openWorld, type Machines, type World } from './world.ts'

export const quick = {
  longestBackoff: '1ms',
  longestCheckInterval: '5ms',
  undo: { attempts: 3, backoff: '1ms' },
  afterCommit: { attempts: 3, backoff: '1ms' },
} as const

/** What a move and its parts need; `moving` is one process's memory. */
export const movePorts = (world: World, engine: OperationEngine) => ({
  ...world.ports,
  engine,
  moving: new Map<string, MoveMemory>(),
})

/** An engine that carries out the parts of a move, over the world's own records. */
export function partsEngine(
  world: World,
  more: readonly BoundOperation[] = [],
  /** How often an undo is tried. */
  undoAttempts: number = quick.undo.attempts,
) {
  const store = operationStore(world.db)
  const late: { executor?: Executor } = {}
  const engine = operationEngine(() => late.executor as Executor, store)
  const ports = movePorts(world, engine)
  const executor = new Executor({
    store,
    owner: 'test',
    operations: [bind(moveFlexVol, ports), bind(relocateVolume, ports), bind(relocateImage, ports), ...more],
    policy: { ...quick, undo: { ...quick.undo, attempts: undoAttempts } },
  })
  late.executor = executor
  return { executor, engine, ports }
}

const viewOf = (
  cluster: string,
  node: string,
  name: string,
  totalBytes: number,
  reservedBytes: number,
): AggregateView => ({
  cluster,
  node,
  name,
  path: `/simulated/${node}/${name}`,
  filesystem: 'folder',
  configured: true,
  createdAt: null,
  state: 'online',
  reason: null,
  reflink: true,
  space: {
    totalBytes,
    usedBytes: 0,
    freeBytes: totalBytes,
    reservedBytes,
    availableBytes: Math.max(0, totalBytes - reservedBytes),
  },
  flexvols: [],
})

/** The aggregates of the simulated nodes, as the port has them. */
export const simulatedAggregates = (world: { topology: Topology } & Pick<World, 'agents'>) => {
  const list = async (): Promise<AggregateView[]> => {
    const views: AggregateView[] = []
    for (const cluster of world.topology.clusters) {
      for (const node of cluster.nodes) {
        for (const { name } of node.aggregates) {
          const { freeBytes } = await world.agents.storage(node.name).aggregateSpace(name)
          views.push(viewOf(cluster.name, node.name, name, freeBytes, 0))
        }
      }
    }
    return views
  }
  return {
    list,
    find: async (cluster: string, name: string) =>
      (await list()).find((view) => view.cluster === cluster && view.name === name),
  }
}

/** Moves of FlexVols over simulated nodes, with the real records and engine. */
export async function openMoveRig(
  options: {
    machines?: Machines
    reflink?: boolean
    firstPhase?: 'copying'
    /** Users' operations. */
    more?: (world: World) => BoundOperation[]
    undoAttempts?: number
  } = {},
) {
  const world = await openWorld(options.machines, {
    reflink: options.reflink ?? true,
    ...(options.firstPhase !== undefined && { firstPhase: options.firstPhase }),
  })
  const { executor, engine, ports } = partsEngine(world, options.more?.(world), options.undoAttempts)
  await executor.begin()
  const moves = createFlexVolMoves({
    ...ports,
    aggregates: simulatedAggregates(world),
    topology: world.topology,
    settings: { rate: 0, retentionSeconds: 600 },
    missingAbilities: async () => [],
    clock: systemClock,
  })
  return {
    world,
    executor,
    engine,
    ports,
    moves,
    flexvol: (): Promise<FlexVol> => world.records.flexvols.get(world.lma.id),
    /** Moves the first cluster's FlexVol, to the end. */
    async moved(aggregate: string) {
      const { operationId } = await moves.start({ flexvolId: world.lma.id, aggregate })
      const run = await executor.ended(operationId)
      assert.equal(run.state, 'succeeded', run.failure?.message ?? '')
      return operationId
    },
    async close() {
      await executor.stop()
      await world.db.destroy()
    },
  }
}
