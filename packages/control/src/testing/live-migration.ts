import assert from 'node:assert/strict'
import { serverMigrationRecords } from '../db/repositories/server-migration.ts'
import { serverMoves } from '../db/repositories/server-move.ts'
import { defaultLiveMigrationPolicy, type MemoryCopy } from '../domain/live-migration.ts'
import type { Server } from '../domain/server.ts'
import type { LiveMigrateServerInput } from '../operations/live-migrate-server.ts'
import { ensureGuestRuns } from '../operations/guest.ts'
import type { DestinationRequest } from '../ports/destinations.ts'
import { assertWorldSound } from './invariants.ts'
import { buildingServer, serverPorts } from './servers.ts'
import { attachmentOf, makeVolume, openWorld, type Machines } from './world.ts'

/** Volumes on a machine of their own, each compute host on another: every head has an export. */
export const apart: Machines = { lma: 'm1', lmb: 'm1', compute: 'm2', compute2: 'm3' }
/** Everything on one machine: heads open their images as files. */
export const inOnePlace: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1', compute2: 'm1' }
/** The volumes are on the source's machine: a file there, an export at the destination. */
export const atTheSource: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1', compute2: 'm2' }
/** The volumes are on the destination's machine: a file there, an export at the source. */
export const atTheDestination: Machines = { lma: 'm2', lmb: 'm2', compute: 'm1', compute2: 'm2' }

/** A server with two volumes that runs on compute-1, and all that a live migration of it uses. */
export async function openLiveMigration(machines: Machines, fields: Partial<Server> = {}) {
  const world = await openWorld(machines)
  const ports = serverPorts(world)
  const [server] = await ports.servers.create([
    buildingServer({
      vmState: 'active',
      taskState: 'migrating',
      powerState: 1,
      host: 'compute-1',
      imageId: null,
      boot: {},
      ...fields,
    }),
  ])
  if (server === undefined) throw new Error('no server')
  const disks: LiveMigrateServerInput['disks'] = []
  for (const mountpoint of ['/dev/vda', '/dev/vdb']) {
    const volume = await makeVolume(world, world.lma, { attached: false })
    await world.records.volumes.update(volume.id, { status: 'in-use' })
    const bootIndex = mountpoint === '/dev/vda' ? 0 : null
    const attachment = { ...attachmentOf(volume), serverId: server.id, mountpoint, bootIndex }
    await world.records.attachments.create(attachment)
    disks.push({
      attachmentId: attachment.id,
      volumeId: volume.id,
      fromHeadId: attachment.headId,
      toHeadId: crypto.randomUUID(),
      boot: bootIndex === 0,
    })
  }
  await ensureGuestRuns(ports, { id: 'before', fence: 0 }, server)
  const source = world.hosts.get('compute-1')
  const destination = world.hosts.get('compute-2')
  if (source === undefined || destination === undefined) throw new Error('two compute hosts are needed')
  const wasPaused = server.vmState === 'paused'
  if (wasPaused) await source.ensureGuestPaused({ fence: 0 }, server.id, true)
  const serverMigrations = serverMigrationRecords(world.db)
  const input: LiveMigrateServerInput = {
    serverId: server.id,
    requestId: 'req-1',
    source: 'compute-1',
    host: null,
    except: [],
    among: null,
    disks,
    wasPaused,
    by: { userId: 'u', projectId: 'p' },
  }
  return {
    world,
    server,
    source,
    destination,
    input,
    ports: {
      ...ports,
      serverMigrations,
      moves: serverMoves(world.db),
      policy: { ...defaultLiveMigrationPolicy, awayMs: 50 },
      memoryCopies: new Map<string, MemoryCopy>(),
      monotonic: () => performance.now(),
      destinations: {
        candidates: async () => [{ host: 'compute-2', refusal: null, freeMemoryMib: 4096, freeVcpus: 8 }],
        async choose(_request: DestinationRequest, store: (host: string) => Promise<void>) {
          await store('compute-2')
          return 'compute-2'
        },
      },
    },
    serverMigrations,
    close: () => world.db.destroy(),
  }
}

export type LiveMigrationWorld = Awaited<ReturnType<typeof openLiveMigration>>

/**
 * The server runs at exactly one place, all records say which, only that place's heads have access to its volumes, and
 * nothing is left at the other.
 */
export async function assertAtOnePlace(
  it: LiveMigrationWorld,
  place: 'source' | 'destination',
  guest: 'running' | 'paused' | 'stopped' | 'absent' = it.input.wasPaused ? 'paused' : 'running',
): Promise<void> {
  const { world, server, input } = it
  const arrived = place === 'destination'
  const [here, elsewhere] = arrived ? [it.destination, it.source] : [it.source, it.destination]
  assert.equal((await here.guestStatus(server.id)).state, guest)
  assert.equal((await elsewhere.guestStatus(server.id)).state, 'absent')
  const now = await it.ports.servers.get(server.id)
  assert.equal(now.host, here.host)
  assert.equal(now.taskState, null)
  const [migration] = await it.serverMigrations.list({ serverId: server.id })
  assert.equal(migration?.reserves ?? null, null, 'no room is held back any more')
  const attachments = await world.records.attachments.ofServer(server.id)
  const heads = input.disks.map(({ fromHeadId, toHeadId }) => (arrived ? toHeadId : fromHeadId)).toSorted()
  assert.deepEqual(attachments.map(({ headId }) => headId).toSorted(), heads)
  assert.deepEqual(new Set(attachments.map(({ host }) => host)), new Set([here.host]))
  const holders = [...world.holders.values()].flatMap((agent) => [...agent.holders.values()])
  const open = holders.filter(({ image }) => image !== null).map(({ spec }) => spec.holderId)
  assert.deepEqual(open.toSorted(), heads, 'only the heads of that place have the volumes open')
  const exports = [...world.nodes.values()].flatMap((node) => [...node.exports.keys()])
  for (const id of exports)
    assert.ok(
      heads.some((head) => id.startsWith(head)),
      `export ${id} is no other's`,
    )
  await assertWorldSound(world)
}
