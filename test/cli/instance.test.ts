import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { startVolant, volant } from './volant.ts'

let folder = ''
const state = (name: string): string => join(folder, name)
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vc-'))
})
after(async () => {
  for (const name of ['a', 'b', 'c', 'd', 'e']) await volant('down', '--all', '--state', state(name))
  await rm(folder, { recursive: true, force: true })
})

const json = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>

describe('volant up, status, down', () => {
  it('returns when it is ready, with the URL and the files for the clients', async () => {
    const up = await volant('up', '--state', state('a'), '--port', '0')
    assert.equal(up.code, 0, up.stderr)
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(up.stdout)?.[0] ?? ''
    assert.equal((await fetch(`${url}/identity/v3`)).status, 200)
    assert.equal((await stat(state('a'))).mode & 0o777, 0o700)
    for (const name of ['openrc', 'clouds.yaml']) {
      assert.equal((await stat(join(state('a'), name))).mode & 0o777, 0o600)
      assert.ok((await readFile(join(state('a'), name), 'utf8')).includes(url))
    }
  })

  it('says that it runs already', async () => {
    const again = await volant('up', '--state', state('a'), '--json')
    assert.equal(again.code, 0, again.stderr)
    assert.equal(json(again.stdout)['already_running'], true)
  })

  it('may be asked for by several at once: one starts, and all have it', async () => {
    const all = await Promise.all(
      [1, 2, 3].map(() => volant('up', '--state', state('e'), '--port', '0', '--json')),
    )
    for (const up of all) assert.equal(up.code, 0, up.stderr)
    assert.equal(new Set(all.map((up) => json(up.stdout)['pid'])).size, 1)
    assert.equal((await volant('down', '--all', '--state', state('e'))).code, 0)
  })

  it('says which of the options had no effect on one that runs already', async () => {
    const again = await volant('up', '--state', state('a'), '--port', '1')
    assert.equal(again.code, 0)
    assert.match(again.stderr, /--port 1 had no effect/)
  })

  it('follows what openrc has put into the environment', async () => {
    const openrc = join(state('a'), 'openrc')
    const program = join(import.meta.dirname, '../../bin/volant')
    const script = '. "$0"; unset VOLANT_STATE; exec "$1" status --json'
    const { stdout } = await promisify(execFile)('sh', ['-c', script, openrc, program])
    const own = json((await volant('status', '--json', '--state', state('a'))).stdout)
    assert.equal(json(stdout)['url'], own['url'])
  })

  it('runs beside another instance', async () => {
    assert.equal((await volant('up', '--state', state('b'), '--port', '0')).code, 0)
    const [a, b] = await Promise.all(
      ['a', 'b'].map((name) => volant('status', '--json', '--state', state(name))),
    )
    assert.equal(a?.code, 0, a?.stderr ?? '')
    assert.equal(b?.code, 0, b?.stderr ?? '')
    assert.notEqual(json(a?.stdout ?? '{}')['url'], json(b?.stdout ?? '{}')['url'])
  })

  it('shows clusters, pools and hosts', async () => {
    const { stdout } = await volant('status', '--state', state('a'))
    for (const name of ['cinder-lma', 'cinder-lmb', 'cinder_flexvol_OSTK09', 'compute-2']) {
      assert.ok(stdout.includes(name), name)
    }
  })

  it('is ready again after its control plane was killed', async () => {
    const { pid } = json((await volant('status', '--json', '--state', state('a'))).stdout)
    process.kill(pid as number, 'SIGKILL')
    const up = await volant('up', '--state', state('a'), '--port', '0', '--json')
    assert.equal(up.code, 0, up.stderr)
    assert.notEqual(json(up.stdout)['pid'], pid)
  })

  it('stops; stopped twice it says so; status then has exit code 3', async () => {
    assert.match((await volant('down', '--state', state('b'))).stdout, /is stopped/)
    const again = await volant('down', '--state', state('b'))
    assert.deepEqual([again.code, again.stdout], [0, 'Volant was not running\n'])
    const status = await volant('status', '--state', state('b'), '--json')
    assert.equal(status.code, 3)
    assert.equal(json(status.stdout)['running'], false)
  })
})

describe('what cannot be started is refused with the reason', () => {
  it('a port that is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const up = await volant('up', '--state', state('c'), '--port', String(port))
    other.close()
    assert.equal(up.code, 1)
    assert.match(up.stderr, new RegExp(`port ${port} .* is taken`))
  })

  it('a state folder that another instance has', async () => {
    const serve = await volant('serve', '--state', state('a'), '--port', '0')
    assert.equal(serve.code, 4)
    assert.match(serve.stderr, /belongs to a Volant that runs/)
  })

  it('a wrong configuration, with file, line and column', async () => {
    const file = join(folder, 'volant.yaml')
    await writeFile(file, 'clusters:\n  - nam: x\ncompute_hosts: []\n')
    const up = await volant('up', '--state', state('c'), '--port', '0', '--config', file)
    assert.equal(up.code, 4)
    assert.match(up.stderr, /volant\.yaml:2:5: .*is 'name' meant/)
    const check = await volant('config', '--check', file)
    assert.equal(check.code, 4)
  })

  it('a wrong option, with exit code 2', async () => {
    assert.equal((await volant('up', '--port', '99999')).code, 2)
    assert.equal((await volant('frobnicate')).code, 2)
    assert.equal((await volant('migrate', 'only-one')).code, 2)
    const rate = await volant('operations', 'rate', 'an-id', '50X')
    assert.equal(rate.code, 2)
    assert.match(rate.stderr, /"50X" is not understood/)
  })
})

describe('volant serve', () => {
  it('runs in the foreground and ends in order when asked', async () => {
    const { child, ended } = startVolant('serve', '--state', state('d'), '--port', '0')
    await new Promise<void>((resolve) => {
      child.stdout?.on('data', (chunk: Buffer) => {
        if (String(chunk).includes('"msg":"ready"')) resolve()
      })
    })
    child.kill('SIGINT')
    const { code, stderr } = await ended
    assert.deepEqual([code, stderr], [0, ''])
    assert.equal((await volant('status', '--state', state('d'))).code, 3)
  })
})

describe('the built-in configuration as printed', () => {
  it('is right', async () => {
    const file = join(folder, 'printed.yaml')
    await writeFile(file, (await volant('config', '--state', state('a'))).stdout)
    const check = await volant('config', '--check', file)
    assert.equal(check.code, 0, check.stderr)
    assert.match(check.stdout, /2 clusters, 2 pools, 2 compute hosts/)
  })
})
