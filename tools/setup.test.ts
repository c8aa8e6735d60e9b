import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

/**
 * The set-up runs in a copy of its own, with a PATH that holds the usual tools and, for those that would change
 * the machine or need the network, stand-ins that note how they were called.
 */
const tools =
  'sh dirname cat awk sed tr mkdir flock df date sha256sum sha512sum tail grep rm mv uname fold tar gzip'.split(
    ' ',
  )
const standIns = {
  node: 'case $1 in --version) echo v26.0.0 ;; esac',
  npm: 'case $1 in --version) echo 11.0.0 ;; ci) mkdir -p node_modules ;; esac',
  id: 'echo 0',
  sleep: ':',
  'apt-get': ':',
  'apt-cache': 'shift; for p; do echo "$p:"; echo "  Candidate: 1.0"; done',
  'dpkg-query':
    'shift 3; for p; do case " ${MISSING-none} " in *" $p "*) ;; *) echo "installed $p" ;; esac; done',
}

let folder = ''
const root = (): string => join(folder, 'root')
const bin = (): string => join(folder, 'bin')

async function standIn(name: string, body: string): Promise<void> {
  await writeFile(
    join(bin(), name),
    `#!/bin/sh\nprintf '%s\\n' "${name} $*" >>"${folder}/calls"\n${body}\n`,
    {
      mode: 0o755,
    },
  )
}

async function calls(): Promise<string[]> {
  const text = await readFile(join(folder, 'calls'), 'utf8').catch(() => '')
  await rm(join(folder, 'calls'), { force: true })
  return text
    .split('\n')
    .filter((line) => line !== '' && !/^(dpkg-query|apt-cache|id|sleep)|--version/.test(line))
}

function setup(args: string[] = [], env: Record<string, string> = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(
      'sh',
      [join(root(), 'tools/setup.sh'), ...args],
      { env: { PATH: bin(), HOME: folder, ...env }, timeout: 60_000 },
      (_, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'volant-setup-'))
  for (const part of ['tools', 'packages/x', 'probe']) await mkdir(join(root(), part), { recursive: true })
  await mkdir(bin())
  for (const script of ['setup.sh', 'node.sh']) {
    await copyFile(join(import.meta.dirname, script), join(root(), 'tools', script))
  }
  const inputs = ['package.json', 'package-lock.json', 'packages/x/package.json']
  for (const file of [...inputs, 'probe/a.ts', 'probe/a.c', 'probe/a.h'])
    await writeFile(join(root(), file), '{}')
  await mkdir(join(root(), '.cache/probe'), { recursive: true })
  for (const tool of tools) await symlink(`/usr/bin/${tool}`, join(bin(), tool))
  for (const [name, body] of Object.entries(standIns)) await standIn(name, body)
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('the set-up', () => {
  it('does everything once, then nothing, and is silent about it when asked', async () => {
    const first = await setup()
    assert.equal(first.code, 0, first.stderr)
    assert.match(first.stdout, /ready/)
    assert.deepEqual(
      (await calls()).map((call) => call.split(' ').slice(0, 2).join(' ')),
      ['npm ci', 'node --disable-warning=ExperimentalWarning'],
    )
    const second = await setup(['--quiet'])
    assert.deepEqual(second, { code: 0, stdout: '', stderr: '' })
    assert.deepEqual(await calls(), [])
  })

  it('runs npm ci again when the lockfile has changed, the probe when its source has', async () => {
    await setup()
    await calls()
    await writeFile(join(root(), 'package-lock.json'), '{"changed": true}')
    await setup()
    assert.match((await calls()).join(), /^npm ci [^,]*$/)
    await writeFile(join(root(), 'probe/a.c'), 'int x;')
    await setup()
    assert.match((await calls()).join(), /^node [^,]*probe\/build\.ts$/)
  })

  it('of two at once, one works and the other waits', async () => {
    const [one, two] = await Promise.all([setup(), setup()])
    assert.deepEqual([one.code, two.code], [0, 0])
    assert.equal((await calls()).filter((call) => call.startsWith('npm ci')).length, 1)
  })

  it('refuses an unknown option', async () => {
    const result = await setup(['--fast'])
    assert.equal(result.code, 2)
    assert.match(result.stderr, /--fast/)
  })
})

describe('missing Debian packages', () => {
  const MISSING = 'qemu-utils'

  it('without root: one apt-get line on standard output, exit code 3, nothing done', async () => {
    await standIn('id', 'echo 1000')
    const result = await setup(['--quiet'], { MISSING })
    assert.equal(result.code, 3)
    assert.equal(result.stdout, 'apt-get update && apt-get install -y --no-install-recommends qemu-utils\n')
    assert.match(result.stderr, /qemu-utils/)
    assert.deepEqual(await calls(), [])
  })

  it('as root: installs just those, without reading package lists that know them', async () => {
    assert.equal((await setup([], { MISSING })).code, 0)
    const apt = (await calls()).filter((call) => call.startsWith('apt-get'))
    assert.equal(apt.length, 1)
    assert.match(apt[0] ?? '', /install -y --no-install-recommends qemu-utils$/)
  })

  it('are also those of aggregates that are files, and of scripts against their REST API', async () => {
    for (const name of ['xfsprogs', 'jq', 'curl']) {
      assert.equal((await setup([], { MISSING: name })).code, 0)
      const apt = (await calls()).filter((call) => call.startsWith('apt-get'))
      assert.match(apt[0] ?? '', new RegExp(` install -y --no-install-recommends ${name}$`))
    }
  })

  it('reads the package lists first where they do not know them', async () => {
    await standIn('apt-cache', 'shift; for p; do echo "  Candidate: (none)"; done')
    assert.equal((await setup([], { MISSING })).code, 0)
    const apt = (await calls()).filter((call) => call.startsWith('apt-get'))
    assert.match(apt[0] ?? '', / update$/)
    assert.match(apt[1] ?? '', / install /)
  })

  describe('that bring services', () => {
    const masked = async (missing: string): Promise<string[]> => {
      await standIn('systemctl', ':')
      const result = await setup([], { MISSING: missing })
      assert.equal(result.code, 0, result.stderr)
      const all = (await calls()).filter((call) => /^(systemctl|apt-get)/.test(call))
      const mask = all.findIndex((call) => call.startsWith('systemctl mask '))
      if (mask >= 0) assert.ok(mask < all.findIndex((call) => call.includes(' install ')), 'masked too late')
      for (const unit of all[mask]?.split(' ').slice(2) ?? []) assert.match(result.stdout, new RegExp(unit))
      return all[mask]?.split(' ').slice(2) ?? []
    }
    const ganesha = ['nfs-ganesha.service', 'nfs-ganesha-lock.service']

    it('do not start them: Volant has servers of its own', async () => {
      assert.deepEqual(await masked('nfs-ganesha'), ganesha)
    })

    it('nor rpcbind, where it comes along', async () => {
      const rpcbind = ['rpcbind.service', 'rpcbind.socket']
      assert.deepEqual(await masked('nfs-ganesha rpcbind'), [...ganesha, ...rpcbind])
    })

    it('and the line for root says so', async () => {
      await standIn('id', 'echo 1000')
      await standIn('systemctl', ':')
      const { stdout } = await setup(['--quiet'], { MISSING: 'nfs-ganesha' })
      assert.match(
        stdout,
        /^systemctl mask nfs-ganesha.service nfs-ganesha-lock.service && apt-get update && /,
      )
    })

    it('leave those alone that were there before, and are done once', async () => {
      assert.deepEqual(await masked('qemu-utils'), [])
    })
  })

  it('names the cause where apt fails', async () => {
    await standIn(
      'apt-get',
      'echo "E: You don\'t have enough free space in /var/cache/apt/archives/."; exit 100',
    )
    const result = await setup([], { MISSING })
    assert.equal(result.code, 1)
    assert.match(result.stderr, /FAILED: apt-get update: the disk is full/)
  })

  it('on another system: says so, with the list, exit code 4', async () => {
    await rm(join(bin(), 'dpkg-query'))
    const result = await setup()
    assert.equal(result.code, 4)
    assert.match(result.stderr, /not Debian[\s\S]*qemu-utils/)
  })
})

describe('npm', () => {
  it('runs under our Node.js where there is one: under an old one it leaves out what that is too old for', async () => {
    await mkdir(join(root(), '.tools/node/bin'), { recursive: true })
    await writeFile(join(root(), '.tools/node/bin/node'), '#!/bin/sh\necho ours >>"$OUT"\n', { mode: 0o755 })
    await writeFile(join(root(), '.tools/node.version'), '26.10.0\n')
    await standIn('npm', 'case $1 in --version) echo 9.2.0 ;; ci) mkdir -p node_modules; node ;; esac')
    const out = join(folder, 'out')
    const { code, stderr } = await setup([], { OUT: out })
    assert.equal(code, 0, stderr)
    // Once for npm, once for the build of the probe.
    assert.equal(await readFile(out, 'utf8'), 'ours\nours\n')
  })

  const once = (failure: string): string =>
    `[ "$1" = ci ] || { echo 11.0.0; exit 0; }
if [ ! -e "${folder}/tried" ]; then : >"${folder}/tried"; echo "${failure}" >&2; exit 1; fi
mkdir -p node_modules`

  it('is tried once more when the network failed', async () => {
    await standIn('npm', once('npm error code ECONNRESET'))
    const result = await setup()
    assert.equal(result.code, 0, result.stderr)
    assert.equal((await calls()).filter((call) => call.startsWith('npm ci')).length, 2)
  })

  it('is not tried again when something else is wrong; the log is shown', async () => {
    await standIn('npm', once('npm error code EUSAGE not in sync'))
    const result = await setup()
    assert.equal(result.code, 1)
    assert.match(result.stderr, /not in sync/)
    assert.equal((await calls()).filter((call) => call.startsWith('npm ci')).length, 1)
  })
})

describe('Node.js', () => {
  it('that is too old is replaced from the registry, but by nothing with another checksum', async () => {
    await standIn('node', 'echo v20.0.0')
    await standIn('npm', 'case $1 in --version) echo 10.0.0 ;; pack) echo fake >node.tgz ;; esac')
    const result = await setup()
    assert.equal(result.code, 1)
    assert.match(result.stdout, /fetching Node\.js 26/)
    assert.match(result.stderr, /has not the checksum/)
  })
})
