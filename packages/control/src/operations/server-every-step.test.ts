import assert from 'node:assert/strict'
import type { Operation } from '@volant/saga'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import type { Server, TaskState } from '../domain/server.ts'
import { buildingServer, serverPorts } from '../testing/servers.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { attachmentOf, makeVolume, openWorld } from '../testing/world.ts'
import { createServer, type CreateServerInput, type CreateServerPorts } from './create-server.ts'
import { deleteServer, type DeleteServerInput, type DeleteServerPorts } from './delete-server.ts'
import { ensureGuestRuns, type GuestPorts, type ServerAction } from './guest.ts'
import { pauseServer } from './pause-server.ts'
import { rebootServer } from './reboot-server.ts'
import { startServer } from './start-server.ts'
import { stopServer } from './stop-server.ts'

/** A server, and a volume that is to be, or is, attached to it. */
async function openServerWorld(fields: Partial<Server>, attached: boolean) {
  const world = await openWorld()
  const ports = serverPorts(world)
  const [server] = await ports.servers.create([buildingServer(fields)])
  if (server === undefined) throw new Error('no server')
  const volume = await makeVolume(world, world.lma, { attached: false })
  await world.records.volumes.update(volume.id, { status: attached ? 'in-use' : 'attaching' })
  const attachment = {
    ...attachmentOf(volume),
    serverId: server.id,
    host: attached ? 'compute-1' : null,
    status: attached ? ('attached' as const) : ('attaching' as const),
    deleteOnTermination: true,
  }
  await world.records.attachments.create(attachment)
  const compute = world.agents.compute('compute-1')
  return {
    world,
    ports,
    server,
    volume,
    attachment,
    holders: () => [...world.holders.values()].flatMap((agent) => [...agent.holders.keys()]),
    guest: () => compute.guestStatus(server.id),
    // Also a deleted one.
    async now() {
      const rows = await ports.servers.list({}, { sort: [{ key: 'createdAt', descending: true }], limit: 9 })
      return rows[0] as Server
    },
    volumeStatus: async () => (await world.records.volumes.get(volume.id)).status,
    close: () => world.db.destroy(),
  }
}

everyStep<CreateServerInput, CreateServerPorts>(createServer, {
  fresh: async () => {
    const it = await openServerWorld({}, false)
    return {
      input: { serverId: it.server.id, requestId: 'req-1' },
      ports: it.ports,
      invariants: async ({ run }: Result) => {
        const ok = run.state === 'succeeded'
        const server = await it.now()
        assert.equal(server.vmState, ok ? 'active' : 'error')
        assert.equal(server.taskState, null)
        assert.equal(server.host, ok ? 'compute-1' : null)
        assert.equal(server.fault === null, ok, 'a failure is said, and only a failure')
        assert.equal((await it.guest()).state, ok ? 'running' : 'absent')
        assert.equal(await it.volumeStatus(), ok ? 'in-use' : 'available')
        const rows = await it.world.records.attachments.ofServer(server.id)
        assert.deepEqual(
          rows.map(({ status }) => status),
          ok ? ['attached'] : [],
        )
        assert.deepEqual(it.holders(), ok ? [it.attachment.id] : [])
        if (!ok) assert.ok(it.ports.removed.includes(it.volume.id), 'what was made for it goes with it')
        await assertWorldSound(it.world)
      },
      close: it.close,
    }
  },
})

everyStep<DeleteServerInput, DeleteServerPorts>(deleteServer, {
  fresh: async () => {
    const it = await openServerWorld(
      { vmState: 'active', taskState: 'deleting', host: 'compute-1', powerState: 1 },
      true,
    )
    await ensureGuestRuns(it.ports, { id: 'before', fence: 0 }, it.server)
    return {
      input: { serverId: it.server.id, requestId: 'req-1' },
      ports: it.ports,
      invariants: async ({ run }: Result) => {
        const ok = run.state === 'succeeded'
        const server = await it.now()
        assert.equal(server.vmState, ok ? 'deleted' : 'active')
        assert.equal(server.deletedAt !== null, ok)
        assert.equal(server.taskState, null)
        assert.equal((await it.guest()).state, ok ? 'absent' : 'running')
        assert.equal(await it.volumeStatus(), ok ? 'available' : 'in-use')
        assert.deepEqual(it.holders(), ok ? [] : [it.attachment.id])
        assert.equal((await it.world.records.attachments.ofServer(server.id)).length, ok ? 0 : 1)
        assert.deepEqual([...new Set(it.ports.removed)], ok ? [it.volume.id] : [])
        await assertWorldSound(it.world)
      },
      close: it.close,
    }
  },
})

/** The operations on a server's power: where it stands before, and where it may stand after. */
function everyPowerStep<Input extends ServerAction>(
  operation: Operation<Input, GuestPorts>,
  input: Omit<Input, keyof ServerAction>,
  before: { vmState: Server['vmState']; taskState: TaskState; runs: boolean },
  after: { vmState: Server['vmState']; guest: string },
): void {
  everyStep<Input, GuestPorts>(operation, {
    fresh: async () => {
      const it = await openServerWorld(
        { vmState: before.vmState, taskState: before.taskState, host: 'compute-1' },
        true,
      )
      if (before.runs) await ensureGuestRuns(it.ports, { id: 'before', fence: 0 }, it.server)
      if (before.vmState === 'paused') {
        await it.world.agents.compute('compute-1').ensureGuestPaused({ fence: 0 }, it.server.id, true)
      }
      return {
        input: { ...input, serverId: it.server.id, requestId: 'req-1' } as unknown as Input,
        ports: it.ports,
        invariants: async ({ run }: Result) => {
          const server = await it.now()
          assert.equal(server.taskState, null, 'nothing is under way any more')
          if (run.state === 'succeeded') {
            assert.equal(server.vmState, after.vmState)
            assert.equal((await it.guest()).state, after.guest)
          } else {
            assert.equal(server.vmState, before.vmState)
          }
          assert.equal(await it.volumeStatus(), 'in-use', 'its volumes stay attached')
          await assertWorldSound(it.world)
        },
        close: it.close,
      }
    },
  })
}

everyPowerStep(
  startServer,
  {},
  { vmState: 'stopped', taskState: 'powering-on', runs: false },
  { vmState: 'active', guest: 'running' },
)
everyPowerStep(
  stopServer,
  { graceMs: 0 },
  { vmState: 'active', taskState: 'powering-off', runs: true },
  { vmState: 'stopped', guest: 'stopped' },
)
everyPowerStep(
  rebootServer,
  { how: 'hard' as const, from: 'stopped' as const },
  { vmState: 'stopped', taskState: 'rebooting_hard', runs: false },
  { vmState: 'active', guest: 'running' },
)
everyPowerStep(
  pauseServer,
  { paused: true },
  { vmState: 'active', taskState: 'pausing', runs: true },
  { vmState: 'paused', guest: 'paused' },
)
everyPowerStep(
  pauseServer,
  { paused: false },
  { vmState: 'paused', taskState: 'unpausing', runs: true },
  { vmState: 'active', guest: 'running' },
)
