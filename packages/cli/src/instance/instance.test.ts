import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { findCredentials } from './credentials.ts'
import { isRunning, ownIdentity, startTicks } from './process-identity.ts'
import { claimStateFolder, runningInstance } from './record.ts'
import { startInBackground } from './start.ts'
import { prepareStateFolder, requireStateFolder, stateFolder } from './state-folder.ts'
import { stopControlPlane } from './stop.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'volant-cli-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** All files of a folder with their bytes. */
const contents = async (path: string): Promise<string[]> => {
  const names = (await readdir(path)).toSorted()
  return Promise.all(names.map(async (name) => `${name}: ${await readFile(join(path, name), 'utf8')}`))
}

describe('the state folder', () => {
  it('is the named one, else of the environment, else the usual one', () => {
    assert.equal(stateFolder('/a', { VOLANT_STATE: '/b' }), '/a')
    assert.equal(stateFolder(undefined, { VOLANT_STATE: '/b' }), '/b')
    const usual = stateFolder(undefined, { XDG_STATE_HOME: '/x' })
    assert.equal(usual, process.getuid?.() === 0 ? '/var/lib/volant' : '/x/volant')
  })

  it('is made private; an older one stays ours', async () => {
    const state = join(folder, 'state')
    await prepareStateFolder(state)
    assert.equal((await stat(state)).mode & 0o777, 0o700)
    await mkdir(join(state, 'log'))
    await prepareStateFolder(state)
  })

  it('is refused, and left as it is, where it holds the files of others', async () => {
    await writeFile(join(folder, 'thesis.tex'), '')
    await chmod(folder, 0o755)
    await assert.rejects(prepareStateFolder(folder), /neither empty nor a state folder/)
    assert.equal((await stat(folder)).mode & 0o777, 0o755)
    assert.deepEqual(await readdir(folder), ['thesis.tex'])
  })

  it('is refused with the reason where it cannot be made', async () => {
    await writeFile(join(folder, 'file'), '')
    await assert.rejects(prepareStateFolder(join(folder, 'file')), /is not a folder; choose another/)
    await assert.rejects(
      prepareStateFolder(join(folder, 'file', 'x', 'y')),
      /is not a folder; choose another/,
    )
    await assert.rejects(prepareStateFolder('/proc/no/such'), /nothing can be made there/)
  })

  it('of a newer arrangement is refused, and left as it is', async () => {
    const state = join(folder, 'state')
    await prepareStateFolder(state)
    await writeFile(join(state, 'volant.state'), 'This folder is the state of a Volant\nformat 2\n')
    const before = await contents(state)
    await assert.rejects(prepareStateFolder(state), { exitCode: 4, message: /newer Volant \(format 2; this/ })
    assert.deepEqual(await contents(state), before)
  })

  it('of the first releases, whose mark says nothing, is ours, and its mark stays', async () => {
    const state = join(folder, 'state')
    await mkdir(state)
    await writeFile(join(state, 'volant.state'), 'This folder is the state of a Volant\n')
    await prepareStateFolder(state)
    assert.deepEqual(await contents(state), ['volant.state: This folder is the state of a Volant\n'])
  })

  it('must be one where something is to be stopped; a mistyped path is told, and left as it is', async () => {
    await requireStateFolder(folder)
    const state = join(folder, 'state')
    await assert.rejects(requireStateFolder(state), { exitCode: 3, message: /does not exist/ })
    await prepareStateFolder(state)
    await requireStateFolder(state)
    await assert.rejects(requireStateFolder(folder), { exitCode: 3, message: /not a state folder of Volant/ })
    assert.deepEqual(await readdir(folder), ['state'])
  })

  it('is refused where sockets below it would have too long a path', async () => {
    await assert.rejects(prepareStateFolder(join(folder, 'x'.repeat(60))), /at most 60/)
  })
})

describe('the record of who has the state folder', () => {
  it('is one process alone; free again after release', async () => {
    const claim = await claimStateFolder(folder, '1')
    assert.equal((await runningInstance(folder))?.url, null)
    await claim.ready('http://127.0.0.1:1')
    assert.equal((await runningInstance(folder))?.url, 'http://127.0.0.1:1')
    await assert.rejects(
      claimStateFolder(folder, '1'),
      /belongs to a Volant that runs.*http:\/\/127\.0\.0\.1:1/,
    )
    await claim.release()
    assert.equal(await runningInstance(folder), undefined)
    await (await claimStateFolder(folder, '1')).release()
    assert.deepEqual(await readdir(folder), ['lock'])
  })

  it('is found by whatever path one comes', async () => {
    const claim = await claimStateFolder(folder, '1')
    const link = `${folder}-link`
    await symlink(folder, link)
    try {
      await assert.rejects(claimStateFolder(link, '1'), {
        exitCode: 4,
        message: /belongs to a Volant that runs/,
      })
      await claim.release()
      await (await claimStateFolder(link, '1')).release()
    } finally {
      await unlink(link)
    }
  })

  it('does not depend on the record: its process may not be seen from here, as in a container', async () => {
    const claim = await claimStateFolder(folder, '1')
    const record = join(folder, 'control.json')
    for (const text of ['{"pid":1,"startTicks":"1"}', '{"pid":', undefined]) {
      if (text === undefined) await unlink(record)
      else await writeFile(record, text)
      const before = await contents(folder)
      await assert.rejects(claimStateFolder(folder, '1'), { exitCode: 4, message: /in another container/ })
      assert.deepEqual(await contents(folder), before, 'nothing was written')
    }
    await claim.release()
  })

  it('is free as soon as its process is dead, its children notwithstanding', async () => {
    const file = join(folder, 'holder.ts')
    await writeFile(
      file,
      `import { spawn } from 'node:child_process'
import { claimStateFolder } from ${JSON.stringify(join(import.meta.dirname, 'record.ts'))}
await claimStateFolder(${JSON.stringify(folder)}, '1')
const child = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
child.unref()
console.log(child.pid)
setInterval(() => {}, 1000)`,
    )
    const holder = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = (await once(holder.stdout, 'data')) as [Buffer]
    const orphan = Number(String(line))
    try {
      await assert.rejects(claimStateFolder(folder, '1'), { exitCode: 4 })
      const gone = once(holder, 'exit')
      holder.kill('SIGKILL')
      await gone
      assert.ok(await startTicks(orphan), 'what it started runs on')
      await (await claimStateFolder(folder, '1')).release()
    } finally {
      holder.kill('SIGKILL')
      process.kill(orphan, 'SIGKILL')
    }
  })

  it('of a dead process is taken over, also where another process has its pid by now', async () => {
    await writeFile(
      join(folder, 'control.json'),
      JSON.stringify({ pid: process.pid, startTicks: '1', url: 'http://old', version: '0' }),
    )
    assert.equal(await runningInstance(folder), undefined)
    await (await claimStateFolder(folder, '1')).release()
  })

  it('torn by a crash is taken over', async () => {
    await writeFile(join(folder, 'control.json'), '{"pid":')
    await (await claimStateFolder(folder, '1')).release()
  })
})

describe('identity of a process', () => {
  it('holds while it runs, and for no other', async () => {
    assert.ok(await isRunning(await ownIdentity()))
    const child = spawn('sleep', ['60'])
    await once(child, 'spawn')
    const pid = child.pid as number
    const ticks = await startTicks(pid)
    assert.ok(ticks)
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.equal(await isRunning({ pid, startTicks: ticks }), false)
  })
})

/** A stand-in for `volant serve` that claims the folder, then behaves as its first argument says. */
const program = (behaviour: string): string => `
import { claimStateFolder } from ${JSON.stringify(join(import.meta.dirname, 'record.ts'))}
const stateDir = process.argv[process.argv.indexOf('--state') + 1]
const claim = await claimStateFolder(stateDir, '1')
${behaviour}
`

const start = async (behaviour: string, timeoutMs = 20_000) => {
  const file = join(folder, 'serve.ts')
  await writeFile(file, program(behaviour))
  return startInBackground({ stateDir: join(folder, 's'), port: 0, program: file, timeoutMs })
}
const state = (): string => join(folder, 's')

describe('starting and stopping in the background', () => {
  it('returns when it is ready; says so when it runs already; stops it', async () => {
    const ready = "await claim.ready('http://127.0.0.1:9'); setInterval(() => {}, 1000)"
    const first = await start(ready)
    assert.equal(first.alreadyRunning, false)
    const second = await start(ready)
    assert.deepEqual([second.alreadyRunning, second.record.pid], [true, first.record.pid])
    const stopped = await stopControlPlane(state())
    assert.deepEqual(stopped, { pid: first.record.pid, killed: false })
    assert.equal(await isRunning(first.record), false)
    assert.deepEqual(await stopControlPlane(state()), { pid: null, killed: false })
  })

  it('tells the reason that the process gave', async () => {
    await assert.rejects(
      start("console.error('volant: port 8780 is taken'); process.exit(1)"),
      /^CliError: port 8780 is taken$/,
    )
  })

  it('shows the end of the log where the process gave no reason', async () => {
    await assert.rejects(start("throw new Error('boom')"), /ended while it started[\s\S]*boom/)
  })

  it('stops one that is not ready in time', async () => {
    await assert.rejects(start('setInterval(() => {}, 1000)', 1500), /not ready in time/)
    const { pid } = await stopControlPlane(state())
    assert.equal(pid, null)
  })
})

describe('credentials', () => {
  const env = {
    OS_AUTH_URL: 'http://h:1/identity/v3',
    OS_USERNAME: 'u',
    OS_PASSWORD: 'p',
    OS_PROJECT_NAME: 'x',
  }
  it('come from the environment unless a state folder was named', async () => {
    assert.equal((await findCredentials(folder, false, env)).url, 'http://h:1')
    await assert.rejects(findCredentials(folder, true, env), /has not run with the state folder/)
  })
})
