import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prove } from './proof.ts'
import { reportText } from './report.ts'

// `npm run proof:move` is the whole proof; this is a short one.
test('a FlexVol with six volumes moves to and fro under two guests, while users work in it', async (t) => {
  const seed = Number(process.env['VOLANT_MOVE_SEED'] ?? Date.now() % 1_000_000)
  t.diagnostic(`VOLANT_MOVE_SEED=${seed}`)
  const lines: string[] = []
  const report = await prove({
    rounds: 2,
    volumes: 6,
    guests: 2,
    snapshotted: 2,
    seed,
    say: (text) => void lines.push(text),
  })
  t.diagnostic(reportText(report))
  assert.deepEqual(report.problems, [], lines.join('\n'))
  // Users detach some of them in the middle of it: such a one moves at rest.
  assert.ok(report.pauses.length >= 2, 'volumes in use cut over in each move')
})
