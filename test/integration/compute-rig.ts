import { createSimulatedComputeAgent, type SimulatedComputeAgent } from '@volant/agent/simulated/compute.ts'
import { DomainError } from '@volant/contract'
import { bind, Executor } from '@volant/saga'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { operationEngine } from '../../packages/control/src/app/operation-engine.ts'
import { createBlockStorage } from '../../packages/control/src/block-storage.ts'
import { createCompute, type Compute } from '../../packages/control/src/compute.ts'
import { operationStore } from '../../packages/control/src/db/repositories/operation.ts'
import { defaultLiveMigrationPolicy } from '../../packages/control/src/domain/live-migration.ts'
import { placesOf } from '../../packages/control/src/domain/places.ts'
import type { ComputeHost } from '../../packages/control/src/domain/topology.ts'
import type { TokenVerifier } from '../../packages/control/src/http/authenticate.ts'
import { buildServer, type HttpService } from '../../packages/control/src/http/server.ts'
import { attachVolume } from '../../packages/control/src/operations/attach-volume.ts'
import { detachVolume } from '../../packages/control/src/operations/detach-volume.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import type { ImageRegistry, RegisteredImage } from '../../packages/control/src/ports/images.ts'
import { openWorld, type World } from '../../packages/control/src/testing/world.ts'
import { principals, type Reply } from './volume-rig.ts'

export const kernelImage = '11111111-0000-4000-8000-000000000001'
const ramdiskImage = '11111111-0000-4000-8000-000000000002'
export const probeImage = '11111111-0000-4000-8000-000000000003'
export const diskImage = '11111111-0000-4000-8000-000000000004'

const image = (id: string, fields: Partial<RegisteredImage>): RegisteredImage => ({
  id,
  name: id,
  status: 'active',
  visibility: 'public',
  owner: null,
  diskFormat: 'raw',
  containerFormat: 'bare',
  checksum: null,
  sizeBytes: 1024 * 1024,
  virtualSizeBytes: 1024 * 1024,
  minDiskGib: 0,
  minRamMib: 0,
  properties: {},
  ...fields,
})

const images = new Map(
  [
    image(kernelImage, { diskFormat: 'aki', containerFormat: 'aki' }),
    image(ramdiskImage, { diskFormat: 'ari', containerFormat: 'ari' }),
    image(probeImage, {
      properties: { kernel_id: kernelImage, ramdisk_id: ramdiskImage, os_command_line: 'console=ttyS0' },
    }),
    image(diskImage, { diskFormat: 'qcow2', virtualSizeBytes: 2 * 1024 ** 3 }),
  ].map((each) => [each.id, each]),
)

type RigImages = Pick<ImageRegistry, 'visible' | 'named' | 'file' | 'filePath'>

export interface ComputeRig {
  world: World
  app: FastifyInstance
  services: HttpService[]
  compute: Compute
  hosts: Map<string, SimulatedComputeAgent>
  /** Volumes whose migration was asked to stop. */
  cancelled: string[]
  /** Runs before each call of a compute agent; what it throws is the call's answer. */
  faults: { before: (call: string, host: string) => void | Promise<void> }
  /** `path` is below `/compute/v2.1`, or of another service in full. */
  call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    options?: { as?: string; body?: unknown; version?: string },
  ): Promise<Reply>
  boot(fields?: Record<string, unknown>, as?: string): Promise<string>
  /** Waits until the server has the status and nothing under way; undefined once it is gone. */
  settle(id: string, status: string): Promise<Record<string, unknown> | undefined>
  volume(fields?: Record<string, unknown>): Promise<string>
  until(what: string, test: () => Promise<boolean> | boolean): Promise<void>
  /** Waits until an operation has been told to cancel: what a user sees of that may come before. */
  untilCancelling(): Promise<void>
  /** What is done with volumes after a start. */
  recover(): Promise<unknown>
  stop(): Promise<void>
}

/** Compute and Block Storage over simulated nodes, an in-memory database and the real engine. */
export async function openComputeRig(
  options: {
    tokens?: TokenVerifier
    hosts?: string[]
    /** What the configuration says of a host beside its name. */
    definitions?: Record<string, Partial<ComputeHost>>
    images?: RigImages
    /** Default: volumes. */
    rootDisks?: 'volumes' | 'local'
    /** Default: 0, never. */
    resizeConfirmWindowSeconds?: number
  } = {},
): Promise<ComputeRig> {
  const world = await openWorld()
  const faults: ComputeRig['faults'] = { before: () => {} }
  const hosts = new Map<string, SimulatedComputeAgent>()
  world.topology.computeHosts.length = 0
  for (const name of options.hosts ?? ['compute-1', 'compute-2']) {
    world.topology.computeHosts.push({ name, machine: 'm1', ...options.definitions?.[name] })
    const agent = createSimulatedComputeAgent({
      host: name,
      before: (call) => faults.before(call, name),
    })
    hosts.set(name, agent)
    world.hosts.set(name, agent)
  }
  const log = pino({ level: 'silent' })
  const store = operationStore(world.db)
  const holder: { executor?: Executor } = {}
  const engine = operationEngine(() => holder.executor as Executor, store)
  const registry: RigImages = options.images ?? {
    visible: async (_: unknown, id: string) => images.get(id),
    named: async () => [],
    file: async (id: string) => ({ path: `/images/${id}`, format: 'raw' as const }),
    filePath: async (id: string) => `/images/${id}`,
  }
  const tokens: TokenVerifier = options.tokens ?? {
    async verify(token) {
      const found = principals[token]
      if (found === undefined) throw new DomainError('unauthenticated', 'No such token.')
      return found
    },
  }
  const cancelled: string[] = []
  const migrations = {
    startMigration: async () => ({ operationId: 'none' }),
    cancelMigration: async (volumeId: string) => void cancelled.push(volumeId),
  }
  const shared = {
    db: world.db,
    records: world.records,
    backend: world.backend,
    agents: world.agents,
    places: placesOf(world.topology),
    pace: world.pace,
    topology: world.topology,
    images: registry,
    clock: systemClock,
    log,
  }
  const storage = createBlockStorage(shared)
  const volumes = storage.serve({ engine, migrations, tokens })
  const compute = createCompute({
    ...shared,
    engine,
    creator: volumes.creator,
    pools: storage.pools,
    rootDisks: options.rootDisks ?? 'volumes',
    resizeConfirmWindowSeconds: options.resizeConfirmWindowSeconds ?? 0,
    liveMigration: defaultLiveMigrationPolicy,
    migrations,
    tokens,
  })
  const executor = new Executor({
    store,
    owner: 'rig',
    operations: [
      ...storage.operations,
      ...compute.operations,
      bind(attachVolume, { ...world.ports, places: shared.places }),
      bind(detachVolume, { ...world.ports, places: shared.places }),
    ],
    policy: { step: { attempts: 2, backoff: '1ms' }, longestBackoff: '5ms', longestCheckInterval: '20ms' },
  })
  holder.executor = executor
  await executor.begin()
  await storage.prepare()
  await compute.prepare({ fence: executor.fence })
  const services = [volumes.service, compute.service]
  const app = await buildServer({ log, services })
  const call = callerOf(app)
  const until: ComputeRig['until'] = async (what, test) => {
    for (const end = performance.now() + 30_000; ; await new Promise((resolve) => setTimeout(resolve, 5))) {
      const late = performance.now() > end
      if (await test()) return
      if (late) throw new Error(`not within 30 s: ${what}`)
    }
  }
  const settle: ComputeRig['settle'] = async (id, status) => {
    let last: Record<string, unknown> | undefined
    await until(`server ${id} ${status}`, async () => {
      const shown = await call('GET', `/servers/${id}`, { as: 'admin' })
      last = shown.status === 404 ? undefined : shown.body.server
      return last === undefined || (last['status'] === status && last['OS-EXT-STS:task_state'] === null)
    })
    return last
  }
  return {
    world,
    app,
    services,
    compute,
    hosts,
    cancelled,
    faults,
    call,
    settle,
    until,
    untilCancelling: () =>
      until('an operation is being cancelled', async () => {
        const runs = await world.db.selectFrom('operations').select('state').execute()
        return runs.some(({ state }) => state === 'cancelling')
      }),
    recover: () => volumes.recover(),
    async boot(fields = {}, as = 'member') {
      const body = {
        server: { name: 's', flavorRef: '1', imageRef: probeImage, networks: 'none', ...fields },
      }
      const made = await call('POST', '/servers', { as, body })
      if (made.status !== 202) throw new Error(`boot: ${made.status} ${JSON.stringify(made.body)}`)
      await settle(made.body.server.id, 'ACTIVE')
      return made.body.server.id
    },
    async volume(fields = {}) {
      const project = principals['member']?.projectId
      const made = await call('POST', `/volume/v3/${project}/volumes`, {
        body: { volume: { size: 1, ...fields } },
      })
      if (made.status !== 202) throw new Error(`volume: ${made.status} ${JSON.stringify(made.body)}`)
      const { id } = made.body.volume
      await until(`volume ${id}`, async () => (await world.records.volumes.get(id)).status === 'available')
      return id
    },
    async stop() {
      await compute.stop()
      await executor.stop()
      await app.close()
      await world.db.destroy()
    },
  }
}

const callerOf =
  (app: FastifyInstance): ComputeRig['call'] =>
  async (method, path, { as = 'member', body, version = '2.92' } = {}) => {
    const isVolume = path.startsWith('/volume')
    const answer = await app.inject({
      method,
      url: isVolume || path.startsWith('/compute') ? path : `/compute/v2.1${path}`,
      headers: {
        host: 'volant.test:8774',
        'x-auth-token': as,
        'openstack-api-version': isVolume ? 'volume 3.70' : `compute ${version}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { payload: JSON.stringify(body) }),
    })
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: answer.body === '' ? undefined : JSON.parse(answer.body),
    }
  }
