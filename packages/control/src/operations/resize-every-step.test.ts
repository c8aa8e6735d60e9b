import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import type { Server } from '../domain/server.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import { gib } from '../domain/volume.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import {
  large,
  openResizeWorld,
  resizeInput,
  resizeMigrationId as migrationId,
  small,
  type ResizeWorld,
} from '../testing/resize.ts'
import type { ColdMoveInput, ColdMovePorts } from './cold-move.ts'
import { confirmResize, type ConfirmResizeInput, type ConfirmResizePorts } from './confirm-resize.ts'
import { resizeServer, type ResizeServerInput, type ResizeServerPorts } from './resize-server.ts'
import { revertResize } from './revert-resize.ts'

type It = ResizeWorld

/** The server is at one place, whole: its guest, its heads and all that may reach its volumes. */
async function assertAt(
  it: It,
  host: 'compute-1' | 'compute-2',
  expected: { runs: boolean; flavor: typeof small; heads: 'from' | 'to'; rootGib?: number },
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
  await assertSizes(it, expected.rootGib ?? 1)
  await assertWorldSound(it.world)
}

/** The root disk is at least as large as it has become, the other as ever, and what is on record is true. */
async function assertSizes({ world, heads }: It, rootGib: number): Promise<void> {
  const sizes = []
  for (const { volumeId } of heads) {
    const { sizeGib, imageId } = await world.records.volumes.get(volumeId)
    const copy = await world.records.copies.get(imageId ?? '')
    assert.equal(copy.sizeBytes, sizeGib * gib)
    assert.equal((await world.backend.imageInfo(copy))?.sizeBytes, copy.sizeBytes)
    sizes.push(sizeGib)
  }
  assert.ok((sizes[0] ?? 0) >= rootGib, `the root disk has ${sizes[0]} GiB`)
  assert.equal(sizes[1], 1)
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
  everyStep<ResizeServerInput, ResizeServerPorts>(resizeServer, {
    fresh: async () => {
      const it = await openResizeWorld({
        at: 'compute-1',
        flavor: small,
        runs,
        server: { vmState: runs ? 'active' : 'stopped', taskState: 'resize_prep' },
        migration: { wasRunning: runs },
      })
      return {
        input: resizeInput(it, { runs, confirm }),
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
          if (ok) await assertAt(it, 'compute-2', { runs, flavor: large, heads: 'to', rootGib: 2 })
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

// Its guest does not run with the new flavor; with the old one it runs again, as it did.
const ran = false
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
