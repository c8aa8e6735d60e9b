import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import type { ClientProcess } from '@volant/contract'
import { identityOf } from '@volant/qemu/process.ts'
import { silentLog } from '../daemon/log.ts'
import { settleWithHolds } from './client-hold.ts'

function sleeper(t: TestContext): ClientProcess {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  return identityOf(child.pid ?? 0)
}

const isStopped = ({ pid }: ClientProcess): boolean =>
  / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, ''))

test('an end that comes only while the client is held comes, and the client goes on', async (t) => {
  const client = sleeper(t)
  const begun = Date.now()
  const end = until('the client is held', () => isStopped(client)).then(() => 'pending')
  const { result, heldSinceMs } = await settleWithHolds(end, client, silentLog)
  assert.equal(result, 'pending')
  assert.ok(heldSinceMs !== undefined && heldSinceMs >= begun && heldSinceMs <= Date.now())
  await until('the client goes on', () => !isStopped(client))
})

test('an end that comes by itself touches nobody', async (t) => {
  const client = sleeper(t)
  let stops = 0
  const watch = setInterval(() => (stops += isStopped(client) ? 1 : 0), 1)
  t.after(() => clearInterval(watch))
  const { heldSinceMs } = await settleWithHolds(sleep(100), client, silentLog)
  assert.equal(heldSinceMs, undefined)
  assert.equal(stops, 0)
})

test('an end that fails is told, and the client goes on', async (t) => {
  const client = sleeper(t)
  const end = until('the client is held', () => isStopped(client)).then(() =>
    Promise.reject(new Error('the window')),
  )
  await assert.rejects(settleWithHolds(end, client, silentLog), /the window/)
  await until('the client goes on', () => !isStopped(client))
})

test('a client that is gone is not waited for', async () => {
  const gone = { pid: 1, startTime: '0', bootId: 'another' }
  const { result, heldSinceMs } = await settleWithHolds(sleep(1500, 'pending'), gone, silentLog)
  assert.equal(result, 'pending')
  assert.equal(heldSinceMs, undefined)
})
