import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConsole, parseWaits, waitOfBin } from './console.ts'

const serial = '7d4c0e1e-0000-4000-8'

test('latencies are read line by line, for one disk, and are no lines of progress', () => {
  const log = [
    `PROBE vdb waits serial=${serial} bins=118:3,131:96 t=3.887\r`,
    `PROBE vdb waits serial=${serial} bins= t=4.087`,
    `PROBE vdc waits serial=another bins=1:1 t=4.087`,
    `PROBE vdb waits serial=${serial} bins=118:3,13`,
  ].join('\n')
  assert.deepEqual(parseWaits(log, serial), [
    {
      t: 3.887,
      bins: [
        [118, 3],
        [131, 96],
      ],
    },
    { t: 4.087, bins: [] },
  ])
  assert.deepEqual(parseConsole(log, serial), [])
})

test('a bin stands for a sixteenth of a doubling', () => {
  // Bin 160 begins at 2^10 µs.
  assert.ok(Math.abs(waitOfBin(160) - 1.024 * (1 + 0.5 / 16)) < 1e-9)
  assert.ok(Math.abs(waitOfBin(175) - 1.024 * (1 + 15.5 / 16)) < 1e-9)
})
