import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { seconds } from './seconds.ts'
import { selectTests } from './select.ts'

const root = resolve(import.meta.dirname, '../..')

test('each test file is selected once, the longest first', () => {
  const paths = selectTests(root, []).map(({ path }) => path)
  assert.equal(new Set(paths).size, paths.length)
  const known = Object.entries(seconds).toSorted(([, a], [, b]) => b - a)
  assert.equal(paths[0], known[0]?.[0])
  const [short, long] = ['tools/test/select.test.ts', known.at(-1)?.[0] ?? ''].map((path) =>
    paths.indexOf(path),
  )
  assert.ok((long as number) >= 0 && (long as number) < (short as number))
})

test('a part of a path selects', () => {
  assert.deepEqual(
    selectTests(root, ['tools/test/sel']).map(({ path }) => path),
    ['tools/test/select.test.ts'],
  )
  assert.deepEqual(selectTests(root, ['no such test']), [])
})

test('the times are those of files that are there', () => {
  assert.deepEqual(
    Object.keys(seconds).filter((path) => !existsSync(join(root, path))),
    [],
  )
})
