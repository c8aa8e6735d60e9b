import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { tailOfConsole } from './console-log.ts'

test('the end of a console: so many lines, however long the log; or its last 100 KiB', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'console-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'log')
  assert.equal(tailOfConsole(path, 5), '')
  writeFileSync(path, 'one\r\ntwo\r\nthree\r\n')
  assert.equal(tailOfConsole(path), 'one\ntwo\nthree\n')
  assert.equal(tailOfConsole(path, 2), 'two\nthree\n')
  assert.equal(tailOfConsole(path, 9), 'one\ntwo\nthree\n')
  writeFileSync(path, 'one\ntwo')
  assert.equal(tailOfConsole(path, 1), 'two')
  const lines = Array.from({ length: 20_000 }, (_, number) => `line ${number}`)
  writeFileSync(path, `${lines.join('\n')}\n`)
  assert.equal(tailOfConsole(path, 15_000), `${lines.slice(-15_000).join('\n')}\n`)
  assert.equal(tailOfConsole(path).length, 100 * 1024)
})
