/** Operations on a real database that takes no writes: its disk is full, or another process holds it. */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync, statfsSync, truncateSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { sql } from 'kysely'
import type { Executor } from '@volant/saga'
import { bench, flow } from '@volant/saga/testing/flow.ts'
import { refusedWith } from '@volant/saga/testing/store-suite.ts'
import { openDatabase } from '../open.ts'
import { operationStore } from './operation.ts'

const bounded = { timeout: 120_000 }

/** A run that stands in `copy` until the gate opens. To be closed before its folder goes. */
async function running(folder: string) {
  const db = await openDatabase(join(folder, 'volant.db'))
  const given = bench(operationStore(db))
  const gate = Promise.withResolvers<void>()
  given.ports.script['copy'] = () => gate.promise
  const executor = await given.engine({ heartbeatEvery: '200ms' })
  const { id } = await executor.start(flow, { id: '1' })
  await until('it copies', () => given.ports.calls.includes('copy'))
  const close = async (): Promise<void> => {
    gate.resolve()
    await given.stop()
    await db.destroy()
  }
  return { db, given, gate, executor, id, close }
}

async function assertDoneOnce(executor: Executor, id: string, calls: string[]): Promise<void> {
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(calls, ['prepare', 'copy', 'equal', 'switch', 'clear', 'note'])
  const log = await executor.history(id)
  assert.deepEqual(
    log.map(({ seq }) => seq),
    log.map((_, i) => i + 1),
    'the log is whole',
  )
  assert.equal(executor.storeTrouble, null)
}

/** A file system of 16 MiB of its own; undefined: this user, or this container, may not mount one. */
function smallDisk(): { folder: string; remove(): void } | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'volant-full-'))
  const options = ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', folder]
  if (spawnSync('mount', options, { stdio: 'ignore' }).status !== 0) {
    rmSync(folder, { recursive: true })
    return undefined
  }
  const remove = (): void => {
    execFileSync('umount', [folder])
    rmSync(folder, { recursive: true })
  }
  return { folder, remove }
}

function fill(folder: string): { free(): void } {
  const path = join(folder, 'filler')
  const file = openSync(path, 'w')
  const block = Buffer.alloc(4096)
  for (;;) {
    try {
      if (writeSync(file, block) < block.length) break
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
      break
    }
  }
  closeSync(file)
  assert.equal(statfsSync(folder).bfree, 0)
  return { free: () => truncateSync(path, 0) }
}

test('a disk that fills up under a run holds it up, is told, and harms nothing', bounded, async (t) => {
  const disk = smallDisk()
  if (disk === undefined) return t.skip('no small file system may be mounted here')
  const { folder, remove } = disk
  const made = await running(folder).catch((error: unknown) => {
    remove()
    throw error
  })
  const { db, given, gate, executor, id } = made
  // In the order in which they are registered.
  t.after(made.close)
  t.after(remove)
  // What the log of the database has room for already could be written to all the same.
  await sql`pragma wal_checkpoint(truncate)`.execute(db)
  const filler = fill(folder)
  gate.resolve()
  await until('it waits for the database', () => executor.storeTrouble?.waiting === 1)
  assert.match(executor.storeTrouble?.reason ?? '', /its disk is full/)
  assert.equal((await executor.get(id)).step, 'copy', 'reads go on')
  const refused = refusedWith('unavailable', /its disk is full/)
  await assert.rejects(executor.start(flow, { id: '2' }), refused)
  await assert.rejects(executor.pause(id), refused)
  assert.ok(!given.ports.calls.includes('equal'), 'nothing goes on without its log')
  filler.free()
  await assertDoneOnce(executor, id, given.ports.calls)
  given.ports.calls.length = 0
  const second = await executor.start(flow, { id: '2' })
  await assertDoneOnce(executor, second.id, given.ports.calls)
})

/** Another process that holds the database's write lock; resolves when it does. */
async function lockedByAnother(t: TestContext, path: string) {
  const script = `
    const { DatabaseSync } = require('node:sqlite')
    const db = new DatabaseSync(process.argv[1], { timeout: 10000 })
    db.exec('begin immediate')
    process.stdout.write('locked')
    process.stdin.on('data', () => { db.exec('rollback'); process.exit() })`
  const child = spawn(process.execPath, ['-e', script, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return {
    async release() {
      const exit = once(child, 'exit')
      child.stdin.write('x')
      await exit
    },
  }
}

test(
  'a database that another process holds for long holds a run up, is told, and harms nothing',
  bounded,
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'volant-locked-'))
    const { given, gate, executor, id, close } = await running(folder)
    t.after(close)
    t.after(() => rmSync(folder, { recursive: true }))
    const other = await lockedByAnother(t, join(folder, 'volant.db'))
    gate.resolve()
    await until('it waits for the database', () => executor.storeTrouble?.waiting === 1)
    assert.match(executor.storeTrouble?.reason ?? '', /another process keeps it locked/)
    await assert.rejects(executor.start(flow, { id: '2' }), refusedWith('unavailable', /keeps it locked/))
    await other.release()
    await assertDoneOnce(executor, id, given.ports.calls)
  },
)
