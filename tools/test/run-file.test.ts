import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { runTestFile, type FileResult } from './run-file.ts'

let folder = ''
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'run-file-'))
})
after(() => rmSync(folder, { recursive: true, force: true }))

async function run(text: string, timeoutMs: number) {
  const file = 'subject.test.ts'
  const imports = "import { after, before, describe, test } from 'node:test'\n"
  writeFileSync(join(folder, file), `${imports}${text}`)
  return runTestFile({ root: folder, file, timeoutMs, scratch: folder })
}

const namesOf = (result: FileResult): string[] => result.failed.map(({ name }) => name)

describe('one test file', () => {
  it('is counted', async () => {
    const result = await run(
      "test('good', () => {}); test('bad', () => { throw new Error('boom') }); test('not here', { skip: true }, () => {})",
      60_000,
    )
    assert.deepEqual([result.passed, result.skipped, namesOf(result)], [1, 1, ['bad']])
    assert.match(result.failed[0]?.error ?? '', /^Error: boom\n +at /)
    assert.match(result.output, /boom/)
  })

  it('whose test hangs is ended: its hooks run, and it says which test it was', async () => {
    const result = await run(
      `describe('suite', () => {
  let timer
  after(() => { clearTimeout(timer); console.log('the hook ran') })
  test('good', () => {})
  test('hangs', async () => { console.log('said before'); await new Promise((r) => (timer = setTimeout(r, 3_600_000))) })
})`,
      12_000,
    )
    assert.equal(result.passed, 1)
    assert.ok(namesOf(result).includes('hangs'), String(namesOf(result)))
    for (const part of ['said before', 'the hook ran', '✖ hangs', 'test timed out after 6000ms'])
      assert.ok(result.output.includes(part), `"${part}" is not in: ${result.output}`)
  })

  it('that blocks its process is killed, and the test that it was at is named', async () => {
    const result = await run(
      `describe('suite', () => {
  test('good', () => {})
  test('blocks', async () => {
    await new Promise((r) => setTimeout(r, 1000))
    console.log('blocking')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })
})`,
      8000,
    )
    assert.deepEqual(namesOf(result), ['did not end within 8 s and was killed'])
    assert.match(result.output, /blocking\nwhen it was killed it was at: suite › blocks\n/)
  })
  it('whose promises nobody awaits: no hook follows them, and an error is of the test that runs', async () => {
    const result = await run(
      `import { executionAsyncId } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
test('is not followed', async () => { await sleep(1); if (executionAsyncId() !== 0) throw new Error('followed') })
describe('suite', () => {
  test('rejects', async () => { await sleep(1); void Promise.reject(new Error('nobody awaits it')); await sleep(3_600_000, undefined, { ref: false }) })
  test('throws', async () => { await sleep(1); setTimeout(() => { throw new Error('nobody catches it') }); await sleep(3_600_000, undefined, { ref: false }) })
  test('around', async (t) => { await t.test('inner', async () => { await sleep(1); void Promise.reject(new Error('inside')); await sleep(20) }) })
  test('good', () => sleep(1))
})
describe('hooked', () => {
  after(async () => { await sleep(1); void Promise.reject(new Error('in a hook')); await sleep(20) })
  test('good', () => {})
})
describe('at once', { concurrency: true }, () => {
  for (const i of [1, 2]) test('good', async () => { await sleep(20); if (i === 2) void Promise.reject(new Error('of either')); await sleep(20) })
})`,
      60_000,
    )
    const errors = result.failed.map(({ name, error }) => `${name}: ${error?.split('\n')[0] ?? ''}`)
    assert.deepEqual(errors, [
      'rejects: Error: nobody awaits it',
      'throws: Error: nobody catches it',
      'inner: Error: inside',
      'around: Error [ERR_TEST_FAILURE]: 1 subtest failed',
    ])
    assert.match(result.output, /✖ hooked/)
    assert.match(result.output, /Error: of either/)
  })

  it('that fails outside its tests has failed', async () => {
    for (const text of [
      "test('good', () => {}); throw new Error('late')",
      "test('good', () => {}); process.on('exit', () => { throw new Error('late') })",
      "await 0; test('good', () => {}); setTimeout(() => { void Promise.reject(new Error('late')) }, 300)",
    ]) {
      const result = await run(text, 60_000)
      assert.notDeepEqual(namesOf(result), [], text)
      assert.match(result.output, /late/)
    }
  })
})
