import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import type { ShareAccessState } from '../domain/share.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import {
  assertNoShareLitter,
  assertServed,
  carryOut,
  makeShare,
  shareAgentOf,
  shareMessagesOf,
  sharePorts,
  type SharePorts,
} from '../testing/shares.ts'
import { contentOf, imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { openWorld, type Machines, type World } from '../testing/world.ts'
import {
  applySnapshotAccess,
  type ApplySnapshotAccessInput,
  type ApplySnapshotAccessPorts,
} from './apply-snapshot-access.ts'
import { deleteSnapshot, type DeleteSnapshotInput, type DeleteSnapshotPorts } from './delete-snapshot.ts'

const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
/** The node with the LIF is not the node with the image. */
const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
const near = { node: 'lma-01', aggregate: 'aggr1' }
const far = { node: 'lma-02', aggregate: 'aggr3' }

/** A share that held `before` at its snapshot, and holds `after`. */
async function withSnapshot(world: World, ports: SharePorts, place: typeof near) {
  const share = await makeShare(ports, { mountSnapshotSupport: true }, place)
  const volume = await world.records.volumes.get(share.volumeId ?? '')
  Object.assign(imageIn(world, volume.imageId ?? '') ?? {}, { content: 'before' })
  const snapshot = await makeSnapshot(world, volume, 1)
  Object.assign(imageIn(world, volume.imageId ?? '') ?? {}, { content: 'after' })
  return { share, snapshot }
}

const inputOf = (snapshot: Snapshot, volumeId: string = crypto.randomUUID()): ApplySnapshotAccessInput => ({
  snapshotId: snapshot.id,
  projectId: 'p',
  requestId: 'req-1',
  volume: { volumeId, copyId: crypto.randomUUID(), attachmentId: crypto.randomUUID() },
})

async function addRule(ports: SharePorts, snapshot: Snapshot, accessTo: string, state: ShareAccessState) {
  const id = crypto.randomUUID()
  const createdAt = new Date().toISOString()
  const rule = { id, snapshotId: snapshot.id, accessType: 'ip', accessTo, createdAt } as const
  await ports.snapshotAccess.create({ ...rule, state, updatedAt: null })
  return id
}

/** It is served from an image of its own, to read. */
async function assertShown(world: World, ports: SharePorts, snapshotId: string, clients: string[]) {
  const shown = await ports.shown.find(snapshotId)
  assert.ok(shown, 'it is shown')
  const status = await shareAgentOf(world).shareStatus(snapshotId)
  assert.equal(status.export?.readOnly, true)
  assert.equal(status.export.junctionPath, `/snapshot_${snapshotId.replaceAll('-', '_')}`)
  assert.equal(status.export.exportId, shown.exportId)
  assert.notEqual(shown.exportId, (await ports.shares.get(shown.shareId)).exportId)
  assert.deepEqual(
    status.export.clients,
    clients.map((to) => ({ to, level: 'ro' })),
  )
  const volume = await world.records.volumes.get(shown.volumeId)
  assert.equal(volume.status, 'in-use')
  assert.equal(volume.shareId, shown.shareId)
  const [attachment] = await world.records.attachments.ofVolume(shown.volumeId)
  assert.equal(attachment?.status, 'attached')
  assert.equal(attachment.shareId, snapshotId, 'a cutover holds the client of its own block device')
  const holders = [...world.holders.values()].flatMap((agent) => agent.holders.get(attachment.id) ?? [])
  assert.deepEqual(
    holders.map(({ image }) => image?.imageId),
    [volume.imageId],
  )
  return volume
}

async function assertHidden(world: World, ports: SharePorts, snapshotId: string) {
  assert.equal(await ports.shown.find(snapshotId), undefined)
  assert.deepEqual(await shareAgentOf(world).shareStatus(snapshotId), { shareId: snapshotId })
  const heads = [...world.holders.values()].reduce((sum, agent) => sum + agent.holders.size, 0)
  assert.equal(heads, 1, "the share's head is the only one")
}

for (const [machines, place, reflink] of [
  [here, near, true],
  [here, near, false],
  [apart, far, true],
] as const) {
  everyStep<ApplySnapshotAccessInput, ApplySnapshotAccessPorts>(applySnapshotAccess, {
    fresh: async () => {
      const world = await openWorld(machines, { reflink })
      const ports = sharePorts(world)
      const { share, snapshot } = await withSnapshot(world, ports, place)
      await addRule(ports, snapshot, '10.0.0.1', 'queued_to_apply')
      return {
        input: inputOf(snapshot),
        ports,
        restarted: () => ({ ...ports, copying: new Map() }),
        invariants: async ({ run }: Result) => {
          const [rule] = await ports.snapshotAccess.ofSnapshot(snapshot.id)
          if (run.state === 'succeeded') {
            assert.equal(rule?.state, 'active')
            const volume = await assertShown(world, ports, snapshot.id, ['10.0.0.1'])
            if (reflink) assert.equal(contentOf(world, volume.imageId ?? ''), 'before')
            assert.equal(await shareMessagesOf(world, snapshot.id), 0)
          } else {
            assert.equal(rule?.state, 'error')
            await assertHidden(world, ports, snapshot.id)
          }
          assert.equal(imageIn(world, snapshot.imageId ?? '')?.readOnly, true)
          assert.equal(contentOf(world, snapshot.imageId ?? ''), 'before')
          await assertServed(world, ports, share.id, 2)
          await assertNoShareLitter(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

/** The snapshot is shown, to one client. */
async function openShown(machines: Machines, place: typeof near) {
  const world = await openWorld(machines)
  const ports = sharePorts(world)
  const { share, snapshot } = await withSnapshot(world, ports, place)
  const ruleId = await addRule(ports, snapshot, '10.0.0.1', 'queued_to_apply')
  const input = inputOf(snapshot)
  await carryOut(applySnapshotAccess, ports, input)
  await assertShown(world, ports, snapshot.id, ['10.0.0.1'])
  return { world, ports, share, snapshot, ruleId, volumeId: input.volume?.volumeId ?? '' }
}

// The last rule goes, and with it all that the snapshot was served from; or another comes.
for (const last of [true, false]) {
  everyStep<ApplySnapshotAccessInput, ApplySnapshotAccessPorts>(applySnapshotAccess, {
    fresh: async () => {
      const { world, ports, share, snapshot, ruleId, volumeId } = await openShown(apart, far)
      if (last) await ports.snapshotAccess.updateIf(ruleId, ['active'], 'queued_to_deny')
      else await addRule(ports, snapshot, '10.0.0.2', 'queued_to_apply')
      return {
        input: inputOf(snapshot, volumeId),
        ports,
        restarted: () => ({ ...ports, copying: new Map() }),
        invariants: async ({ run }: Result) => {
          const rules = await ports.snapshotAccess.ofSnapshot(snapshot.id)
          const done = run.state === 'succeeded'
          if (done && last) {
            assert.deepEqual(rules, [])
            await assertHidden(world, ports, snapshot.id)
          } else if (done) {
            await assertShown(world, ports, snapshot.id, ['10.0.0.1', '10.0.0.2'])
          } else {
            assert.equal(rules.filter(({ state }) => state === 'error').length, 1)
            // Nothing was told to the server: it admits whom it admitted.
            await assertShown(world, ports, snapshot.id, ['10.0.0.1'])
          }
          await assertServed(world, ports, share.id, 2)
          await assertNoShareLitter(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

everyStep<DeleteSnapshotInput, DeleteSnapshotPorts>(deleteSnapshot, {
  fresh: async () => {
    const { world, ports, share, snapshot, volumeId } = await openShown(here, near)
    await world.records.snapshots.update(snapshot.id, { status: 'deleting' })
    return {
      input: { snapshotId: snapshot.id, projectId: 'p', requestId: 'req-1', shownVolumeId: volumeId },
      ports,
      invariants: async ({ run }: Result) => {
        const now = await world.records.snapshots.find(snapshot.id)
        const done = run.state === 'succeeded'
        assert.equal(now?.status, done ? undefined : 'error_deleting')
        if (done) {
          await assertHidden(world, ports, snapshot.id)
          assert.deepEqual(await ports.snapshotAccess.ofSnapshot(snapshot.id), [])
        }
        await assertServed(world, ports, share.id, 2)
        await assertNoShareLitter(world)
      },
      close: () => world.db.destroy(),
    }
  },
})
