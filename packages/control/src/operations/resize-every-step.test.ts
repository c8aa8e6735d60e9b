import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import type { Server } from '../domain/server.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { buildingServer, serverPorts } from '../testing/servers.ts'
import { attachmentOf, makeVolume, openWorld } from '../testing/world.ts'
import type { ColdMoveInput, ColdMovePorts } from './cold-move.ts'
import { confirmResize, type ConfirmResizeInput, type ConfirmResizePorts } from './confirm-resize.ts'
import { deleteServer, type DeleteServerInput, type DeleteServerPorts } from './delete-server.ts'
import { ensureGuestRuns, ensureHeads } from './guest.ts'
import { resizeServer, type ResizeServerInput } from './resize-server.ts'
import { revertResize } from './revert-resize.ts'

const small = { ...buildingServer().flavor, id: '1' }
const large = { ...small, id: '2', name: 'm1.small', vcpus: 2, memoryMib: 2048 }
const migrationId = '0a0a0a0a-0000-4000-8000-000000000001'

/**
 * Two compute hosts and a storage node, each on a machine of its own: every access to a volume is an export. The server is
 * at `at`, where it runs or is stopped, with two volumes.
 */
async function openResizeWorld(given: {
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
    await world.records.volumes.update(volume.id, { status: 'in-use' })
    const attachment = { ...attachmentOf(volume), serverId: server.id, host: given.at, mountpoint: device }
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
    id: migrationId,
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

type It = Awaited<ReturnType<typeof openResizeWorld>>

/** The server is at one place, whole: its guest, its heads and all that may reach its volumes. */
async function assertAt(
  it: It,
  host: 'compute-1' | 'compute-2',
  expected: { runs: boolean; flavor: typeof small; heads: 'from' | 'to' },
): Promise<void> {
  const server = await it.ports.servers.get(it.server.id)
  assert.equal(server.host, host)
  assert.equal(server.flavorId, expected.flavor.id)
  assert.equal(server.flavor.memoryMib, expected.flavor.memoryMib)
  assert.equal(server.taskState, null, 'nothing is under way')
  const elsewhere = host === 'compute-1' ? 'compute-2' : 'compute-1'
  assert.equal((await it.world.agents.compute(elsewhere).guestStatus(server.id)).state, 'absent')
  const guest = await it.world.agents.compute(host).guestStatus(server.id)
  assert.equal(guest.state === 'running', expected.runs, `the guest is ${guest.state}`)
  if (expected.runs) {
    assert.deepEqual(
      guest.diskAttachmentIds,
      it.heads.map(({ attachmentId }) => attachmentId),
    )
  }
  const wanted = it.heads.map((head) => head[expected.heads]).toSorted()
  const holdersOn = (machine: string) => [...(it.world.holders.get(machine)?.holders.keys() ?? [])].toSorted()
  assert.deepEqual(holdersOn(host === 'compute-1' ? 'm2' : 'm3'), wanted)
  assert.deepEqual(holdersOn(host === 'compute-1' ? 'm3' : 'm2'), [])
  const exports = [...it.world.nodes.values()].flatMap((node) => [...node.exports.values()])
  assert.equal(exports.length, it.heads.length, 'no other place may reach the volumes')
  for (const attachment of await it.world.records.attachments.ofServer(server.id)) {
    assert.equal(attachment.host, host)
    assert.ok(wanted.includes(attachment.headId))
    assert.equal(attachment.status, 'attached')
  }
  await assertWorldSound(it.world)
}

async function assertHeld(it: It, host: string | null, flavor: typeof small): Promise<void> {
  const held = await it.ports.serverMigrations.reservedByHost()
  const expected = host === null ? [] : [[host, { vcpus: flavor.vcpus, memoryMib: flavor.memoryMib }]]
  assert.deepEqual([...held], expected, 'what is held back')
}

for (const [runs, confirm] of [
  [true, false],
  [false, true],
] as const) {
  everyStep<ResizeServerInput, ColdMovePorts>(resizeServer, {
    fresh: async () => {
      const it = await openResizeWorld({
        at: 'compute-1',
        flavor: small,
        runs,
        server: { vmState: runs ? 'active' : 'stopped', taskState: 'resize_prep' },
        migration: { wasRunning: runs },
      })
      return {
        input: {
          serverId: it.server.id,
          requestId: 'req-1',
          migrationId,
          from: 'compute-1',
          to: 'compute-2',
          heads: it.heads,
          ran: runs,
          runs,
          graceMs: 0,
          confirm,
        },
        ports: it.ports,
        invariants: async ({ run }: Result) => {
          const ok = run.state === 'succeeded'
          const resting = runs ? 'active' : 'stopped'
          const server = await it.ports.servers.get(it.server.id)
          assert.equal(server.vmState, ok && !confirm ? 'resized' : resting)
          assert.equal(server.powerState, runs ? 1 : 4)
          const migration = await it.ports.serverMigrations.get(migrationId)
          assert.equal(migration.status, ok ? (confirm ? 'confirmed' : 'finished') : 'error')
          assert.equal(migration.message === null, ok, 'a failure is said, and only a failure')
          await assertHeld(it, ok && !confirm ? 'compute-1' : null, small)
          if (ok) await assertAt(it, 'compute-2', { runs, flavor: large, heads: 'to' })
          else await assertAt(it, 'compute-1', { runs, flavor: small, heads: 'from' })
        },
        close: it.close,
      }
    },
  })
}

/** As a finished resize leaves it. */
const openResized = (runs: boolean, status: ServerMigration['status'], server: Partial<Server>) =>
  openResizeWorld({
    at: 'compute-2',
    flavor: large,
    runs,
    server: { vmState: 'resized', ...server },
    migration: {
      status,
      wasRunning: true,
      reserves: 'compute-1',
      vcpus: small.vcpus,
      memoryMib: small.memoryMib,
    },
  })

// One whose guest does not run with the new flavor runs again with the old one, as it did.
for (const ran of [true, false]) {
  everyStep<ColdMoveInput, ColdMovePorts>(revertResize, {
    fresh: async () => {
      const it = await openResized(ran, 'reverting', { taskState: 'resize_reverting' })
      return {
        input: {
          serverId: it.server.id,
          requestId: 'req-1',
          migrationId,
          from: 'compute-2',
          to: 'compute-1',
          heads: it.heads,
          ran,
          runs: true,
          graceMs: 0,
        },
        ports: it.ports,
        invariants: async ({ run }: Result) => {
          const ok = run.state === 'succeeded'
          const server = await it.ports.servers.get(it.server.id)
          assert.equal(server.vmState, ok ? 'active' : 'resized')
          assert.equal(server.powerState, ok || ran ? 1 : 4)
          const { status } = await it.ports.serverMigrations.get(migrationId)
          assert.equal(status, ok ? 'reverted' : 'finished')
          await assertHeld(it, ok ? null : 'compute-1', small)
          if (ok) await assertAt(it, 'compute-1', { runs: true, flavor: small, heads: 'to' })
          else await assertAt(it, 'compute-2', { runs: ran, flavor: large, heads: 'from' })
        },
        close: it.close,
      }
    },
  })
}

everyStep<ConfirmResizeInput, ConfirmResizePorts>(confirmResize, {
  fresh: async () => {
    const it = await openResized(true, 'confirming', { taskState: null })
    return {
      input: { serverId: it.server.id, requestId: 'req-1', migrationId },
      ports: it.ports,
      invariants: async ({ run }: Result) => {
        const ok = run.state === 'succeeded'
        assert.equal((await it.ports.servers.get(it.server.id)).vmState, ok ? 'active' : 'resized')
        const { status } = await it.ports.serverMigrations.get(migrationId)
        assert.equal(status, ok ? 'confirmed' : 'finished')
        await assertHeld(it, ok ? null : 'compute-1', small)
        await assertAt(it, 'compute-2', { runs: true, flavor: large, heads: 'from' })
      },
      close: it.close,
    }
  },
})

// A resized server is deleted, and what is held back for its way back is free.
everyStep<DeleteServerInput, DeleteServerPorts>(deleteServer, {
  fresh: async () => {
    const it = await openResized(true, 'finished', { taskState: 'deleting' })
    return {
      input: { serverId: it.server.id, requestId: 'req-1' },
      ports: it.ports,
      invariants: async ({ run }: Result) => {
        if (run.state !== 'succeeded') {
          await assertHeld(it, 'compute-1', small)
          await assertAt(it, 'compute-2', { runs: true, flavor: large, heads: 'from' })
          return
        }
        await assertHeld(it, null, small)
        assert.equal((await it.ports.serverMigrations.get(migrationId)).status, 'confirmed')
        assert.equal(await it.ports.servers.find(it.server.id), undefined)
        await assertWorldSound(it.world)
      },
      close: it.close,
    }
  },
})
