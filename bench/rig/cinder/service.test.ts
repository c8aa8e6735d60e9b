import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { answers, startService } from './service.ts'

const isGone = (pid: number): boolean => {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return true
  }
}

test('a service is ended with what it has forked, also where it has ended itself', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'service-'))
  try {
    // Each prints to a file of its own: the other's words would be taken for its own.
    for (const [name, rest] of [
      ['stays', 'wait'],
      ['ends', 'exit 0'],
    ] as const) {
      const service = startService(folder, name, ['sh', '-c', `sleep 300 & echo "forked $!"; ${rest}`])
      await answers(name, service, async () => /forked \d+\n/.test(service.printed()), 20)
      const forked = Number(/(\d+)\s*$/.exec(service.printed())?.[1])
      if (rest !== 'wait') for (let i = 0; i < 500 && service.runs(); i += 1) await sleep(20)
      assert.equal(service.runs(), rest === 'wait')
      assert.equal(isGone(forked), false)
      await service.stop()
      for (let i = 0; i < 500 && !isGone(forked); i += 1) await sleep(20)
      assert.equal(isGone(forked), true)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('who waits for a service that has ended, or is not there, is told what it printed last', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'service-'))
  try {
    const broken = startService(folder, 'broken', ['sh', '-c', 'echo "no such pool"; exit 3'])
    await assert.rejects(
      answers('ceph-osd', broken, async () => false, 20),
      /^Error: ceph-osd has ended: no such pool$/,
    )
    const absent = startService(folder, 'absent', [join(folder, 'no-such-program')])
    await assert.rejects(
      answers('epmd', absent, async () => false, 20),
      /^Error: epmd has ended/,
    )
    await absent.stop()
  } finally {
    rmSync(folder, { recursive: true })
  }
})
