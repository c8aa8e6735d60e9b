import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { roundOf, textOf } from '../../tools/chaos/schedule.ts'

const program = join(import.meta.dirname, '../../tools/chaos/main.ts')

function chaos(...argv: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [program, ...argv],
      // Asked to end it cleans up, which a test file that is killed does not.
      { maxBuffer: 1 << 24, timeout: 200_000, killSignal: 'SIGTERM' },
      (_, stdout, stderr) => {
        resolve({ code: child.exitCode ?? -1, output: stdout + stderr })
      },
    )
  })
}

test('the seed decides what is done, and when', () => {
  const told = (seed: number, round: number) =>
    roundOf(seed, round, 40_000).map((d) => `${d.at} ${textOf(d)}`)
  assert.deepEqual(told(7, 1), told(7, 1))
  assert.notDeepEqual(told(7, 1), told(8, 1))
  assert.notDeepEqual(told(7, 1), told(7, 2))
  // Each kind of deed is drawn now and then.
  const kinds = new Set(
    [1, 2, 3, 4, 5, 6, 7, 8].flatMap((n) => roundOf(n, 1, 40_000).map(({ what }) => what)),
  )
  assert.equal(kinds.size, 12)
})

test('a wrong option is refused with what would be right', async () => {
  const { code, output } = await chaos('--minutes', 'x')
  assert.equal(code, 2)
  assert.match(output, /--minutes x: it is a number from .*Usage: npm run chaos/s)
})

test('half a minute of it: nothing is lost, stuck or left over', async (t) => {
  const seed = 42
  const { code, output } = await chaos('--minutes', '0.5', '--seed', String(seed), '--guests', '1')
  assert.equal(code, 0, output)
  assert.match(output, /round 1: nothing lost, nothing stuck, nothing left over/)
  t.diagnostic(output.trim().split('\n').at(-1) ?? '')
})
