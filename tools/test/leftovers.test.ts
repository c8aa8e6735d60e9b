import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { networkNamespaces, orphanedNamespaces, removeNamespace } from './leftovers.ts'

const root = process.getuid?.() === 0

describe('network namespaces of tests', () => {
  it('are left behind once their process has ended', { skip: !root && 'only root makes them' }, async (t) => {
    // Above the largest process id there can be.
    const names = [`vd${2 ** 22 + process.pid}a`, `vd${process.pid}z`, `other-${process.pid}`]
    const [left = '', ours = '', others = ''] = names
    for (const name of names) execFileSync('ip', ['netns', 'add', name])
    t.after(async () => {
      const there = await networkNamespaces()
      for (const name of names) if (there.includes(name)) await removeNamespace(name)
    })
    const orphaned = await orphanedNamespaces()
    assert.ok(orphaned.includes(left))
    assert.ok(!orphaned.includes(ours) && !orphaned.includes(others))
    await removeNamespace(left)
    assert.ok(!(await networkNamespaces()).includes(left))
  })
})
