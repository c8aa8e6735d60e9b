/** The servers' own operations have no volume's key: what they do while its FlexVol moves. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { bind } from '@volant/saga'
import type { OperationEngine } from '../ports/operations.ts'
import { openMoveRig } from '../testing/flexvol-moves.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { buildingServer, serverPorts } from '../testing/servers.ts'
import { attachmentOf, makeVolume } from '../testing/world.ts'
import { createServer } from './create-server.ts'

/** A server that is about to be built, with a volume of a FlexVol that can move. */
async function buildingRig(t: TestContext) {
  const late: { engine?: OperationEngine; ports?: ReturnType<typeof serverPorts> } = {}
  const rig = await openMoveRig({
    firstPhase: 'copying',
    // A server's undo that meets a part asks it to give way, and is tried again until it has.
    undoAttempts: 2000,
    more: (world) => {
      const engine = {
        holderOf: (key: string) => (late.engine as OperationEngine).holderOf(key),
        cancel: (id: string) => (late.engine as OperationEngine).cancel(id),
      }
      const ports = { ...serverPorts(world), engine }
      late.ports = ports as never
      return [bind(createServer, ports)]
    },
  })
  late.engine = rig.engine
  t.after(() => rig.close())
  const { world, executor } = rig
  const [server] = await (late.ports as ReturnType<typeof serverPorts>).servers.create([buildingServer()])
  assert.ok(server)
  const volume = await makeVolume(world, world.lma, { attached: false })
  await world.records.volumes.update(volume.id, { status: 'attaching' })
  const attachment = {
    ...attachmentOf(volume),
    serverId: server.id,
    host: null,
    status: 'attaching' as const,
  }
  await world.records.attachments.create(attachment)
  return { rig, world, executor, server, ports: late.ports as ReturnType<typeof serverPorts> }
}

type Built = Awaited<ReturnType<typeof buildingRig>>

/** No head is left, and the move goes on to its end. */
async function assertMoves({ rig, world, executor }: Built, moveId: string, t: TestContext): Promise<void> {
  for (const end = performance.now() + 20_000; (await executor.get(moveId)).endedAt === null;) {
    assert.ok(performance.now() < end, 'the move ends in 20 s')
    await sleep(20)
  }
  const holders = [...world.holders.values()].flatMap((agent) => [...agent.holders.keys()])
  assert.deepEqual(holders, [], 'no head is left')
  const kinds = (await rig.engine.partsOf(moveId)).map(
    ({ kind, state, failure }) => `${kind} ${state} ${failure?.message ?? ''}`,
  )
  t.diagnostic(kinds.join('; '))
  assert.equal((await executor.get(moveId)).state, 'succeeded')
  await assertWorldSound(world)
}

test('a server that fails to be built takes its heads along: none of its volumes is moved before', async (t) => {
  const built = await buildingRig(t)
  const { rig, world, executor, server } = built
  const compute = world.hosts.get('compute-1')
  assert.ok(compute)
  const building = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  compute.ensureGuest = async () => {
    asked.resolve()
    await building.promise
    throw new Error('no memory')
  }
  const { id } = await rig.engine.start(createServer, { serverId: server.id, requestId: 'req-1' })
  await asked.promise
  const move = await rig.moves.start({ flexvolId: world.lma.id, aggregate: 'aggr2' })
  await sleep(1800)
  building.resolve()
  assert.equal((await executor.ended(id)).state, 'failed')
  await assertMoves(built, move.operationId, t)
})

test('a server whose last record fails half-way gives its volumes up only when no part moves them', async (t) => {
  const built = await buildingRig(t)
  const { rig, executor, server, ports } = built
  const half = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const { update } = ports.servers
  ports.servers.update = async (id, fields) => {
    if (fields.vmState !== 'active') return update(id, fields)
    half.resolve()
    await goOn.promise
    throw new Error('the disk is full')
  }
  const { id } = await rig.engine.start(createServer, { serverId: server.id, requestId: 'req-1' })
  await half.promise
  const move = await rig.moves.start({ flexvolId: built.world.lma.id, aggregate: 'aggr2' })
  const part = async () =>
    (await rig.engine.partsOf(move.operationId)).find(({ kind }) => kind === 'volume.relocate')
  for (const end = performance.now() + 10_000; (await part())?.step !== 'inSync'; await sleep(5)) {
    assert.ok(performance.now() < end, 'its volume is being copied in 10 s')
  }
  goOn.resolve()
  assert.equal((await executor.ended(id)).state, 'failed')
  assert.equal((await part())?.state, 'cancelled', 'it gave way before its head was closed')
  await assertMoves(built, move.operationId, t)
})
