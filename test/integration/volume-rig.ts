import { DomainError } from '@volant/contract'
import { bind, Executor, type BoundOperation, type SagaStore } from '@volant/saga'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { operationEngine } from '../../packages/control/src/app/operation-engine.ts'
import { detachVolume } from '../../packages/control/src/operations/detach-volume.ts'
import { createBlockStorage, type BlockStorage } from '../../packages/control/src/block-storage.ts'
import { operationStore } from '../../packages/control/src/db/repositories/operation.ts'
import type { Principal } from '../../packages/control/src/domain/principal.ts'
import type { TokenVerifier } from '../../packages/control/src/http/authenticate.ts'
import { buildServer, type HttpService } from '../../packages/control/src/http/server.ts'
import type { MigrationStarter } from '../../packages/control/src/ports/migrations.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import type { RegisteredImage } from '../../packages/control/src/ports/images.ts'
import { openWorld, type World } from '../../packages/control/src/testing/world.ts'

export const projectId = '0123456789abcdef0123456789abcdef'
export const otherProjectId = 'fedcba9876543210fedcba9876543210'

const principal = (userId: string, project: string, roles: string[]): Principal => ({
  userId,
  userName: userId,
  userDomainId: 'default',
  projectId: project,
  projectName: project,
  roles,
  systemScope: false,
  expiresAt: 4_000_000_000,
})

/** By the token that the rig takes for them. */
export const principals: Record<string, Principal> = {
  admin: principal('a1', projectId, ['admin', 'member', 'reader']),
  member: principal('b2', projectId, ['member', 'reader']),
  reader: principal('c3', projectId, ['reader']),
  other: principal('d4', otherProjectId, ['member', 'reader']),
}

export const rigTokens: TokenVerifier = {
  async verify(token) {
    const found = principals[token]
    if (found === undefined) throw new DomainError('unauthenticated', 'No such token.')
    return found
  },
}

export interface Reply {
  status: number
  headers: Record<string, unknown>
  // oxlint-disable-next-line typescript/no-explicit-any -- what a test reads of an answer it asserts
  body: any
}

export interface VolumeRig {
  world: World
  app: FastifyInstance
  service: HttpService
  recover(): Promise<{ recovered: string[] }>
  storage: BlockStorage
  executor: Executor
  store: SagaStore
  images: Map<string, RegisteredImage>
  migrations: { started: unknown[] }
  call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    options?: { as?: keyof typeof principals; body?: unknown; version?: string; project?: string },
  ): Promise<Reply>
  /** Creates a volume and waits until it is whole. */
  create(fields?: Record<string, unknown>, as?: keyof typeof principals): Promise<{ id: string }>
  /** Waits until the volume has one of the statuses; undefined once it is gone. */
  settle(id: string, statuses: string[]): Promise<Record<string, unknown> | undefined>
  stop(): Promise<void>
}

/** Block Storage over simulated nodes, an in-memory database and the real engine. */
export async function openVolumeRig(
  options: {
    machines?: Parameters<typeof openWorld>[0]
    /** Whether images can share blocks; absent: yes. */
    reflink?: boolean
    /** Of a head's copies, which are led on by the test then. */
    firstPhase?: 'copying'
    tokens?: TokenVerifier
    /** Further operations for the engine. */
    operations?: (world: World) => BoundOperation[]
  } = {},
): Promise<VolumeRig> {
  const world = await openWorld(options.machines, {
    reflink: options.reflink ?? true,
    ...(options.firstPhase !== undefined && { firstPhase: options.firstPhase }),
  })
  const log = pino({ level: 'silent' })
  const images = new Map<string, RegisteredImage>()
  const store = operationStore(world.db)
  const holder: { executor?: Executor } = {}
  const engine = operationEngine(() => holder.executor as Executor, store)
  const storage = createBlockStorage({
    db: world.db,
    records: world.records,
    backend: world.backend,
    pace: world.pace,
    agents: world.agents,
    places: world.places,
    topology: world.topology,
    clock: systemClock,
    log,
    images: {
      visible: async (_, imageId) => images.get(imageId),
      named: async (_, name) => [...images.values()].filter((image) => image.name === name),
      file: async (imageId) => ({ path: `/images/${imageId}`, format: 'qcow2' }),
    },
  })
  await storage.prepare()
  const executor = new Executor({
    store,
    owner: 'rig',
    operations: [
      ...storage.operations,
      bind(detachVolume, world.ports),
      ...(options.operations?.(world) ?? []),
    ],
    policy: { step: { attempts: 2, backoff: '1ms' }, longestBackoff: '5ms' },
  })
  holder.executor = executor
  await executor.begin()
  const migrations = recordingMigrations()
  const { service, recover } = storage.serve({
    engine,
    migrations,
    tokens: options.tokens ?? rigTokens,
  })
  const app = await buildServer({ log, services: [service] })
  const call = callerOf(app)
  const settle = settlerOf(call)
  return {
    world,
    app,
    service,
    recover,
    storage,
    executor,
    store,
    images,
    migrations,
    call,
    settle,
    async create(fields = {}, as = 'member') {
      const made = await call('POST', '/volumes', { as, body: { volume: { size: 1, ...fields } } })
      if (made.status !== 202) throw new Error(`create: ${made.status} ${JSON.stringify(made.body)}`)
      await settle(made.body.volume.id, ['available'])
      return made.body.volume
    },
    async stop() {
      await executor.stop()
      await app.close()
      await world.db.destroy()
    },
  }
}

function recordingMigrations(): MigrationStarter & VolumeRig['migrations'] {
  const started: unknown[] = []
  return {
    started,
    async startMigration({ volumeId, host, forceHostCopy, lockVolume }) {
      started.push({ volumeId, host, forceHostCopy, lockVolume })
      return { operationId: 'op' }
    },
    async cancelMigration() {},
  }
}

const callerOf =
  (app: FastifyInstance): VolumeRig['call'] =>
  async (method, path, { as = 'member', body, version = '3.70', project } = {}) => {
    const owner = project ?? principals[as]?.projectId ?? projectId
    const answer = await app.inject({
      method,
      url: `/volume/v3/${owner}${path}`,
      headers: {
        host: 'volant.test:8776',
        'x-auth-token': String(as),
        'openstack-api-version': `volume ${version}`,
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

const settlerOf =
  (call: VolumeRig['call']): VolumeRig['settle'] =>
  async (id, statuses) => {
    for (let attempt = 0; attempt < 400; attempt++) {
      const shown = await call('GET', `/volumes/${id}`, { as: 'admin' })
      if (shown.status === 404) return undefined
      if (statuses.includes(shown.body.volume.status)) return shown.body.volume
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    throw new Error(`volume ${id} did not become ${statuses.join(' or ')}`)
  }
