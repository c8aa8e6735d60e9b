import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { openHostNetwork } from '../../test/host/network.ts'
import { openNetwork } from '../../test/migration/network.ts'
import { openShareNetwork } from '../../test/share/network.ts'
import { makerOf, networkNamespaces, orphanedNamespaces, removeNamespace } from './leftovers.ts'

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

  it('are all named by the process that made them', { skip: !root && 'only root makes them' }, async () => {
    const opened = {
      hosts: () => openHostNetwork(2),
      shares: () => openShareNetwork(2),
      volumes: openNetwork,
    }
    for (const [whose, open] of Object.entries(opened)) {
      const before = await networkNamespaces()
      const network = open()
      try {
        const made = (await networkNamespaces()).filter((name) => !before.includes(name))
        const own = made.filter((name) => makerOf(name) === String(process.pid))
        assert.ok(own.length >= 3, `${whose}: ${made.join(', ')}`)
      } finally {
        network.close()
      }
    }
  })
})
