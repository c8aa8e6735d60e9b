import assert from 'node:assert/strict'
import { test } from 'node:test'
import { usedOf, wantOf, withUse, type CopyUse } from './copy-use.ts'

const mib = 1024 ** 2

/** Looked at each 200 ms. */
const useOf = (looks: { done: number; moved?: number }[]): CopyUse =>
  looks.reduce<CopyUse>(
    (use, { done, moved }, i) =>
      withUse(use, {
        at: i * 200,
        doneBytes: done * mib,
        movedBytes: moved === undefined ? undefined : moved * mib,
      }),
    [],
  )

test('a copy that passes holes uses nothing of its rate, however fast it passes them', () => {
  const use = useOf([
    { done: 0, moved: 4 },
    { done: 800, moved: 4 },
    { done: 1600, moved: 4 },
  ])
  assert.equal(usedOf(use, 100 * mib, 200), 0)
})

test('where it is not known what was data, it uses its rate at the most', () => {
  assert.equal(usedOf(useOf([{ done: 0 }, { done: 800 }]), 100 * mib, 200), 100 * mib)
  assert.equal(usedOf(useOf([{ done: 0 }, { done: 4 }]), 100 * mib, 200), 20 * mib)
})

test('a slow copy that has just done a step wants its part in between, too', () => {
  const between = useOf([{ done: 4 }, { done: 4 }, { done: 4 }, { done: 4 }])
  const after = useOf([{ done: 0 }, { done: 0 }, { done: 0 }, { done: 4 }])
  const [rate, part] = [20 * mib, 4 * mib]
  for (const use of [between, after]) assert.ok(Math.min(part, wantOf(use, rate, 200)) === part)
})
