import assert from 'node:assert/strict'
import test from 'node:test'
import { planRecovery, refusalMessage } from './recovery.ts'
import type { RunRecord } from './types.ts'

const row = (id: string, kind: string, version: number, steps: string[]): RunRecord => ({
  id,
  kind,
  version,
  steps,
  keys: [],
  input: {},
  parentId: null,
  state: 'running',
  step: steps[0] ?? null,
  cancellable: true,
  control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null, revision: 0 },
  progress: null,
  failure: null,
  owner: 'old',
  fence: 1,
  createdAt: '',
  updatedAt: '',
  endedAt: null,
})
const known = [
  { kind: 'volume.migrate', version: 1, nodes: [{ name: 'a' }] },
  { kind: 'volume.migrate', version: 2, nodes: [{ name: 'a' }, { name: 'b' }] },
]

test('runs of every registered version are adopted, those under way here are left alone', () => {
  const rows = [
    row('r1', 'volume.migrate', 1, ['a']),
    row('r2', 'volume.migrate', 2, ['a', 'b']),
    row('r3', 'volume.migrate', 1, ['a']),
  ]
  assert.deepEqual(planRecovery(rows, known, new Set(['r3'])), { adopt: ['r1', 'r2'], refuse: [] })
})

test('what this code cannot carry on is refused, with what is missing', () => {
  const rows = [
    row('r1', 'volume.delete', 1, ['a']),
    row('r2', 'volume.migrate', 3, ['a']),
    row('r3', 'volume.migrate', 2, ['a', 'x']),
  ]
  const { adopt, refuse } = planRecovery(rows, known, new Set())
  assert.deepEqual(adopt, [])
  assert.match(refuse[0]?.reason ?? '', /no operation 'volume\.delete'/)
  assert.match(refuse[1]?.reason ?? '', /in version 1, 2, and no version 3/)
  assert.match(refuse[2]?.reason ?? '', /a change of steps needs a new version/)
  assert.match(refusalMessage(refuse), /3 unfinished operation\(s\)[^]*r1 \(volume\.delete v1\)/)
})
