import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { ensureGone, findByCommandWord, isAlive, startDetached, tailOf, waitUntilGone } from './process.ts'

const folder = mkdtempSync(join(tmpdir(), 'vp-'))
const logPath = join(folder, 'log')
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const sh = (script: string, ...args: string[]) =>
  startDetached({ command: '/bin/sh', args: ['-c', script, ...args], logPath })

test('a process is known by more than its pid', async () => {
  const one = sh('exec sleep 60')
  assert.equal(isAlive(one), true)
  assert.equal(isAlive({ ...one, startTime: '1' }), false)
  assert.equal(isAlive({ ...one, bootId: 'another boot' }), false)
  assert.equal(await waitUntilGone(one, 30), false)
  await ensureGone({ ...one, startTime: '1' })
  assert.equal(isAlive(one), true, 'a process that reused the pid is left alone')
  await ensureGone(one)
  assert.equal(isAlive(one), false)
  await ensureGone(one)
})

test('a process that ignores SIGTERM is killed after its grace, one that heeds it is not', async () => {
  const stubborn = sh('trap "" TERM; while :; do sleep 0.05; done')
  const polite = sh('trap "echo bye; exit" TERM; while :; do sleep 0.05; done')
  await sleep(100)
  await ensureGone(stubborn, { graceMs: 100 })
  await ensureGone(polite, { graceMs: 5000 })
  assert.equal(isAlive(stubborn) || isAlive(polite), false)
  assert.match(tailOf(logPath), /bye$/)
})

test('a process is found by a word of its command line', async () => {
  const word = `word-${process.pid}-${Date.now()}`
  // It forks nothing: a shell's child bears the shell's command line until it is a program of its own.
  const one = startDetached({
    command: process.execPath,
    args: ['-e', 'setInterval(() => {}, 1000)', word],
    logPath,
  })
  await sleep(50)
  assert.deepEqual(findByCommandWord(word), [one])
  assert.deepEqual(findByCommandWord(word.slice(0, -1)), [])
  await ensureGone(one)
  assert.deepEqual(findByCommandWord(word), [])
})
