import assert from 'node:assert/strict'
import { everyStep } from '@volant/saga/testing/every-step.ts'
import type { Result } from '@volant/saga/testing/every-step.ts'
import type { Convergence } from '../domain/convergence.ts'
import { assertVolumeClean, assertWorldSound } from '../testing/invariants.ts'
import { attachmentOf, makeVolume, migrationInput, openWorld } from '../testing/world.ts'
import { attachVolume, type AttachVolumePorts } from './attach-volume.ts'
import { detachVolume, type DetachVolumePorts } from './detach-volume.ts'
import { migrateVolume, type MigrateVolumeInput, type MigrateVolumePorts } from './migrate-volume.ts'
import { ensureHead } from './head.ts'

const here = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }

for (const attached of [true, false]) {
  for (const machines of [here, apart]) {
    everyStep<MigrateVolumeInput, MigrateVolumePorts>(migrateVolume, {
      fresh: async () => {
        const world = await openWorld(machines)
        const volume = await makeVolume(world, world.lma, { attached })
        const [attachment] = await world.records.attachments.ofVolume(volume.id)
        if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
        const input = migrationInput(world, volume)
        return {
          input,
          ports: world.ports,
          // A new process knows nothing of the copies under way.
          restarted: () => ({ ...world.ports, convergence: new Map<string, Convergence>() }),
          invariants: async ({ run }: Result) => {
            await assertVolumeClean(world, volume.id, input, run.state === 'succeeded' ? 'target' : 'source')
            const now = await world.records.volumes.get(volume.id)
            assert.equal(now.status, attached ? 'in-use' : 'available')
            const ended = { succeeded: 'success', cancelled: null, failed: 'error' } as Record<
              string,
              string | null
            >
            assert.equal(now.migrationStatus, ended[run.state])
          },
          close: () => world.db.destroy(),
        }
      },
    })
  }
}

/** A running guest on compute-1, and a volume. */
async function worldWithGuest(machines: typeof here) {
  const world = await openWorld(machines)
  const volume = await makeVolume(world, world.lma, { attached: false })
  const compute = world.agents.compute('compute-1')
  const guest = { serverId: 'server-1', name: 's', vcpus: 1, memoryMiB: 64, disks: [], nics: [] }
  await compute.ensureGuest({ fence: 0 }, guest)
  const holders = () => [...world.holders.values()].flatMap((agent) => [...agent.holders.keys()])
  const exports = () => [...world.nodes.values()].flatMap((node) => [...node.exports.keys()])
  return { world, volume, compute, holders, exports }
}

for (const machines of [here, apart]) {
  everyStep<{ attachmentId: string; volumeId: string; serverId: string; host: string }, AttachVolumePorts>(
    attachVolume,
    {
      fresh: async () => {
        const { world, volume, compute, holders, exports } = await worldWithGuest(machines)
        const attachment = { ...attachmentOf(volume), status: 'attaching' as const }
        await world.records.attachments.create(attachment)
        await world.records.volumes.update(volume.id, { status: 'attaching' })
        return {
          input: {
            attachmentId: attachment.id,
            volumeId: volume.id,
            serverId: 'server-1',
            host: 'compute-1',
          },
          ports: world.ports,
          invariants: async ({ run }: Result) => {
            const ok = run.state === 'succeeded'
            assert.equal((await world.records.volumes.get(volume.id)).status, ok ? 'in-use' : 'available')
            assert.equal(
              (await world.records.attachments.find(attachment.id))?.status,
              ok ? 'attached' : undefined,
            )
            assert.deepEqual(holders(), ok ? [attachment.id] : [])
            assert.equal(exports().length, ok && machines === apart ? 1 : 0)
            const plugged = compute.disksOf('server-1').map((disk) => disk.attachmentId)
            assert.deepEqual(plugged, ok ? [attachment.id] : [])
            await assertWorldSound(world, ['server-1'])
          },
          close: () => world.db.destroy(),
        }
      },
    },
  )

  everyStep<{ attachmentId: string; volumeId: string; serverId: string }, DetachVolumePorts>(detachVolume, {
    fresh: async () => {
      const { world, volume, compute, holders, exports } = await worldWithGuest(machines)
      const attachment = { ...attachmentOf(volume), status: 'detaching' as const }
      await world.records.attachments.create(attachment)
      await compute.ensureDisk(
        { fence: 0 },
        'server-1',
        await ensureHead(world.ports, { fence: 0 }, attachment),
      )
      await world.records.volumes.update(volume.id, { status: 'detaching' })
      return {
        input: { attachmentId: attachment.id, volumeId: volume.id, serverId: 'server-1' },
        ports: world.ports,
        invariants: async ({ run }: Result) => {
          const ok = run.state === 'succeeded'
          assert.equal((await world.records.volumes.get(volume.id)).status, ok ? 'available' : 'in-use')
          assert.equal(
            (await world.records.attachments.find(attachment.id))?.status,
            ok ? undefined : 'attached',
          )
          assert.deepEqual(holders(), ok ? [] : [attachment.id])
          assert.equal(exports().length, !ok && machines === apart ? 1 : 0)
          const plugged = compute.disksOf('server-1').map((disk) => disk.attachmentId)
          assert.deepEqual(plugged, ok ? [] : [attachment.id])
          await assertWorldSound(world, ['server-1'])
        },
        close: () => world.db.destroy(),
      }
    },
  })
}
