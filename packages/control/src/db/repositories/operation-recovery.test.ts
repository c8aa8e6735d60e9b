import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { bench, flow } from '@volant/saga/testing/flow.ts'
import { openDatabase } from '../open.ts'
import { createRunWithin, operationStore } from './operation.ts'

async function database(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'volant-operations-'))
  const path = join(folder, 'db.sqlite')
  t.after(() => rm(folder, { recursive: true }))
  return { path, open: () => openDatabase(path) }
}

test('a run is carried on from the database’s file by another process’s connection', async (t) => {
  const { open } = await database(t)
  const before = await open()
  const first = bench(operationStore(before))
  first.ports.script['copy'] = () => ({ bytes: 7 })
  const killed = await first.engine({ inject: [{ at: 'switch', when: 'after', what: 'crash' }] })
  const { id } = await killed.start(flow, { id: '1' })
  await killed.crashed
  await first.stop()
  await before.destroy()

  const after = await open()
  t.after(() => after.destroy())
  const second = bench(operationStore(after))
  t.after(() => second.stop())
  second.ports.happened = true
  let out: unknown
  second.ports.script['clear'] = (context) => {
    out = context.out
  }
  const executor = await second.engine()
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(second.ports.calls, ['happened', 'clear', 'note'])
  assert.deepEqual(out, { prepare: undefined, copy: { bytes: 7 }, switch: undefined })
})

test('a row of the caller’s own and its operation are written together, or not at all', async (t) => {
  const db = await (await database(t)).open()
  t.after(() => db.destroy())
  const { engine, stop, store } = bench(operationStore(db))
  t.after(() => stop())
  const executor = await engine()
  const start = (id: string) =>
    executor.start(
      flow,
      { id },
      {
        create: (params) =>
          db.transaction().execute(async (trx) => {
            await createRunWithin(trx, params)
            if (id === 'refused') throw new Error('the caller changed its mind')
          }),
      },
    )
  const { id } = await start('1')
  assert.equal((await executor.ended(id)).state, 'succeeded')
  await assert.rejects(start('refused'), /changed its mind/)
  assert.equal(await store.holderOf('thing/refused'), undefined)
})
