import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readJson, RecordFile, writeJsonDurably } from './durable-file.ts'

test('what is read is the last value that was written', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vf-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'r.json')
  assert.equal(readJson(path), undefined)
  const file = new RecordFile<{ n: number }>(path)
  await file.write({ n: 0 })
  assert.deepEqual(readJson(path), { n: 0 })
  await Promise.all(Array.from({ length: 50 }, (_, n) => file.write({ n: n + 1 })))
  assert.deepEqual(readJson(path), { n: 50 })
  assert.equal(statSync(path).mode & 0o777, 0o600)
  const late = file.write({ n: 51 })
  await file.remove()
  await late
  await file.write({ n: 52 })
  assert.deepEqual(readdirSync(folder), [], 'a removed record stays removed')
  writeJsonDurably(path, { n: 1 })
  assert.deepEqual(readJson(path), { n: 1 })
})

test('a write that fails is told to its caller, and the next one goes on', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vf-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = new RecordFile<object>(join(folder, 'none', 'r.json'))
  await assert.rejects(file.write({}), { code: 'ENOENT' })
  await assert.rejects(file.write({}), { code: 'ENOENT' })
})

test('with a record goes what a process that died left of its writing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vf-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'r.json')
  writeJsonDurably(path, { n: 0 })
  writeFileSync(`${path}.new`, '{ "n"')
  await new RecordFile(path).remove()
  assert.deepEqual(readdirSync(folder), [])
})
