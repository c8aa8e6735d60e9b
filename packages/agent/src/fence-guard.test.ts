import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { createFenceGuard } from './fence-guard.ts'

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code

test('a fence number once seen is never gone below, not even after a restart', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vg-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'fence.json')
  const guard = createFenceGuard(path)
  guard.admit({ fence: 3 })
  guard.admit({ fence: 3 })
  guard.admit({ fence: 7 })
  assert.throws(() => guard.admit({ fence: 6 }), refused('staleFence'))
  assert.equal(createFenceGuard(path).highest, 7)
  assert.throws(() => createFenceGuard(path).admit({ fence: 3 }), refused('staleFence'))
  const replaced = createFenceGuard(path)
  assert.equal(replaced.isSuperseded(), false)
  createFenceGuard(path).admit({ fence: 8 })
  assert.equal(replaced.isSuperseded(), true)
  assert.throws(() => replaced.admit({ fence: 7 }), refused('staleFence'), 'another process is in charge')
  for (const fence of [-1, 1.5, Number.NaN]) assert.throws(() => guard.admit({ fence }), refused('invalid'))
})
