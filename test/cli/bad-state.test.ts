import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  cp,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { volant } from './volant.ts'

const root = process.getuid?.() === 0
const program = join(import.meta.dirname, '../../bin/volant')
let folder = ''
/** A state folder that has been in use, and is not now. */
let used = ''

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vb-'))
  used = join(folder, 'used')
  const up = await volant('up', '--state', used, '--port', '0')
  assert.equal(up.code, 0, up.stderr)
  assert.equal((await volant('down', '--state', used, '--all')).code, 0)
})
after(() => rm(folder, { recursive: true, force: true }))

/** Every file but the log, with its bytes. */
async function contents(state: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const entry of await readdir(state, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile() && !path.includes('/log/')) {
      found[path.slice(state.length)] = createHash('sha256')
        .update(await readFile(path))
        .digest('hex')
    }
  }
  return found
}

let copies = 0
async function copyOfUsed(): Promise<string> {
  const state = join(folder, `c${++copies}`)
  await cp(used, state, { recursive: true })
  return state
}

/** `serve`, and `up`, say `message`, end with exit code 4, and leave every byte as it was. */
async function refuses(state: string, message: RegExp, commands = ['serve']): Promise<void> {
  const was = await contents(state)
  for (const command of commands) {
    const { code, stderr } = await volant(command, '--state', state, '--port', '0')
    assert.match(stderr, message, command)
    assert.equal(code, 4, stderr)
    assert.ok(!/\n\s+at /.test(stderr), `no stack: ${stderr}`)
  }
  assert.deepEqual(await contents(state), was)
}

describe('a start is refused, with the reason, and the state stays as it is', () => {
  it('where the database is damaged', async () => {
    const state = await copyOfUsed()
    const file = await open(join(state, 'volant.db'), 'r+')
    await file.write(Buffer.alloc(4096, 0xa5), 0, 4096, 4096 * 20)
    await file.close()
    await refuses(state, /volant\.db is damaged .*Nothing was changed.*state-folder\.md/, ['serve', 'up'])
    await truncate(join(state, 'volant.db'), 12_345)
    await refuses(state, /volant\.db is damaged|cannot be read: it is damaged/)
    await writeFile(join(state, 'volant.db'), 'hello')
    await refuses(state, /does not begin as SQLite files do/)
    await rm(join(state, 'volant.db'))
    await refuses(state, /is missing, and this state folder has been in use/)
  })

  it('where the database is of a newer release, or of another program', async () => {
    const state = await copyOfUsed()
    const change = (sql: string): void => {
      const db = new DatabaseSync(join(state, 'volant.db'))
      db.exec(sql)
      db.close()
    }
    change("insert into kysely_migration (name, timestamp) values ('9999-later', '2030-01-01T00:00:00Z')")
    await refuses(state, /written by a newer Volant: it has 9999-later/)
    change('pragma application_id = 99')
    await refuses(state, /is that of another program/)
  })

  it('where the state folder is of a newer release', async () => {
    const state = await copyOfUsed()
    await writeFile(join(state, 'volant.state'), 'This folder is the state of a Volant\nformat 7\n')
    await refuses(state, /arranged by a newer Volant \(format 7/)
  })

  it('where another one has the folder, by whatever path and from wherever it came', async () => {
    const state = await copyOfUsed()
    const link = join(folder, 'link')
    await symlink(state, link)
    const up = await volant('up', '--state', link, '--port', '0')
    assert.equal(up.code, 0, up.stderr)
    try {
      const again = await volant('serve', '--state', state, '--port', '0')
      assert.equal(again.code, 4)
      assert.match(again.stderr, /belongs to a Volant that runs \(pid \d+, http.*stop it with/)
      assert.equal((await volant('status', '--state', link)).code, 0, 'the other one runs on')
    } finally {
      assert.equal((await volant('down', '--state', link, '--all')).code, 0)
    }
  })

  it(
    'where another one has the folder in another pid namespace',
    { skip: !root && 'only root makes namespaces' },
    async () => {
      const state = await copyOfUsed()
      const args = ['--pid', '--fork', '--mount-proc', '--kill-child', program, 'serve']
      const inside = spawn('unshare', [...args, '--state', state, '--port', '0'], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let said = ''
      inside.stdout.on('data', (chunk: Buffer) => (said += String(chunk)))
      inside.stderr.on('data', (chunk: Buffer) => (said += String(chunk)))
      try {
        for (const end = Date.now() + 60_000; !said.includes('"msg":"ready"'); await sleep(50)) {
          assert.ok(Date.now() < end && inside.exitCode === null, `not ready in another namespace: ${said}`)
        }
        const database = await readFile(join(state, 'volant.db'))
        const { code, stderr } = await volant('serve', '--state', state, '--port', '0')
        assert.equal(code, 4)
        assert.match(stderr, /belongs to a Volant that runs/)
        assert.deepEqual(await readFile(join(state, 'volant.db')), database)
        const down = await volant('down', '--state', state, '--all')
        assert.equal(down.code, 4, 'and what it runs is not stopped under it')
      } finally {
        const gone = once(inside, 'exit')
        inside.kill('SIGKILL')
        await gone
      }
      for (const end = Date.now() + 60_000; ; await sleep(100)) {
        const { code, stderr } = await volant('down', '--state', state, '--all')
        if (code === 0) break
        assert.ok(Date.now() < end, `still locked after its end: ${stderr}`)
      }
    },
  )

  it('where the disk is full, or read-only', { skip: !root && 'only root mounts' }, async (t) => {
    const disk = join(folder, 'disk')
    await mkdir(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=700', 'tmpfs', disk])
    t.after(() => execFileSync('umount', [disk]))
    const state = join(disk, 's')
    await cp(used, state, { recursive: true })
    // `up` writes its log, which is no part of the state.
    await mkdir(join(state, 'log'), { recursive: true })
    const filler = join(disk, 'filler')
    const file = await open(filler, 'w')
    const fill = async (): Promise<void> => {
      for (const size of [2 ** 20, 4096]) {
        try {
          for (;;) await file.write(Buffer.alloc(size))
        } catch (error) {
          assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
        }
      }
    }
    await fill()
    await file.close()
    await refuses(state, /the disk of .* is full: 0 KiB are free, and a start needs 4096 KiB; make room/, [
      'serve',
      'up',
    ])
    await rm(filler)
    execFileSync('mount', ['-o', 'remount,ro', disk])
    await refuses(state, /cannot be the state folder: the file system is read-only/)
    execFileSync('mount', ['-o', 'remount,rw', disk])
  })
})
