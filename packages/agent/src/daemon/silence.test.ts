import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { QmpClient } from '@volant/qemu/qmp.ts'
import { untilSilent } from './silence.ts'

/** A monitor that answers until it is told not to. */
async function monitor(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'vs-'))
  const state = { answers: true, asked: 0 }
  const server = createServer((socket) => {
    socket.write('{"QMP": {}}\r\n')
    socket.on('data', (bytes) => {
      for (const line of bytes.toString('utf8').trim().split('\n')) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number }
        if (execute === 'query-jobs') state.asked++
        if (state.answers) socket.write(`{"return": [], "id": ${id}}\r\n`)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(join(folder, 'q'), resolve))
  const qmp = await QmpClient.connect({ path: join(folder, 'q') })
  t.after(() => {
    qmp.close()
    server.close()
    rmSync(folder, { recursive: true })
  })
  return { state, qmp }
}

const isPending = async (promise: Promise<unknown>): Promise<boolean> =>
  (await Promise.race([promise, new Promise((resolve) => setTimeout(resolve, 200, 'pending'))])) === 'pending'

test('a daemon that answers is left alone, and so is one that does not for a while', async (t) => {
  const { state, qmp } = await monitor(t)
  const silent = untilSilent(qmp, () => true, { every: 1, stopped: 60_000, hung: 60_000 })
  assert.ok(await isPending(silent))
  assert.ok(state.asked > 1)
  state.answers = false
  assert.ok(await isPending(silent))
  qmp.close()
  assert.equal(await silent, undefined)
})

test('one that was stopped is given less time than one that may be busy', async (t) => {
  const { state, qmp } = await monitor(t)
  state.answers = false
  let stopped = false
  const silent = untilSilent(qmp, () => stopped, { every: 1, stopped: 20, hung: 60_000 })
  assert.ok(await isPending(silent), 'busy')
  stopped = true
  assert.ok(((await silent) ?? 0) >= 20)
})

test('one that stays busy is given up in the end', async (t) => {
  const { state, qmp } = await monitor(t)
  state.answers = false
  assert.ok(((await untilSilent(qmp, () => false, { every: 1, stopped: 20, hung: 100 })) ?? 0) >= 100)
})
