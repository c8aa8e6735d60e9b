/** The guard against a monitor that answers as a test wants it to; `test/dataplane/cutover-guard` has a real one. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { isAlive } from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import { startGuard } from './guard.ts'
import { Register } from './register.ts'

/** A monitor in a process of its own, for a guard may kill it. Its argument: the answers to commands by their name. */
const monitor = `
const [path, script] = process.argv.slice(1)
const answers = JSON.parse(script)
require('node:net').createServer((socket) => {
  process.on('message', (said) => typeof said === 'string' ? socket.write(said) : Object.assign(answers, said))
  socket.write('{"QMP": {}}\\r\\n')
  let rest = ''
  socket.on('data', (bytes) => {
    const lines = (rest + bytes).split('\\n')
    rest = lines.pop()
    for (const { execute, id } of lines.map((line) => JSON.parse(line))) {
      process.send(execute)
      for (const answer of answers[execute] ?? ['{"return": {}, "id": ID}']) {
        socket.write(answer.replace('ID', JSON.stringify(id)) + '\\r\\n')
      }
    }
  })
}).listen(path, () => process.send('listening'))
`
const job = 'm-op-1'
const event = (status: string, id = job) =>
  `{"timestamp": {"seconds": 1}, "event": "JOB_STATUS_CHANGE", "data": {"status": "${status}", "id": "${id}"}}`
const jobs = (status: string, more = '') =>
  `{"return": [{"id": "other", "status": "running", "error": "{\\"}"}, {"status": "${status}", "type": "mirror", "id": "${job}"${more}}], "id": ID}`

interface Scene {
  guard: ProcessIdentity
  daemon: ChildProcess
  register: Register
  /** Commands that the guard sent once it was ready. */
  sent: string[]
  say(line: string): void
  /** What the monitor answers from now on. */
  answer(answers: Record<string, string[]>): void
  /** Until the guard has ended. */
  over(): Promise<void>
}

async function begin(t: TestContext, answers: Record<string, string[]>, decisionMs = 100): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'vg-'))
  const path = join(folder, 'm')
  const script = JSON.stringify({ 'query-jobs': [jobs('ready')], ...answers })
  const daemon = spawn(process.execPath, ['-e', monitor, path, script], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  await once(daemon, 'message')
  const sent: string[] = []
  daemon.on('message', (command: string) => sent.push(command))
  const register = new Register(join(folder, 'att-1.x'))
  await register.create()
  const request = { monitorPath: path, job, registerPath: register.path, windowMs: 20_000, decisionMs }
  const guard = await startGuard({ ...request, logPath: join(folder, 'log') }, async () => {})
  t.after(async () => {
    daemon.kill('SIGKILL')
    if (isAlive(guard)) process.kill(guard.pid, 'SIGKILL')
    rmSync(folder, { recursive: true })
  })
  // What it asked before it was ready arrives here later than the guard's word that it is.
  while (sent.length < 2) await once(daemon, 'message')
  sent.length = 0
  const over = async (): Promise<void> => {
    for (const end = performance.now() + 20_000; isAlive(guard); await sleep(5)) {
      assert.ok(performance.now() < end, `the guard still runs: ${readFileSync(join(folder, 'log'), 'utf8')}`)
    }
  }
  return {
    guard,
    daemon,
    register,
    sent,
    say: (line) => void daemon.send(`${line}\r\n`),
    answer: (changed) => void daemon.send(changed),
    over,
  }
}

const said = ({ register }: Scene) => existsSync(register.path) && readFileSync(register.path, 'utf8')

/** What the monitor received reaches this process a little later than the guard. */
async function assertSent({ sent }: Scene, commands: string[]): Promise<void> {
  for (let i = 0; sent.length < commands.length && i < 1000; i++) await sleep(5)
  assert.deepEqual(sent, commands)
}

async function isKilled({ daemon }: Scene): Promise<boolean> {
  if (daemon.exitCode === null && daemon.signalCode === null) {
    await Promise.race([once(daemon, 'exit'), sleep(1000)])
  }
  return daemon.signalCode === 'SIGKILL'
}

test('undecided: it writes abandoned, then cancels; events of other jobs are none of its business', async (t) => {
  const scene = await begin(t, {})
  scene.say(event('pending', 'm-op-2'))
  await sleep(300)
  assert.equal(said(scene), false)
  scene.say(event('pending'))
  await scene.over()
  assert.equal(said(scene), 'abandoned\n')
  await assertSent(scene, ['job-cancel'])
  assert.equal(await isKilled(scene), false)
})

test('a job that is PENDING when the guard comes has its decision time, not the window', async (t) => {
  const scene = await begin(t, { 'query-jobs': [jobs('pending')] })
  await scene.over()
  assert.equal(said(scene), 'abandoned\n')
})

test('abandoned by somebody who could not cancel any more: it cancels', async (t) => {
  const scene = await begin(t, {})
  await scene.register.decide('abandoned')
  scene.say(event('pending'))
  await scene.over()
  await assertSent(scene, ['job-cancel'])
})

const concluded = ['{"return": {}, "id": ID}', event('concluded')]
const refused = ['{"id": ID, "error": {"class": "GenericError", "desc": "Job not found"}}']
const nobody = '{"return": [], "id": ID}'

for (const { what, finalize, found, killed } of [
  { what: 'and the job concludes', finalize: concluded, found: jobs('concluded'), killed: false },
  {
    what: 'and the job concludes with an error: it kills the daemon',
    finalize: concluded,
    found: jobs('concluded', ', "error": "no permission"'),
    killed: true,
  },
  { what: 'unanswered: it kills the daemon', finalize: [], found: jobs('pending'), killed: true },
  { what: 'after somebody who has tidied up', finalize: refused, found: nobody, killed: false },
  { what: 'after somebody who has not yet', finalize: refused, found: jobs('concluded'), killed: false },
]) {
  test(`committed: it finalizes, ${what}`, async (t) => {
    const scene = await begin(t, {})
    await scene.register.decide('committed')
    scene.answer({ 'job-finalize': finalize, 'query-jobs': [found] })
    scene.say(event('pending'))
    await scene.over()
    assert.equal(said(scene), 'committed\n')
    await assertSent(scene, ['job-finalize', 'query-jobs'])
    assert.equal(await isKilled(scene), killed)
  })
}

test('a job that fails in a finalize of somebody who died over it: it kills the daemon', async (t) => {
  const scene = await begin(t, {}, 60_000)
  await scene.register.decide('committed')
  scene.answer({ 'query-jobs': [jobs('concluded', ', "error": "no permission"')] })
  for (const status of ['pending', 'aborting', 'concluded']) scene.say(event(status))
  await scene.over()
  assert.equal(await isKilled(scene), true)
})

test('a job that somebody cancelled is over, and so is the guard', async (t) => {
  const scene = await begin(t, {}, 60_000)
  for (const status of ['pending', 'aborting', 'concluded']) scene.say(event(status))
  await scene.over()
  await assertSent(scene, [])
  assert.equal(said(scene), false)
})

test('an attempt that was tidied up is not its business any more', async (t) => {
  const scene = await begin(t, {})
  await scene.register.remove()
  scene.say(event('pending'))
  await scene.over()
  await assertSent(scene, [])
  assert.equal(said(scene), false)
})

test('it ends with the daemon', async (t) => {
  const scene = await begin(t, {}, 60_000)
  scene.daemon.kill('SIGKILL')
  await scene.over()
  assert.equal(said(scene), false)
})

test('a register says one thing for ever, and nothing once the attempt is over', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vg-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const register = new Register(join(folder, 'att-1.x'))
  await register.create()
  assert.equal(await register.read(), undefined)
  const wishes = Array.from({ length: 20 }, (_, i) => (i % 2 ? 'committed' : 'abandoned'))
  const found = new Set(await Promise.all(wishes.map((wish) => register.decide(wish as 'committed'))))
  assert.equal(found.size, 1)
  assert.deepEqual(found, new Set([await register.read()]))
  await register.remove()
  await assert.rejects(register.decide('committed'), { code: 'conflict' })
  assert.equal(await register.read(), undefined)
})
