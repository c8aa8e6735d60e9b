import { buildingServer, serverPorts } from './servers.ts'
import { attachmentOf, makeVolume, openWorld } from './world.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import type { Server } from '../domain/server.ts'
import type { ResizeServerInput } from '../operations/resize-server.ts'
import { ensureGuestRuns, ensureHeads } from '../operations/guest.ts'

export const small = { ...buildingServer().flavor, id: '1' }
export const large = { ...small, id: '2', name: 'm1.small', vcpus: 2, memoryMib: 2048, diskGib: 2 }
export const resizeMigrationId = '0a0a0a0a-0000-4000-8000-000000000001'

/**
 * Two compute hosts and a storage node, each on a machine of its own: every access to a volume is an export. The server is
 * at `at`, where it runs or is stopped, with two volumes.
 */
export async function openResizeWorld(given: {
  at: 'compute-1' | 'compute-2'
  flavor: typeof small
  runs: boolean
  server: Partial<Server>
  migration: Partial<ServerMigration>
}) {
  const world = await openWorld({ lma: 'm1', lmb: 'm1', compute: 'm2', compute2: 'm3' })
  const ports = serverPorts(world)
  const { id: flavorId, ...flavor } = given.flavor
  const [server] = await ports.servers.create([
    buildingServer({
      host: given.at,
      flavorId,
      flavor,
      boot: {},
      powerState: given.runs ? 1 : 4,
      launchedAt: '2026-11-22T10:00:01.000Z',
      ...given.server,
    }),
  ])
  if (server === undefined) throw new Error('no server')
  const heads = []
  for (const device of ['/dev/vda', '/dev/vdb']) {
    const volume = await makeVolume(world, world.lma, { attached: false })
    // The first is its root disk.
    const rootOf = device === '/dev/vda' ? server.id : null
    await world.records.volumes.update(volume.id, { status: 'in-use', rootOf })
    const of = { serverId: server.id, rootOf, host: given.at, mountpoint: device }
    const attachment = { ...attachmentOf(volume), ...of }
    await world.records.attachments.create(attachment)
    heads.push({
      attachmentId: attachment.id,
      volumeId: volume.id,
      from: attachment.headId,
      to: crypto.randomUUID(),
    })
  }
  if (given.runs) await ensureGuestRuns(ports, { id: 'before', fence: 0 }, server)
  else await ensureHeads(ports, { id: 'before', fence: 0 }, server.id)
  await ports.serverMigrations.create({
    id: resizeMigrationId,
    serverId: server.id,
    kind: 'resize',
    status: 'pre-migrating',
    sourceHost: 'compute-1',
    destHost: 'compute-2',
    oldFlavor: small,
    newFlavor: large,
    heads: {},
    vcpus: large.vcpus,
    memoryMib: large.memoryMib,
    reserves: 'compute-2',
    operationId: null,
    userId: 'u',
    projectId: 'p',
    memoryTotal: null,
    memoryProcessed: null,
    memoryRemaining: null,
    downtimeMs: null,
    message: null,
    createdAt: '2026-11-22T10:00:02.000Z',
    updatedAt: '2026-11-22T10:00:02.000Z',
    ...given.migration,
  })
  return { world, ports, server, heads, close: () => world.db.destroy() }
}

export type ResizeWorld = Awaited<ReturnType<typeof openResizeWorld>>

/** From compute-1 to compute-2. */
export const resizeInput = (
  it: Pick<ResizeWorld, 'server' | 'heads'>,
  { runs, confirm }: { runs: boolean; confirm: boolean },
): ResizeServerInput => ({
  serverId: it.server.id,
  requestId: 'req-1',
  migrationId: resizeMigrationId,
  from: 'compute-1',
  to: 'compute-2',
  heads: it.heads,
  ran: runs,
  runs,
  graceMs: 0,
  confirm,
})
