import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { NfsClient } from '@volant/contract'
import type { Principal } from '../domain/principal.ts'
import { gib } from '../domain/volume.ts'
import type { FlexVolMoves } from '../ports/flexvol-moves.ts'
import { addShare, makeShare, ruleOf, sharePorts } from '../testing/shares.ts'
import { openWorld } from '../testing/world.ts'
import { createShareAdministration } from './share-administration.ts'

const admin = { roles: ['admin'] } as unknown as Principal
const client = (address: string): NfsClient => ({
  svm: 'svm_cinder-lma',
  address,
  version: '4.2',
  shareIds: [],
  lastSeen: '2026-11-22T10:00:00.000Z',
})

async function rig(t: TestContext) {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const ports = sharePorts(world)
  const moves = { movements: async () => new Map(), movementOf: async () => undefined }
  const administration = createShareAdministration({
    ...world.records,
    shares: ports.shares,
    access: ports.accessRules,
    moves: moves as Pick<FlexVolMoves, 'movements' | 'movementOf'>,
    agents: world.agents,
    places: world.places,
    topology: world.topology,
  })
  return { world, ports, administration, node: world.agents.shares('lma-01') }
}

test('a share is shown with its places, its clients, and what serves it', async (t) => {
  const { ports, administration, node } = await rig(t)
  const share = await makeShare(ports)
  node.setUsed(share.id, 5_000_000)
  const served = (await node.shareStatus(share.id)).export
  assert.ok(served)
  await node.ensureShareExport({ fence: 2 }, { ...served, clients: [{ to: '10.0.0.0/24', level: 'ro' }] })
  node.setClients([client('10.0.0.7'), client('10.0.1.7'), { ...client('10.0.0.8'), svm: 'another' }])
  await ports.accessRules.create(
    ruleOf(share, { accessTo: '10.0.0.0/24', accessLevel: 'ro', state: 'active' }),
  )

  const [shown] = await administration.list(admin)
  const flexvol = await ports.flexvols.get(share.flexvolId as string)
  assert.deepEqual(shown, {
    id: share.id,
    name: 'docs',
    project_id: 'p',
    cluster: 'cinder-lma',
    host: 'h@manila-lma#aggr1'.replace('h', ports.topology.host),
    node: 'lma-01',
    flexvol: { id: flexvol.id, name: flexvol.name },
    export_location: `127.250.118.60:/share_${share.id.replaceAll('-', '_')}`,
    status: 'available',
    task_state: null,
    access_rules_status: 'active',
    size_bytes: 2 * gib,
    used_bytes: 5_000_000,
    snapshots: 0,
    clients: 1,
    is_served: true,
    trouble: null,
    move: null,
    created_at: share.createdAt,
  })
  const detail = await administration.show(admin, share.id)
  assert.deepEqual(detail.share, shown)
  assert.deepEqual(detail.mounts, [
    {
      address: '10.0.0.7',
      version: '4.2',
      access: 'ro',
      is_certain: false,
      last_seen: '2026-11-22T10:00:00.000Z',
    },
  ])
  assert.deepEqual(
    detail.access_rules.map(({ to, level, state }) => [to, level, state]),
    [['10.0.0.0/24', 'ro', 'active']],
  )
  assert.equal(detail.volume_id, share.volumeId)
  assert.ok(detail.image_id)
  assert.ok(detail.processes.some(({ what }) => what === 'volume head'))
})

test('a share that is not served says why; one that was never placed has no places', async (t) => {
  const { ports, administration, node } = await rig(t)
  const share = await makeShare(ports)
  await addShare(ports, { status: 'error', name: 'never placed' })
  const troubles = async (): Promise<unknown[]> =>
    (await administration.list(admin)).map(({ trouble, clients, host }) => [trouble, clients, host !== null])
  assert.deepEqual(await troubles(), [
    [null, 0, true],
    [null, 0, false],
  ])

  await ports.accessRules.create(ruleOf(share, { state: 'active' }))
  await node.ensureNoShareExport({ fence: 2 }, share.id)
  assert.deepEqual((await troubles())[0], ['it is not exported on node lma-01', 0, true])
  await node.ensureNoFileSystem({ fence: 2 }, share.id)
  assert.deepEqual((await troubles())[0], ['it is not mounted on node lma-01', 0, true])
  node.failNext('listShares', new Error('gone fishing'))
  assert.deepEqual((await troubles())[0], ['node lma-01 does not answer: gone fishing', null, true])
})

test('only administrators see shares of all projects; an unknown one is not found', async (t) => {
  const { administration } = await rig(t)
  const member = { roles: ['member'] } as unknown as Principal
  await assert.rejects(administration.list(member), { code: 'forbidden' })
  await assert.rejects(administration.show(member, 'x'), { code: 'forbidden' })
  await assert.rejects(administration.show(admin, 'x'), { code: 'notFound' })
})
