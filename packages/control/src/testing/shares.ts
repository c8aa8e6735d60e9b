import assert from 'node:assert/strict'
import { bind, Executor, MemoryStore, type Operation } from '@volant/saga'
import { shareAccessRecords } from '../db/repositories/share-access.ts'
import { shareGround } from '../db/repositories/share-ground.ts'
import { shareLists } from '../db/repositories/share-list.ts'
import { shareMessageRecords } from '../db/repositories/share-message.ts'
import { shareTypeRecords } from '../db/repositories/share-type.ts'
import { shareRecords } from '../db/repositories/share.ts'
import { junctionPathOf, type Share, type ShareAccessRule } from '../domain/share.ts'
import { ShareTurns } from '../domain/share-turns.ts'
import { gib, type AggregatePlace } from '../domain/volume.ts'
import { createShare, type CreateShareInput } from '../operations/create-share.ts'
import { snapshotAccessRecords } from '../db/repositories/snapshot-access.ts'
import { systemClock } from '../ports/clock.ts'
import { blockStoragePorts } from './block-storage.ts'
import { assertWorldSound } from './invariants.ts'
import type { World } from './world.ts'

/** What the operations of shares need, over a world of simulated nodes; the first cluster serves shares. */
export function sharePorts(world: World) {
  const [cluster] = world.topology.clusters
  if (cluster !== undefined) {
    cluster.shares ??= { backend: 'manila-lma', lif: '127.250.118.60', node: 'lma-01' }
  }
  return {
    ...blockStoragePorts(world),
    topology: world.topology,
    shares: shareRecords(world.db, systemClock),
    ground: shareGround(world.db),
    accessRules: shareAccessRecords(world.db, systemClock),
    snapshotAccess: snapshotAccessRecords(world.db, systemClock),
    shareMessages: shareMessageRecords(world.db),
    shareLists: shareLists(world.db),
    shareTypes: shareTypeRecords(world.db),
    serving: new ShareTurns(),
  }
}

export type SharePorts = ReturnType<typeof sharePorts>

/** The row of a share, as a request leaves it. */
export async function addShare(ports: SharePorts, fields: Partial<Share> = {}): Promise<Share> {
  const share: Share = {
    id: crypto.randomUUID(),
    projectId: 'p',
    userId: 'u',
    name: 'docs',
    description: null,
    sizeGib: 2,
    status: 'creating',
    taskState: null,
    shareTypeId: 'type-1',
    isPublic: false,
    snapshotSupport: true,
    createShareFromSnapshotSupport: true,
    revertToSnapshotSupport: true,
    mountSnapshotSupport: false,
    rootSquash: false,
    sourceSnapshotId: null,
    cluster: 'cinder-lma',
    flexvolId: null,
    volumeId: null,
    exportId: null,
    accessRulesStatus: 'active',
    migration: null,
    metadata: {},
    availabilityZone: 'nova',
    createdAt: new Date().toISOString(),
    updatedAt: null,
    ...fields,
  }
  await ports.shares.create(share)
  return share
}

export const creationOf = (
  share: Share,
  place: AggregatePlace = { node: 'lma-01', aggregate: 'aggr1' },
  source: CreateShareInput['source'] = null,
): CreateShareInput => ({
  shareId: share.id,
  projectId: share.projectId,
  requestId: 'req-1',
  sizeGib: share.sizeGib,
  flexvolId: crypto.randomUUID(),
  volumeId: crypto.randomUUID(),
  copyId: crypto.randomUUID(),
  attachmentId: crypto.randomUUID(),
  place,
  source,
})

export const ruleOf = (share: Share, fields: Partial<ShareAccessRule> = {}): ShareAccessRule => ({
  id: crypto.randomUUID(),
  shareId: share.id,
  accessType: 'ip',
  accessTo: '10.0.0.1',
  accessLevel: 'rw',
  state: 'queued_to_apply',
  metadata: {},
  createdAt: new Date().toISOString(),
  updatedAt: null,
  ...fields,
})

/** Carries an operation out to its end; its fence is that of any first control plane. */
export async function carryOut<Input, Ports>(
  operation: Operation<Input, Ports>,
  ports: NoInfer<Ports>,
  input: NoInfer<Input>,
): Promise<void> {
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'before',
    operations: [bind(operation, ports)],
    policy: { longestCheckInterval: '1ms' },
  })
  await executor.begin()
  try {
    const run = await executor.ended((await executor.start(operation, input)).id)
    assert.equal(run.state, 'succeeded', run.failure?.message ?? '')
  } finally {
    await executor.stop()
  }
}

/** A share that is served. */
export async function makeShare(
  ports: SharePorts,
  fields: Partial<Share> = {},
  place?: AggregatePlace,
): Promise<Share> {
  const share = await addShare(ports, fields)
  await carryOut(createShare, ports, creationOf(share, place))
  return ports.shares.get(share.id)
}

/** The simulated agent of the node with the LIF. */
export const shareAgentOf = (world: World) => world.agents.shares('lma-01')

/** It has its head on its truth, its file system and its export. */
export async function assertServed(world: World, ports: SharePorts, shareId: string, sizeGib: number) {
  const share = await ports.shares.get(shareId)
  const status = await shareAgentOf(world).shareStatus(shareId)
  assert.equal(status.fileSystem?.sizeBytes, sizeGib * gib)
  assert.equal(status.export?.junctionPath, junctionPathOf(shareId))
  assert.equal(status.export.exportId, share.exportId)
  const [attachment] = await world.records.attachments.ofVolume(share.volumeId ?? '')
  assert.equal(attachment?.status, 'attached')
  const holder = [...world.holders.values()].flatMap((agent) => agent.holders.get(attachment.headId) ?? [])
  const volume = await world.records.volumes.get(share.volumeId ?? '')
  assert.deepEqual(
    holder.map(({ image }) => image?.imageId),
    [volume.imageId],
    'its head stands on its truth',
  )
  assert.equal(volume.status, 'in-use')
  assert.equal(volume.sizeGib, sizeGib)
  assert.equal((await world.records.flexvols.get(share.flexvolId ?? '')).sizeBytes, sizeGib * gib)
  return { share, volume }
}

/** Every image has a row, every row an image, and nothing is held back any more. */
export async function assertNoShareLitter(world: World): Promise<void> {
  const rows = await world.db.selectFrom('copies').selectAll().execute()
  const files = [...world.nodes.values()].flatMap((node) => [...node.images.keys()])
  assert.deepEqual(files.toSorted(), rows.map((row) => row.image_id).toSorted())
  for (const row of rows) assert.equal(row.reserved_bytes, 0)
  await assertWorldSound(world)
}

export const shareMessagesOf = async (world: World, resourceId: string): Promise<number> =>
  (await world.db.selectFrom('share_messages').select('id').where('resource_id', '=', resourceId).execute())
    .length
