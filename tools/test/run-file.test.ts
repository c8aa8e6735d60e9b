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
      "describe('suite', () => { test('good', () => {}); test('spins', async () => { await new Promise((r) => setTimeout(r, 1000)); console.log('spinning'); for (;;); }) })",
      8000,
    )
    assert.deepEqual(namesOf(result), ['did not end within 8 s and was killed'])
    assert.match(result.output, /spinning\nwhen it was killed it was at: suite › spins\n/)
  })
})
