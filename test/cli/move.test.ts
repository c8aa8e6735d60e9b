import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { after, before, describe, it } from 'node:test'
import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import type { MoveDocument } from '@volant/contract/ndo/move.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { VacatePlan } from '@volant/contract/ndo/vacate.ts'
import { openPlace, type Place } from './place.ts'
import { startVolant } from './volant.ts'

const mib = 1024 ** 2
const flexvol = 'cinder_flexvol_OSTK02'

let place: Place
before(async () => {
  place = await openPlace()
  await place.write(24 * mib)
})
after(() => place?.close())

const json = async <T>(...args: string[]): Promise<T> => {
  const { code, stdout, stderr } = await place.run(...args, '--json')
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout) as T
}
const where = async (): Promise<string | undefined> =>
  (await json<FlexVol[]>('flexvols')).find(({ name }) => name === flexvol)?.aggregate
const ended = async (id: string): Promise<Operation> => {
  let last: Operation | undefined
  for await (const one of place.client.ndo.watch(id, { signal: AbortSignal.timeout(60_000) })) last = one
  assert.ok(last?.finished_at, `not ended in 60 s: ${JSON.stringify(last)}`)
  return last
}

describe('volant move', () => {
  it('--dry-run lists every precondition and changes nothing; what would be refused is 4, what is not there 3', async () => {
    const plan = await place.run('move', flexvol, 'aggr2', '--dry-run')
    assert.equal(plan.code, 0, plan.stderr)
    assert.match(
      plan.stdout,
      /1 volume \(0 attached\), 0 snapshots[^]*It would start\. Nothing was changed\./,
    )
    const same = await place.run('move', flexvol, 'aggr1', '--dry-run')
    assert.deepEqual([same.code, /on aggregate aggr1 already/.test(same.stderr)], [4, true])
    assert.equal((await place.run('move', flexvol, 'aggr1')).code, 4)
    assert.equal((await place.run('move', flexvol, 'aggr9')).code, 3)
    assert.equal((await place.run('move', 'gold', 'aggr2')).code, 3)
    assert.equal((await place.run('move', flexvol, 'aggr2', '--cutover-window', '29')).code, 2)
    assert.deepEqual([await where(), await json('moves')], ['aggr1', []])
  })

  it('moves the FlexVol; the pool stays, the history and each image are shown, parts only where they are asked for', async () => {
    const pool = await place.host()
    const moved = await place.run('move', flexvol, 'aggr2', '--watch')
    assert.equal(moved.code, 0, moved.stderr)
    assert.match(moved.stdout, /^succeeded: 1 image, .* moved/)
    assert.deepEqual([await where(), await place.host()], ['aggr2', pool])
    const { move, images } = await json<MoveDocument>('moves', flexvol, '--images')
    assert.deepEqual(
      [move.state, move.percent, move.from, move.to],
      ['success', 100, 'aggr1@lma-01', 'aggr2@lma-01'],
    )
    assert.deepEqual(
      images.map((image) => [image.kind, image.id, image.state]),
      [['volume', place.volumeId, 'moved']],
    )
    const kinds = async (...args: string[]): Promise<string[]> =>
      (await json<Operation[]>('operations', 'list', ...args)).map(({ kind }) => kind)
    assert.ok(!(await kinds()).includes('image.relocate'))
    assert.deepEqual(await kinds('--parent', move.id), ['image.relocate'])
    assert.ok((await kinds('--all')).includes('image.relocate'))
    assert.match((await place.run('operations', move.id)).stdout, /Parts:[^]*image\.relocate/)
  })

  it('Ctrl-C stops watching, not the move; pause, resume and cancel by the name bring it back', async () => {
    const watching = startVolant(
      'move',
      flexvol,
      'aggr1',
      '--rate',
      '200K',
      '--watch',
      '--state',
      place.folder,
    )
    await new Promise<void>((resolve) => {
      watching.child.stderr?.on('data', (chunk: Buffer) => {
        if (String(chunk).includes('copying')) resolve()
      })
    })
    watching.child.kill('SIGINT')
    const { code, stderr } = await watching.ended
    assert.equal(code, 130)
    assert.match(stderr, /Stopped watching; the operation goes on/)
    const id = /volant operations cancel (\S+)/.exec(stderr)?.[1] ?? ''
    for (const wish of ['pause', 'resume', 'hold', 'cutover', 'cancel']) {
      assert.equal((await place.run('move', wish, flexvol)).code, 0, wish)
    }
    assert.equal((await ended(id)).state, 'cancelled')
    assert.equal(await where(), 'aggr2')
    assert.equal((await place.run('move', 'cancel', flexvol)).code, 4)
  })
})

describe('volant vacate', () => {
  it('--dry-run shows what would go where; nothing changes; a node without another has the reasons, with 4', async () => {
    const plan = await json<VacatePlan>('vacate', 'cinder-lma/aggr2', '--dry-run')
    assert.deepEqual(
      plan.moves.map((move) => [move.flexvol.name, move.from, move.to]),
      [[flexvol, 'aggr2@lma-01', 'aggr1@lma-01']],
    )
    assert.equal(plan.ok, true)
    const node = await place.run('vacate', 'lma-01', '--dry-run')
    assert.deepEqual([node.code, /no aggregate besides/.test(node.stderr)], [4, true])
    assert.equal((await place.run('vacate', 'lma-01')).code, 4)
    assert.equal((await place.run('vacate', 'aggr2')).code, 4, 'two clusters have one')
    assert.equal((await place.run('vacate', 'attic')).code, 3)
    assert.equal(await where(), 'aggr2')
  })

  it('survives the death of the control plane; meanwhile nothing is placed there; all is moved in the end', async () => {
    const started = await place.run('vacate', 'cinder-lma/aggr2', '--rate', '200K', '--json')
    assert.equal(started.code, 0, started.stderr)
    const { operation } = JSON.parse(started.stdout) as { operation: Operation }
    const refused = await place.run('flexvols', 'create', 'late', '--aggregate', 'cinder-lma/aggr2')
    assert.deepEqual([refused.code, refused.stderr.includes(operation.id)], [4, true])
    assert.equal((await place.run('vacate', 'cinder-lma/aggr2')).code, 4)
    const { pid } = await json<{ pid: number }>('status')
    process.kill(pid, 'SIGKILL')
    await sleep(200)
    await place.up()
    assert.equal((await place.client.ndo.operation(operation.id)).state, 'running')
    await place.client.ndo.setRate(operation.id, 1024 * mib)
    const end = await ended(operation.id)
    assert.equal(end.state, 'succeeded', end.error?.reason ?? '')
    assert.deepEqual(end.progress.flexvols, { total: 1, moved: 1, moving: 0, waiting: 0, stuck: 0 })
    assert.equal(await where(), 'aggr1')
  })
})
