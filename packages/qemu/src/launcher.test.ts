import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { ensureLauncher } from './launcher.ts'

test('a process that outlives us inherits no descriptor of ours but its log', async () => {
  // It looks itself: seen from outside there would be the libraries that it opens for a moment at its start.
  const look = 'ls /proc/$$/fd; true'
  const child = spawn(await ensureLauncher(), ['run', '--', 'sh', '-c', look], {
    stdio: ['ignore', 'pipe', 'ignore', 'pipe', 'pipe'],
  })
  assert.ok(child.stdout)
  assert.equal(await text(child.stdout), '0\n1\n2\n')
})
