import assert from 'node:assert/strict'
import { test } from 'node:test'
import { every } from './every.ts'

test('the first pass begins at once where it is asked for; it is told of the stop, which waits for it', async () => {
  const passes: string[] = []
  const stop = every(
    3_600_000,
    (stopping) =>
      new Promise<void>((resolve) => {
        passes.push('begun')
        stopping.addEventListener('abort', () => {
          passes.push('told')
          setImmediate(() => {
            passes.push('ended')
            resolve()
          })
        })
      }),
    { atOnce: true },
  )
  assert.deepEqual(passes, ['begun'])
  await stop()
  assert.deepEqual(passes, ['begun', 'told', 'ended'])
})

test('a pass that fails is followed by another, and none by one at the same time', async () => {
  let running = 0
  let passes = 0
  await new Promise<void>((resolve) => {
    const stop = every(1, async () => {
      running += 1
      assert.equal(running, 1)
      await new Promise((r) => setTimeout(r, 5))
      running -= 1
      passes += 1
      if (passes === 3) void stop().then(resolve)
      throw new Error('this one failed')
    })
  })
  assert.equal(passes, 3)
})
