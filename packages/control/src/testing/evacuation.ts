import { pino } from 'pino'
import type { Caller } from '@volant/contract'
import { DomainError } from '@volant/contract'
import { computeServiceRecords } from '../db/repositories/compute-service.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import { powerStates, type Server } from '../domain/server.ts'
import { ensureGuestRuns } from '../operations/guest.ts'
import type { TakeOverServerInput } from '../operations/take-over-server.ts'
import { systemClock } from '../ports/clock.ts'
import { settleReturnedHost, type ReturnedHostPorts } from '../reconcile/returned-host.ts'
import { buildingServer, serverPorts } from './servers.ts'
import { attachmentOf, makeVolume, openWorld, type Machines } from './world.ts'

/** Storage and both compute hosts on machines of their own. */
const apart: Machines = { lma: 'm1', lmb: 'm1', compute: 'm2', compute2: 'm3' }

/** The server's row of an evacuation that was accepted. */
const accepted = (server: Server, to: string | null): Omit<ServerMigration, 'number' | 'wasRunning'> => ({
  id: 'evacuation-1',
  serverId: server.id,
  kind: 'evacuation',
  status: 'accepted',
  sourceHost: 'compute-1',
  destHost: to,
  oldFlavor: { id: server.flavorId, ...server.flavor },
  newFlavor: { id: server.flavorId, ...server.flavor },
  heads: {},
  vcpus: server.flavor.vcpus,
  memoryMib: server.flavor.memoryMib,
  reserves: null,
  operationId: null,
  userId: 'u',
  projectId: 'p',
  memoryTotal: null,
  memoryProcessed: null,
  memoryRemaining: null,
  downtimeMs: null,
  message: null,
  createdAt: '2026-11-22T10:00:00.000Z',
  updatedAt: '2026-11-22T10:00:00.000Z',
})

/**
 * A server with a volume at compute-1, its guest running and writing; then that host falls silent, as after a cut of its
 * network: everything there runs on, and nobody can ask it.
 */
export async function openEvacuation(
  fields: Partial<Server> = {},
  options: { machines?: Machines; silent?: boolean } = {},
) {
  const machines = options.machines ?? apart
  const world = await openWorld(machines)
  const base = serverPorts(world)
  const [server] = await base.servers.create([
    buildingServer({
      vmState: 'active',
      taskState: 'rebuilding',
      powerState: powerStates.running,
      host: 'compute-1',
      ...fields,
    }),
  ])
  if (server === undefined) throw new Error('no server')
  const volume = await makeVolume(world, world.lma, { attached: false })
  await world.records.volumes.update(volume.id, { status: 'in-use' })
  const attachment = { ...attachmentOf(volume), serverId: server.id }
  await world.records.attachments.create(attachment)
  await base.serverMigrations.create(accepted(server, null))
  if (server.vmState === 'active') await ensureGuestRuns(base, { id: 'before', fence: 0 }, server)

  const silent = { is: options.silent ?? true }
  const away = new DomainError('unavailable', 'compute-1 does not answer.')
  const agents = {
    ...world.agents,
    compute(host: string) {
      if (silent.is && host === 'compute-1') throw away
      return world.agents.compute(host)
    },
    holders(machine: string) {
      if (silent.is && machine === machines.compute) throw away
      return world.agents.holders(machine)
    },
  }
  const destinations = {
    async choose(_: unknown, store: (host: string) => Promise<void>) {
      await store('compute-2')
      return 'compute-2'
    },
  }
  const ports = { ...base, agents, destinations }
  const input: TakeOverServerInput = {
    serverId: server.id,
    volumeIds: [volume.id],
    from: 'compute-1',
    to: null,
    staysStopped: false,
    migrationId: 'evacuation-1',
  }
  const services = computeServiceRecords(world.db)
  const log = pino({ level: 'silent' })
  return {
    world,
    ports,
    input,
    server,
    volume,
    attachment,
    services,
    clock: systemClock,
    now: () => base.servers.get(server.id),
    /** The old host is silent from now on, or answers again. */
    setSilent: (is: boolean) => void (silent.is = is),
    /** Machines that may reach the volume's images, by the storage nodes' exports. */
    clients: () =>
      [...world.nodes.values()].flatMap((node) => [...node.exports.values()].map((one) => one.clientHost)),
    guestAt: async (host: string) => (await world.agents.compute(host).guestStatus(server.id)).state,
    headsOn: (machine: string) => [...(world.holders.get(machine)?.holders.keys() ?? [])],
    /** The old host answers, and is looked at. */
    async comesBack(
      engine: ReturnedHostPorts['engine'] = ports.engine,
      caller: Caller = { fence: 1_000_000 },
    ) {
      silent.is = false
      return settleReturnedHost(
        { ...ports, engine, services, log },
        caller,
        'compute-1',
        await world.agents.compute('compute-1').listGuests(),
      )
    },
    close: () => world.db.destroy(),
  }
}

export type Evacuation = Awaited<ReturnType<typeof openEvacuation>>
