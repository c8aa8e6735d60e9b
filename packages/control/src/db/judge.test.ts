import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Unfinished } from '@volant/saga'
import { migrations } from './migrations/index.ts'
import { openDatabase } from './open.ts'

test('a database with operations that nobody can end is refused before it is upgraded or copied', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'volant-judge-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'volant.db')
  const older = Object.fromEntries(Object.entries(migrations).slice(0, 2))
  await (
    await openDatabase(path, { migrations: older, judge: () => assert.fail('there is nothing') })
  ).destroy()
  const db = new DatabaseSync(path)
  for (const [id, endedAt] of [
    ['unfinished', null],
    ['ended', '2026-01-01T00:00:00.000Z'],
  ] as const) {
    db.prepare(
      `insert into operations (id, kind, version, steps, keys, input, state, cancellable, paused, cancel_requested,
        control_revision, owner, fence, created_at, updated_at, ended_at)
      values (?, 'volume.migrate', 1, '["a"]', '[]', '{}', 'running', 1, 0, 0, 0, 'o', 1, '', '', ?)`,
    ).run(id, endedAt)
  }
  db.close()
  const before = readFileSync(path)
  const seen: Unfinished[][] = []
  const judge = (unfinished: Unfinished[]): void => {
    seen.push(unfinished)
    throw new Error('not by this release')
  }
  await assert.rejects(openDatabase(path, { judge }), /not by this release/)
  assert.deepEqual(seen, [[{ id: 'unfinished', kind: 'volume.migrate', version: 1, steps: ['a'] }]])
  assert.ok(readFileSync(path).equals(before), 'the same bytes')
  assert.ok(!existsSync(join(folder, 'backup')))
  const upgraded = await openDatabase(path, { judge: () => {} })
  await upgraded.destroy()
  assert.ok(existsSync(join(folder, 'backup')), 'an accepted one is copied and upgraded')
})
