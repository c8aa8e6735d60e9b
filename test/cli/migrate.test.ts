import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { findCredentials } from '@volant/cli'
import { createClient, type VolantClient } from '@volant/client'
import type { MigrationPlan } from '@volant/contract/ndo/migration.ts'
import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import { startVolant, volant, type Ran } from './volant.ts'

const mib = 1024 ** 2

let folder = ''
let client: VolantClient
let volumeId = ''
const run = (...args: string[]): Promise<Ran> => volant(...args, '--state', folder)
const host = async (): Promise<string> => (await client.volume.show(volumeId))['os-vol-host-attr:host'] ?? ''

async function settled(id: string): Promise<Operation> {
  let last: Operation | undefined
  for await (const operation of client.ndo.watch(id, { signal: AbortSignal.timeout(60_000) }))
    last = operation
  assert.ok(last !== undefined && isSettled(last.state), `not settled in 60 s: ${JSON.stringify(last)}`)
  return last
}

/** 32 MiB of data in the image, which nobody has open. */
async function writeData(): Promise<void> {
  const { path } = await client.ndo.placement(volumeId)
  const file = await open(path ?? '', 'r+')
  for (let part = 0; part < 8; part++) await file.write(randomBytes(4 * mib), 0, 4 * mib, part * 64 * mib)
  await file.close()
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vc-'))
  const up = await run('up', '--port', '0')
  assert.equal(up.code, 0, up.stderr)
  client = createClient(await findCredentials(folder, true))
  volumeId = (await client.volume.create({ name: 'data', size: 1 })).id
  for (let status = 'creating', i = 0; status !== 'available'; i++) {
    assert.ok(i < 1200, `the volume is ${status} after a minute`)
    await sleep(50)
    status = (await client.volume.show(volumeId)).status
  }
  await writeData()
})
after(async () => {
  await run('down', '--all')
  await rm(folder, { recursive: true, force: true })
})

describe('volant migrate', () => {
  it('--dry-run lists every precondition and an estimate, and changes nothing', async () => {
    const before = await host()
    const { code, stdout } = await run('migrate', 'data', 'cinder-lmb', '--dry-run', '--json')
    assert.equal(code, 0)
    const plan = JSON.parse(stdout) as MigrationPlan
    assert.ok(plan.checks.length > 5 && plan.checks.every((check) => check.ok))
    assert.ok((plan.estimate?.bytes ?? 0) >= 32 * mib)
    assert.equal(await host(), before)
    const page = await client.ndo.operations({ kind: 'volume.migrate' })
    assert.equal(page.operations.length, 0)
  })

  it('--dry-run of what would be refused names the precondition, with exit code 4', async () => {
    const refused = await run('migrate', 'data', 'cinder-lma', '--dry-run')
    assert.equal(refused.code, 4)
    assert.match(refused.stdout, /\| NO \|/)
    assert.match(refused.stderr, /already/)
  })

  it('refuses with the reason: no such volume (3), no such pool (3), the pool it is in (4)', async () => {
    assert.deepEqual(
      [
        (await run('migrate', 'nothing', 'cinder-lmb')).code,
        (await run('migrate', 'data', 'cinder-lmx')).code,
        (await run('migrate', 'data', 'cinder-lma')).code,
      ],
      [3, 3, 4],
    )
  })

  it('Ctrl-C stops watching, not the migration; pause, resume, rate and cancel steer it', async () => {
    const { child, ended } = startVolant(
      'migrate',
      'data',
      'cinder-lmb',
      '--rate',
      '200K',
      '--watch',
      '--state',
      folder,
    )
    await new Promise<void>((resolve) => {
      child.stderr?.on('data', (chunk: Buffer) => {
        if (String(chunk).includes('copying')) resolve()
      })
    })
    child.kill('SIGINT')
    const { code, stderr } = await ended
    assert.equal(code, 130)
    assert.match(stderr, /Stopped watching; the operation goes on/)
    const id = /volant operations watch (\S+)/.exec(stderr)?.[1] ?? ''
    assert.equal((await client.ndo.operation(id)).state, 'running')

    assert.equal((await run('operations', 'pause', id)).code, 0)
    assert.equal((await client.ndo.operation(id)).controls.paused, true)
    assert.equal((await run('operations', 'resume', id)).code, 0)
    const limited = JSON.parse((await run('operations', 'rate', id, '300K', '--json')).stdout) as Operation
    const { paused, rate_limit: limit } = limited.controls
    assert.deepEqual([paused, limit], [false, 300 * 1024])
    assert.match((await run('operations', '--active')).stdout, new RegExp(id))

    assert.equal((await run('operations', 'cancel', id)).code, 0)
    assert.equal((await settled(id)).state, 'cancelled')
    assert.match(await host(), /@cinder-lma#/)
    assert.equal((await run('operations', 'cancel', id)).code, 4)
  })

  it('--watch --json is a line for each state, to the end', async () => {
    const { code, stdout, stderr } = await run(
      'migrate',
      'data',
      'cinder_flexvol_OSTK09',
      '--watch',
      '--json',
    )
    assert.equal(code, 0, stderr)
    const states = stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as Operation).state)
    assert.equal(states.at(-1), 'succeeded')
    assert.match(await host(), /@cinder-lmb#/)
  })

  it('back again, for people: the outcome with bytes and rate', async () => {
    const { code, stdout } = await run('migrate', 'data', 'cinder-lma', '--watch')
    assert.equal(code, 0)
    assert.match(stdout, /^succeeded: .* moved at /)
  })
})

describe('lists', () => {
  it('show volumes, pools, servers and operations', async () => {
    assert.match((await run('volumes')).stdout, new RegExp(`${volumeId}.*cinder-lma`))
    assert.match((await run('pools')).stdout, /cinder-lmb#127\.250\.118\.51:\/cinder_flexvol_OSTK09/)
    assert.deepEqual(JSON.parse((await run('servers', '--json')).stdout), [])
    const shown = await run('operations', 'list', '--kind', 'volume.migrate', '--json')
    assert.deepEqual(
      (JSON.parse(shown.stdout) as Operation[]).map((operation) => operation.state),
      ['succeeded', 'succeeded', 'cancelled'],
    )
    assert.equal((await run('operations', 'show', 'nothing')).code, 3)
  })
})

describe('a changed configuration', () => {
  it('that lacks the cluster of a volume is refused at the next start, with the names', async () => {
    const file = join(folder, 'volant.yaml')
    const printed = (await run('config')).stdout
    assert.equal((await run('down')).code, 0)
    await writeFile(file, printed.replaceAll('cinder-lm', 'gold-'))
    const refused = await run('up', '--port', '0')
    assert.equal(refused.code, 4)
    assert.match(refused.stderr, /lacks what is in use: cluster cinder-lm[ab] \(1 volume\)/)
    await writeFile(file, printed)
    assert.equal((await run('up', '--port', '0')).code, 0)
  })
})
