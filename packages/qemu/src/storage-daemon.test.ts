import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { askedOnce } from './asked-once.ts'
import { missingFrom, probeCapabilities } from './capabilities.ts'
import { ensureGone, identityOf, waitUntilGone } from './process.ts'
import { daemonArguments, imageBlockdev, mirrorArguments, tlsAuthorization } from './storage-daemon.ts'

test('a mirror is of the kind that neither corrupts nor thickens', () => {
  const args = mirrorArguments('m-1', 't', 's', { rate: 0, besideClient: true })
  assert.equal(args['copy-mode'], 'background')
  assert.equal(args.sync, 'full')
  assert.equal(args.granularity, 4096)
  assert.equal(args['auto-finalize'], false)
  assert.equal(args['auto-dismiss'], false)
})

test('a copy beside a client keeps less in flight than one without, and always more than one chunk', () => {
  const inFlight = (besideClient: boolean) =>
    mirrorArguments('m-1', 't', 's', { rate: 0, besideClient })['buf-size']
  assert.ok(inFlight(true) >= 2 * 1024 * 1024)
  assert.ok(inFlight(false) > inFlight(true))
  const asked = mirrorArguments('m-1', 't', 's', { rate: 0, besideClient: true, inFlightBytes: 512 * 1024 })
  assert.equal(asked['buf-size'], 512 * 1024)
})

test('an image is opened with its format named, and a path cannot add options', () => {
  const image = { kind: 'file', imageId: 'i', path: '/a,b/i', sizeBytes: 4096 } as const
  const blockdev = imageBlockdev(image, { nodeName: 'n', aio: 'threads', reconnectDelaySeconds: 1 })
  assert.equal(blockdev['driver'], 'raw')
  const args = daemonArguments({ qmpPath: '/run,x/q', blockdevs: [blockdev] })
  assert.ok(args.includes('socket,id=qmp0,path=/run,,x/q,server=on,wait=off'))
  assert.ok(args.includes(JSON.stringify(blockdev)))
})

test('authorization is exact where one host is meant', () => {
  assert.deepEqual(tlsAuthorization('O=volant,CN=host1')['rules'], [
    { match: 'O=volant,CN=host1', policy: 'allow', format: 'exact' },
  ])
})

test('what this machine lacks for a relocation is named', async () => {
  const { storageDaemonVersion, missing } = await probeCapabilities()
  assert.match(storageDaemonVersion, /^\d+\.\d+\.\d+$/)
  assert.deepEqual(missing, [])
  const schema = [
    { name: 'blockdev-mirror', 'meta-type': 'command', 'arg-type': '1' },
    { name: '1', 'meta-type': 'object', members: [{ name: 'replaces' }] },
  ]
  const lacking = missingFrom(schema)
  assert.ok(lacking.includes('blockdev-mirror granularity') && lacking.includes('job-finalize'))
  assert.ok(!lacking.includes('blockdev-mirror') && !lacking.includes('blockdev-mirror replaces'))
})

test('whoever is killed while it asks leaves neither a daemon nor a file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ask-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const [started, left] = [join(folder, 'started'), join(folder, 'left')]
  mkdirSync(left)
  // It comes to its questions when whoever asks them is dead.
  const daemon = join(folder, 'daemon')
  const wait = 'while kill -0 $PPID 2>/dev/null; do sleep 0.02; done'
  const script = `echo $$ >${started}.new; mv ${started}.new ${started}; ${wait}; exec qemu-storage-daemon "$@"`
  writeFileSync(daemon, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  const code = `import { probeCapabilities } from ${JSON.stringify(join(import.meta.dirname, 'capabilities.ts'))}
    await probeCapabilities(${JSON.stringify(daemon)})`
  const asker = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    env: { ...process.env, TMPDIR: left },
    stdio: 'ignore',
  })
  const ended = once(asker, 'exit')
  const until = performance.now() + 20_000
  while (!existsSync(started) && performance.now() < until) await sleep(5)
  const asked = identityOf(Number(readFileSync(started, 'utf8')))
  t.after(() => ensureGone(asked))
  asker.kill('SIGKILL')
  await ended
  assert.ok(await waitUntilGone(asked, 10_000), 'the daemon still runs')
  assert.deepEqual(readdirSync(left), [])
})

test('a machine that could not be asked is asked again, and one that answered is not', async () => {
  let asked = 0
  const capabilities = askedOnce(async () => {
    asked += 1
    return asked === 1 ? probeCapabilities('/nowhere/qemu-storage-daemon') : { missing: [] }
  })
  await assert.rejects(capabilities(), {
    code: 'unavailable',
    message: /\/nowhere\/qemu-storage-daemon.*installed/,
  })
  assert.deepEqual(await capabilities(), { missing: [] })
  assert.deepEqual(await capabilities(), { missing: [] })
  assert.equal(asked, 2)
})
