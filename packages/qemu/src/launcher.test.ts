import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ensureLauncher } from './launcher.ts'

test('a process that outlives us inherits no descriptor of ours but its log', async (t) => {
  const child = spawn(await ensureLauncher(), ['run', '--', 'sleep', '600'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  })
  t.after(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const comm = () => readFileSync(`/proc/${child.pid}/comm`, 'utf8').trim()
  for (let i = 0; comm() !== 'sleep' && i < 2000; i++) await sleep(5)
  assert.equal(comm(), 'sleep')
  assert.deepEqual(readdirSync(`/proc/${child.pid}/fd`).toSorted(), ['0', '1', '2'])
})
