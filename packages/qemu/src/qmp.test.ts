import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { QmpClient, QmpClosed, QmpError, QmpTimeout } from './qmp.ts'

interface Command {
  execute: string
  'exec-oob'?: string
  id: number
}

/** A monitor that greets and answers as told. */
async function openMonitor(
  t: TestContext,
  answer: (command: Command, socket: Socket) => unknown,
  outOfBand = false,
) {
  const folder = mkdtempSync(join(tmpdir(), 'vq-'))
  const path = join(folder, 'q')
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.write(
      '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}, "capabilities": []}}\r\n',
    )
    socket.on('data', (bytes) => {
      for (const line of bytes.toString('utf8').split('\n').filter(Boolean)) {
        const command = JSON.parse(line) as Command
        const reply = command.execute === 'qmp_capabilities' ? { return: {} } : answer(command, socket)
        if (reply) socket.write(`${JSON.stringify({ ...(reply as object), id: command.id })}\n`)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const qmp = await QmpClient.connect({ path, outOfBand })
  t.after(() => qmp.close())
  return qmp
}

test('commands are answered by id, errors are typed, and the version is read', async (t) => {
  const qmp = await openMonitor(t, ({ execute }) =>
    execute === 'good' ? { return: 42 } : { error: { class: 'GenericError', desc: 'No such thing' } },
  )
  assert.equal(qmp.version, '7.2.22')
  const [good, bad] = await Promise.allSettled([qmp.execute('good'), qmp.execute('bad')])
  assert.deepEqual(good, { status: 'fulfilled', value: 42 })
  assert.ok(bad.status === 'rejected' && bad.reason instanceof QmpError)
  assert.deepEqual(
    [bad.reason.errorClass, bad.reason.desc, bad.reason.command],
    ['GenericError', 'No such thing', 'bad'],
  )
})

test('an event that comes in the same packet as the reply is not missed', async (t) => {
  const qmp = await openMonitor(t, ({ id }, socket) => {
    const event = { event: 'GONE', data: { id: 'x' }, timestamp: { seconds: 5, microseconds: 500_000 } }
    socket.write(`${JSON.stringify({ return: {}, id })}\n${JSON.stringify(event)}\n`)
    return undefined
  })
  const gone = qmp.expect('GONE', ({ data }) => data['id'] === 'x', 1000)
  await qmp.execute('del')
  assert.equal((await gone.event).timestampMs, 5500)
})

test('a command and an event that do not come have a bound', async (t) => {
  const qmp = await openMonitor(t, () => undefined)
  await assert.rejects(qmp.execute('slow', {}, 30), QmpTimeout)
  await assert.rejects(
    qmp.waitFor('NEVER', () => true, 30),
    QmpTimeout,
  )
})

test('the end of the connection ends all that waits', async (t) => {
  const qmp = await openMonitor(t, (_command, socket) => void socket.destroy())
  const waiting = qmp.waitFor('NEVER', () => true, 10_000)
  await assert.rejects(qmp.execute('die'), QmpClosed)
  await assert.rejects(waiting, QmpClosed)
  await qmp.closed
  assert.equal(qmp.isOpen, false)
  await assert.rejects(qmp.execute('more'), QmpClosed)
})

test('connecting has a bound, and ends early where it is of no use', async () => {
  const path = join(tmpdir(), 'vq-none')
  await assert.rejects(QmpClient.connect({ path, timeoutMs: 60 }), QmpTimeout)
  const begun = performance.now()
  await assert.rejects(QmpClient.connect({ path, timeoutMs: 10_000, worthTrying: () => false }), QmpTimeout)
  assert.ok(performance.now() - begun < 5000)
})

test('a QEMU that comes to no command hears what is said out of band, however many wait', async (t) => {
  const heard: string[] = []
  let hangs = true
  const answer = (command: Command): unknown => {
    const { execute, 'exec-oob': oob } = command
    heard.push(oob ?? execute)
    return oob === undefined && hangs ? undefined : { return: {} }
  }
  const qmp = await openMonitor(t, answer, true)
  const waiting = Array.from({ length: 20 }, () => qmp.execute('query', {}, 50))
  assert.deepEqual(
    new Set((await Promise.allSettled(waiting)).map(({ status }) => status)),
    new Set(['rejected']),
  )
  await qmp.executeOutOfBand('yank', {})
  const before = heard.length
  assert.ok(before <= 8, `QEMU reads no further than 8: ${before}`)
  assert.equal(heard.at(-1), 'yank')
  hangs = false
  await assert.rejects(qmp.execute('query', {}, 50), QmpTimeout)
  assert.equal(heard.length, before, 'QEMU was sent no more before it had answered')
})
