import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { test } from 'node:test'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { oneMachine } from '../crash/world.ts'
import { nextLook } from '../look.ts'
import { filledVolume, limitOf, startToOther, targetSeen } from './copies-at-once.ts'
import { ended, openPlane, until } from './plane.ts'

const priorities = ['high', 'normal', 'low']
const mib = 1024 * 1024
/** Far below what a machine can do that tests keep busy: nothing else limits these copies. */
const budgetMiB = 56
/** Of each volume: none is copied as a whole before this test is over. */
const dataMiB = 416
/** A mirror goes by steps of 4 MiB: beside so many of them one more or less does not count. */
const enoughMiB = 112
/** So far a part may be from what it is by weight. With one weight for all of them each of three would be farther away. */
const near = 0.12

interface Moving {
  operationId: string
  /** Of its target. */
  path: string
}

const copiedOf = async (copies: readonly Moving[]): Promise<number[]> =>
  Promise.all(copies.map(async ({ path }) => ((await stat(path)).blocks * 512) / mib))

/** What each got through while all of them did `enoughMiB`, as parts of the whole, and what they did in a second, at the most. */
async function partsOf(copies: readonly Moving[]): Promise<{ parts: number[]; perSecond: number }> {
  const began = performance.now()
  const before = await copiedOf(copies)
  for (const end = began + 60_000; ; await nextLook(began)) {
    const now = await copiedOf(copies)
    const grown = now.map((one, i) => one - (before[i] ?? 0))
    const all = grown.reduce((sum, one) => sum + one, 0)
    assert.ok(
      now.every((one) => one < dataMiB),
      `all are still under way, with ${now.join()} MiB`,
    )
    if (all >= enoughMiB) {
      const perSecond = all / ((performance.now() - began) / 1000)
      return { parts: grown.map((one) => one / all), perSecond }
    }
    assert.ok(performance.now() < end, `only ${all} MiB in a minute`)
  }
}

test('three copies of one node share its budget by priority; what one leaves the others have; a wish counts at once', async (t) => {
  const plane = await openPlane(
    (dir) =>
      `${oneMachine(`${dir}/lma/aggr1`, `${dir}/lmb/aggr1`)}copy: { pace: full, node_budget: ${budgetMiB}MiB/s }\n`,
  )
  t.after(() => plane.close())
  const { ndo } = plane.client
  const volumes: string[] = []
  for (const _priority of priorities) volumes.push(await filledVolume(plane, 1, dataMiB))
  const copies = await Promise.all(
    volumes.map(async (volumeId, i) => {
      const operationId = await startToOther(plane, volumeId, priorities[i] ?? '')
      return { operationId, path: await targetSeen(plane, volumeId) }
    }),
  )
  const [high, normal, low] = copies as [Moving, Moving, Moving]
  /** By the operations' records; MiB/s. */
  const areTold = async (what: string, expected: readonly number[]): Promise<void> => {
    let found: Operation[] = []
    const text = (): string =>
      found.map((one) => `${limitOf(one)}, ${one.progress.pace?.reason ?? one.state}`).join('; ')
    await until(what, 30_000, async () => {
      found = await Promise.all(copies.map(({ operationId }) => ndo.operation(operationId)))
      return found.every((one, i) => Math.abs(limitOf(one) / (expected[i] ?? 0) - 1) < 0.01)
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${text()}`)
    })
  }
  /** As seen at what fills the targets. */
  const areDone = async (what: string, expected: readonly number[]): Promise<void> => {
    const { parts, perSecond } = await partsOf(copies)
    const text = `${what}: ${parts.map((part) => part.toFixed(3)).join(' ')} of ${perSecond.toFixed(1)} MiB/s`
    t.diagnostic(text)
    const isNear = parts.every((part, i) => Math.abs(part - (expected[i] ?? 0) / budgetMiB) < near)
    assert.ok(isNear && perSecond < budgetMiB * 1.2, text)
  }
  const [one, two, four] = [budgetMiB / 7, (budgetMiB * 2) / 7, (budgetMiB * 4) / 7]

  await areTold('by priority', [four, two, one])
  const { pace } = (await ndo.operation(low.operationId)).progress
  assert.equal(pace?.limited_by, 'budget')
  assert.match(pace?.reason ?? '', /^copies of node lm[ab]-01 have 56 MiB\/s together, and are 3$/)
  await areDone('by priority', [four, two, one])

  await ndo.setPace(high.operationId, { pace: '4M' })
  const rest = budgetMiB - 4
  const beside = [4, (rest * 2) / 3, rest / 3]
  await areTold('what one does not use the others have', beside)
  await areDone('beside one of 4 MiB/s', beside)

  await ndo.setPace(normal.operationId, { priority: 'low' })
  await ndo.setPace(low.operationId, { priority: 'high' })
  const anew = [4, rest / 5, (rest * 4) / 5]
  await areTold('by the new priorities', anew)
  await areDone('by the new priorities', anew)

  await ndo.cancel(low.operationId)
  assert.equal((await ended(plane, low.operationId)).state, 'cancelled')
  copies.pop()
  await areTold('what one leaves the others have', [4, rest])
})
