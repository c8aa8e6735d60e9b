import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { execute, runClient } from './client-processes.ts'

const script = `#!/usr/bin/python3
import sys
from entry import main

if __name__ == "__main__":
    sys.exit(main())
`
/** As the clients' own: one takes its arguments when its module is loaded, and modules are loaded late. */
const entry = `import os, sys, time
argv = sys.argv[1:]
def main(argv=sys.argv[1:]):
    import quopri
    print("arguments", argv, sys.argv[1:], os.environ.get("OS_WORD"), os.environ.get("OS_OTHER"))
    print("told", file=sys.stderr)
    return {"three": lambda: 3, "said": lambda: "what is wrong", "raised": lambda: {}["no such"],
            "sleeps": lambda: time.sleep(600)}.get(argv[0], lambda: None)()
`
let folder = ''
const path = process.env['PATH'] ?? ''
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'programs-'))
  writeFileSync(join(folder, 'client'), script)
  chmodSync(join(folder, 'client'), 0o755)
  writeFileSync(join(folder, 'entry.py'), entry)
  process.env['PATH'] = `${folder}:${path}`
})
after(() => {
  process.env['PATH'] = path
  rmSync(folder, { recursive: true, force: true })
})

test('a client that is forked does what one of its own process does: arguments, variables, output, exit code', async () => {
  for (const word of ['well', 'three', 'said', 'raised', 'well']) {
    const own = { OS_WORD: word }
    const expected = await execute('client', [word, 'a b'], { PATH: process.env['PATH'] ?? '', ...own })
    const forked = await runClient('client', [word, 'a b'], own)
    assert.equal(forked.code, expected.code)
    assert.equal(forked.stdout, expected.stdout)
    assert.match(forked.stdout, /arguments \['\w+', 'a b'\] \['\w+', 'a b'\] \w+ None/)
    // What is raised names the places of the code that called it.
    const last = (text: string): string => text.trimEnd().split('\n').at(-1) ?? ''
    assert.equal(last(forked.stderr), last(expected.stderr))
  }
})

test('several at a time keep apart; one that hangs is killed', async () => {
  const runs = ['three', 'well', 'said'].map((word) => runClient('client', [word], {}))
  const hung = runClient('client', ['sleeps'], {}, 1000)
  assert.deepEqual(
    (await Promise.all(runs)).map(({ code }) => code),
    [3, 0, 1],
  )
  assert.equal((await hung).code, 1)
})
