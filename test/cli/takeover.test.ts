/** `volant serve` on the state of another control plane: one whose operations it lacks, and one that replaces it. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { after, before, test } from 'node:test'
import { startVolant, volant, type Ran } from './volant.ts'

const state = mkdtempSync(join(tmpdir(), 'volant-takeover-'))
const database = join(state, 'volant.db')

/** `volant serve` until it says that it is ready. */
async function serve() {
  const { child, ended } = startVolant('serve', '--state', state, '--port', '0')
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += String(chunk)))
  const end: { ran?: Ran } = {}
  void ended.then((ran) => (end.ran = ran))
  for (let i = 0; !said.includes('"ready"') && !/ ready/.test(said); i++) {
    assert.equal(end.ran, undefined, `it ended: ${end.ran?.stderr} ${end.ran?.stdout}`)
    assert.ok(i < 1200, 'it is not ready within a minute')
    await sleep(50)
  }
  return { child, ended }
}

const digest = (path: string): string =>
  existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'none'
const files = ['volant.db', 'volant.db-wal', 'topology.json', 'openrc', 'clouds.yaml', 'token-key']
const digests = (): string[] => files.map((name) => digest(join(state, name)))

function change(statement: string): void {
  const db = new DatabaseSync(database, { timeout: 10_000 })
  db.exec(statement)
  db.close()
}

before(async () => {
  const { child, ended } = await serve()
  child.kill('SIGTERM')
  assert.equal((await ended).code, 0)
})
after(async () => {
  await volant('down', '--all', '--state', state)
  rmSync(state, { recursive: true, force: true })
})

test('a release that lacks the version of an unfinished operation refuses to start, and writes nothing', async () => {
  change(`insert into operations (id, kind, version, steps, keys, input, state, cancellable, paused,
      cancel_requested, control_revision, owner, fence, created_at, updated_at)
    values ('op-from-the-future', 'volume.migrate', 99, '["a","b"]', '[]', '{}', 'running', 1, 0, 0, 0, 'o', 1,
      '2026-11-22T10:00:00.000Z', '2026-11-22T10:00:00.000Z')`)
  const untouched = digests()
  const { code, stderr } = await volant('serve', '--state', state, '--port', '0')
  assert.equal(code, 4, `refused: ${stderr}`)
  assert.match(stderr, /1 unfinished operation\(s\) cannot be carried on by this code/)
  assert.match(stderr, /op-from-the-future \(volume\.migrate v99\): .*version 1, and no version 99/)
  assert.match(stderr, /Start a version of the software that has them/)
  assert.deepEqual(digests(), untouched)
  assert.ok(!existsSync(join(state, 'backup')), 'nothing was copied for an upgrade')
  change(`delete from operations where id = 'op-from-the-future'`)
})

test('a control plane that was replaced says so, and ends by itself', async () => {
  const { child, ended } = await serve()
  // As another one would: a state folder of one machine is locked, a shared database is not.
  change(`update operation_fence set fence = fence + 1, owner = 'another'`)
  const late = sleep(60_000, undefined, { ref: false }).then(() => child.kill('SIGKILL'))
  const { stdout } = await Promise.race([ended, late.then(() => ended)])
  assert.match(stdout, /another control plane has taken over; this one ends/)
  assert.match(stdout, /has been replaced by 'another'/)
  assert.equal(child.signalCode, null, 'it ended by itself')
})
