import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { staleNames } from './documents.ts'
import { importsOf, violation } from './layers.ts'
import { findForbidden } from './tracked-files.ts'

describe('the layer rules are alive', () => {
  const forbidden: [string, string][] = [
    ['packages/contract/src/errors.ts', '@volant/saga'],
    ['packages/saga/src/plan.ts', '@volant/control/domain/volume.ts'],
    ['packages/saga/src/plan.ts', 'kysely'],
    ['packages/qemu/src/qmp.ts', '@volant/agent'],
    ['packages/agent/src/holder/holder.ts', '@volant/control/domain/volume.ts'],
    ['packages/control/src/domain/volume.ts', '../db/schema.ts'],
    ['packages/control/src/domain/volume.ts', 'node:fs/promises'],
    ['packages/control/src/operations/migrate-volume.ts', '../db/repositories/copies.ts'],
    ['packages/control/src/operations/migrate-volume.ts', '@volant/agent'],
    ['packages/control/src/app/volume.ts', '../http/server.ts'],
    ['packages/control/src/app/volume.ts', 'fastify'],
    ['packages/control/src/app/volume.ts', 'kysely'],
    ['packages/control/src/http/volume/volumes.ts', '../../db/open.ts'],
    ['packages/control/src/reconcile/heads.ts', '../main.ts'],
    ['packages/client/src/ndo.ts', '@volant/control/domain/volume.ts'],
    ['packages/cli/src/main.ts', '@volant/agent'],
  ]
  for (const [file, module] of forbidden) {
    it(`${file} may not import ${module}`, () => assert.ok(violation(file, module)))
  }

  it('leave alone what they allow', () => {
    assert.equal(violation('packages/control/src/app/volume.ts', '../domain/volume.ts'), undefined)
    assert.equal(violation('packages/control/src/app/volume.ts', 'kysely', true), undefined)
    assert.equal(violation('packages/control/src/http/server.ts', 'fastify'), undefined)
    assert.equal(violation('packages/control/src/main.ts', '@volant/agent/holder/agent.ts'), undefined)
    assert.equal(violation('packages/cli/src/commands/serve.ts', '@volant/control/main.ts'), undefined)
    assert.equal(violation('packages/control/src/domain/volume.test.ts', 'node:fs'), undefined)
  })

  it('see every form of import', () => {
    const source = [
      "import a from 'a'",
      "import type { B } from '../b.ts'",
      'import {',
      '  c,',
      "} from './c.ts'",
      "export * from './d.ts'",
      "import './e.ts'",
      "const f = await import('@volant/f/g.ts')",
    ].join('\n')
    assert.deepEqual(importsOf(source), [
      { module: 'a', line: 1, typeOnly: false },
      { module: '../b.ts', line: 2, typeOnly: true },
      { module: './c.ts', line: 5, typeOnly: false },
      { module: './d.ts', line: 6, typeOnly: false },
      { module: './e.ts', line: 7, typeOnly: false },
      { module: '@volant/f/g.ts', line: 8, typeOnly: false },
    ])
  })
})

describe('what ties a file to a machine is found', () => {
  it('paths, registries, keys', () => {
    const at = (text: string): number => findForbidden('f', text).length
    assert.equal(at(`cd /ro${''}ot/volant`), 1)
    assert.equal(at(`path: '/ho${''}me/alice/volant'`), 1)
    assert.equal(at(`https://regi${''}stry.example.org/x`), 1)
    assert.equal(at(`-----BEGIN PRIV${''}ATE KEY-----`), 1)
    assert.equal(at('/var/lib/volant https://docs.openstack.org/ packages/x/root/'), 0)
  })
})

describe('what a document names and is not there is found', () => {
  const files = ['docs/a.md', 'docs/b/c.md', 'packages/x/src/app/turns.ts', 'test/y/main-job.test.ts']
  const texts: Record<string, string> = {
    'test/y/main-job.test.ts': "it('a copy that ends (${how}) goes on, slowly')",
  }
  const named = { files, scripts: ['check'], read: (file: string) => texts[file] ?? '' }
  const wrong = (line: string): string[] => staleNames('docs/a.md', line, named)

  it('links, paths, scripts, tests', () => {
    assert.deepEqual(wrong('see [it](b/d.md)'), ['docs/a.md:1: the link b/d.md leads nowhere'])
    assert.deepEqual(wrong('\nin `app/turn.ts`'), ['docs/a.md:2: there is no app/turn.ts'])
    assert.deepEqual(wrong('in `test/z/`'), ['docs/a.md:1: there is no test/z/'])
    assert.deepEqual(wrong('`npm run chek`'), ['docs/a.md:1: package.json has no script chek'])
    assert.deepEqual(wrong('| main-job: *a copy that stops…* |'), [
      'docs/a.md:1: no test in a file named main-job is called "a copy that stops…"',
    ])
    assert.deepEqual(wrong('| side-job: *a copy…* |'), ['docs/a.md:1: there is no test file named side-job'])
  })

  it('leave alone what is there', () => {
    const right =
      '[c](b/c.md#x) [b](b) [w](https://x.org/y.ts) `turns.ts` `src/app/turns.ts` `/x.ts` `npm run check`'
    assert.deepEqual(wrong(right), [])
    assert.deepEqual(wrong('| main-job: *a copy that ends (killed)…*, *…slowly* |'), [])
  })
})
