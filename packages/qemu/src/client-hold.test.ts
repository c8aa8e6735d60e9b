import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { isDomainError } from '@volant/contract'
import { holdProcess } from './client-hold.ts'
import { identityOf, type ProcessIdentity } from './process.ts'

function sleeper(t: TestContext): ProcessIdentity {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  return identityOf(child.pid ?? 0)
}

const stateOf = ({ pid }: ProcessIdentity): string =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) (.).*$/s, '$1')

async function until(process: ProcessIdentity, state: string): Promise<void> {
  for (let left = 1000; stateOf(process) !== state; left--) {
    assert.ok(left > 0, `process is ${stateOf(process)}, not ${state}`)
    await sleep(10)
  }
}

test('a process is held until it is released', async (t) => {
  const process = sleeper(t)
  const hold = await holdProcess(process, 60_000)
  await until(process, 'T')
  await hold.release()
  await until(process, 'S')
  await hold.release()
})

test('a process that nobody releases goes on when its time is over', async (t) => {
  const process = sleeper(t)
  const hold = await holdProcess(process, 50)
  await hold.ended
  await until(process, 'S')
})

test('a process goes on though whoever holds it is killed', async (t) => {
  const process = sleeper(t)
  const program = `
    const { holdProcess } = await import(${JSON.stringify(new URL('client-hold.ts', import.meta.url).href)})
    await holdProcess(${JSON.stringify(process)}, 600000)
    console.log('held')
    setInterval(() => {}, 1000)`
  const child = spawn(globalThis.process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  await new Promise((resolve) => child.stdout.once('data', resolve))
  await until(process, 'T')
  child.kill('SIGKILL')
  await until(process, 'S')
})

test('another process of the same pid is not held', async (t) => {
  const process = sleeper(t)
  await assert.rejects(
    holdProcess({ ...process, startTime: '1' }, 1000),
    (error) => isDomainError(error) && error.code === 'unavailable',
  )
  assert.equal(stateOf(process), 'S')
})
