import { bind, Executor, type SagaStore } from '@volant/saga'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { createFlexVolMoves } from '../../packages/control/src/app/flexvol-move.ts'
import { operationEngine } from '../../packages/control/src/app/operation-engine.ts'
import { createBlockStorage } from '../../packages/control/src/block-storage.ts'
import { operationStore } from '../../packages/control/src/db/repositories/operation.ts'
import type { TokenVerifier } from '../../packages/control/src/http/authenticate.ts'
import { buildServer, type HttpService } from '../../packages/control/src/http/server.ts'
import { moveFlexVol } from '../../packages/control/src/operations/move-flexvol.ts'
import { relocateImage } from '../../packages/control/src/operations/relocate-image.ts'
import { relocateVolume } from '../../packages/control/src/operations/relocate-volume.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { createShareApi } from '../../packages/control/src/share-api.ts'
import { createShares } from '../../packages/control/src/shares.ts'
import { movePorts, quick, simulatedAggregates } from '../../packages/control/src/testing/flexvol-moves.ts'
import { openWorld, type World } from '../../packages/control/src/testing/world.ts'
import { principals, rigTokens, type Reply } from './volume-rig.ts'

export const lif = '127.250.118.60'
export const host = 'testhost@manila-lma#aggr1'
export const otherHost = 'testhost@manila-lma#aggr2'

export interface ShareRig {
  world: World
  app: FastifyInstance
  services: HttpService[]
  executor: Executor
  store: SagaStore
  /** `/v2` stands before the path; the answer's status and body. */
  call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    options?: { as?: keyof typeof principals; body?: unknown; version?: string; experimental?: boolean },
  ): Promise<Reply>
  /** Creates a share and waits until it is served. */
  create(fields?: Record<string, unknown>, as?: keyof typeof principals): Promise<{ id: string }>
  /** Waits until the thing has the value; undefined once it is gone. */
  until(
    path: string,
    key: string,
    wanted: Record<string, unknown>,
  ): Promise<Record<string, unknown> | undefined>
  gone(path: string): Promise<void>
  /** Waits until no operation works on it. */
  idle(key: string): Promise<void>
  stop(): Promise<void>
}

/** The Shared File Systems API over simulated nodes, an in-memory database and the real engine. */
export async function openShareRig(
  options: {
    tokens?: TokenVerifier
    firstPhase?: 'copying'
    machines?: Parameters<typeof openWorld>[0]
  } = {},
): Promise<ShareRig> {
  const world = await openWorld(options.machines, {
    reflink: true,
    ...(options.firstPhase !== undefined && { firstPhase: options.firstPhase }),
  })
  const [lma, lmb] = world.topology.clusters
  if (lma !== undefined) lma.shares = { backend: 'manila-lma', lif, node: 'lma-01' }
  if (lmb !== undefined) lmb.shares = { backend: 'manila-lmb', lif: '127.250.118.61', node: 'lmb-01' }
  const log = pino({ level: 'silent' })
  const store = operationStore(world.db)
  const late: { executor?: Executor } = {}
  const engine = operationEngine(() => late.executor as Executor, store)
  const shared = { ...world, clock: systemClock, log, engine }
  const storage = createBlockStorage({
    ...shared,
    images: {
      visible: async () => undefined,
      named: async () => [],
      file: async () => ({ path: '/none', format: 'raw' }),
    },
  })
  const ports = movePorts(world, engine)
  const executor = new Executor({
    store,
    owner: 'rig',
    operations: [
      ...storage.operations,
      ...createShares(shared).operations,
      bind(moveFlexVol, ports),
      bind(relocateVolume, ports),
      bind(relocateImage, ports),
    ],
    policy: { ...quick, step: { attempts: 2, backoff: '1ms' } },
  })
  late.executor = executor
  await storage.prepare()
  await executor.begin()
  const aggregates = simulatedAggregates(world)
  const settings = { rate: 0, retentionSeconds: 600 }
  const moves = createFlexVolMoves({
    ...ports,
    aggregates,
    topology: world.topology,
    settings,
    missingAbilities: async () => [],
    clock: systemClock,
  })
  const tokens = options.tokens ?? rigTokens
  const api = createShareApi({ ...shared, aggregates, moves, settings, tokens })
  await api.prepare()
  const migrations = { startMigration: async () => ({ operationId: '' }), cancelMigration: async () => {} }
  const volumes = storage.serve({ engine, migrations, tokens })
  const services = [api.service, volumes.service]
  const app = await buildServer({ log, services })
  const call = callerOf(app)
  const until: ShareRig['until'] = async (path, key, wanted) => {
    let last: unknown
    for (let look = 0; look < 2000; look++) {
      const shown = await call('GET', path, { as: 'admin' })
      if (shown.status === 404) return undefined
      last = shown.body[key]
      if (Object.entries(wanted).every(([name, value]) => shown.body[key][name] === value)) {
        return shown.body[key]
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    throw new Error(`${path} did not get ${JSON.stringify(wanted)}: ${JSON.stringify(last)}`)
  }
  const idle: ShareRig['idle'] = async (key) => {
    for (let look = 0; look < 2000; look++) {
      if ((await store.holderOf(key)) === undefined) return
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    throw new Error(`an operation still holds ${key}`)
  }
  return {
    world,
    app,
    services,
    executor,
    store,
    call,
    until,
    idle,
    async create(fields = {}, as = 'member') {
      const made = await call('POST', '/shares', {
        as,
        body: { share: { share_proto: 'NFS', size: 1, ...fields } },
      })
      if (made.status !== 200) throw new Error(`create: ${made.status} ${JSON.stringify(made.body)}`)
      const { id } = made.body.share
      await until(`/shares/${id}`, 'share', { status: 'available' })
      await idle(`share/${id}`)
      return { id }
    },
    async gone(path) {
      for (let look = 0; look < 2000; look++) {
        if ((await call('GET', path, { as: 'admin' })).status === 404) return
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      throw new Error(`${path} is still there`)
    },
    async stop() {
      await executor.stop()
      await app.close()
      await world.db.destroy()
    },
  }
}

const callerOf =
  (app: FastifyInstance): ShareRig['call'] =>
  async (method, path, { as = 'member', body, version = '2.75', experimental = false } = {}) => {
    const answer = await app.inject({
      method,
      url: `/share/v2${path}`,
      headers: {
        host: 'volant.test:8786',
        'x-auth-token': String(as),
        'x-openstack-manila-api-version': version,
        ...(experimental && { 'x-openstack-manila-api-experimental': 'true' }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { payload: JSON.stringify(body) }),
    })
    const text = answer.body
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: text === '' ? undefined : JSON.parse(text),
    }
  }
