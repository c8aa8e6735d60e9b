import assert from 'node:assert/strict'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { findCredentials } from '@volant/cli'
import { createClient, type VolantClient } from '@volant/client'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { UndoPlan, UndoStarted } from '@volant/contract/ndo/undo.ts'
import { volant, type Ran } from './volant.ts'

const mib = 1024 ** 2

let folder = ''
let client: VolantClient
let volumeId = ''
const run = (...args: string[]): Promise<Ran> => volant(...args, '--state', folder)
const host = async (): Promise<string> => (await client.volume.show(volumeId))['os-vol-host-attr:host'] ?? ''
const json = <T>(ran: Ran): T => {
  assert.equal(ran.code, 0, ran.stderr)
  return JSON.parse(ran.stdout) as T
}

async function write(bytes: number): Promise<void> {
  const { path } = await client.ndo.placement(volumeId)
  const file = await open(path ?? '', 'r+')
  await file.write(Buffer.alloc(bytes, 1), 0, bytes, 0)
  await file.close()
}

/** Migrates to its end; the operation's id. */
async function migrate(pool: string): Promise<string> {
  const { code, stdout, stderr } = await run('migrate', 'data', pool, '--watch', '--json')
  assert.equal(code, 0, stderr)
  const last = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Operation
  assert.equal(last.state, 'succeeded')
  return last.id
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vc-'))
  const up = await run('up', '--port', '0')
  assert.equal(up.code, 0, up.stderr)
  client = createClient(await findCredentials(folder, true))
  volumeId = (await client.volume.create({ name: 'data', size: 1 })).id
  for (const end = Date.now() + 60_000; (await client.volume.show(volumeId)).status !== 'available';) {
    assert.ok(Date.now() < end, 'not in 60 s: the volume is available')
    await sleep(50)
  }
  await write(16 * mib)
})
after(async () => {
  await run('down', '--all')
  await rm(folder, { recursive: true, force: true })
})

describe('volant undo', () => {
  let migration = ''

  it('is among the commands of a migration that has succeeded, with the time until which it is possible', async () => {
    migration = await migrate('cinder-lmb')
    const shown = json<Operation>(await run('operations', 'show', migration, '--json'))
    assert.ok((shown.undo_until ?? '') > new Date().toISOString())
    assert.deepEqual(shown.commands, [
      `volant undo ${migration}  # possible until ${shown.undo_until?.slice(0, 19)}Z`,
    ])
    assert.match((await run('operations', 'show', migration)).stdout, /undo_until .* \d{4}-\d\d-\d\dT/)
  })

  it('--dry-run says which way and why, and changes nothing', async () => {
    const before = await host()
    const plan = json<UndoPlan>(await run('undo', migration, '--dry-run', '--json'))
    assert.deepEqual([plan.ok, plan.method, plan.estimate?.bytes], [true, 'revert', 0])
    assert.ok(plan.proof.length > 5 && plan.checks.length > 5)
    const { stdout } = await run('undo', migration, '--dry-run')
    assert.match(stdout, /Instantly.*\nNobody has written to the volume since/)
    assert.match(stdout, /It would start\. Nothing was changed\.\n$/)
    assert.equal(await host(), before)
  })

  it('goes back at once where nobody has written; the new operation tells what it undoes', async () => {
    const started = json<UndoStarted>(await run('undo', migration, '--json'))
    assert.equal(started.operation.kind, 'volume.revertMigration')
    assert.equal((await run('operations', 'watch', started.operation.id)).code, 0)
    assert.match(await host(), /@cinder-lma#/)
    const shown = json<Operation>(await run('operations', 'show', started.operation.id, '--json'))
    assert.equal(shown.undo_of?.operation, migration)
    assert.match(
      (await run('operations', 'show', started.operation.id)).stdout,
      new RegExp(`undo_of .*${migration}`),
    )

    const again = await run('undo', migration)
    assert.equal(again.code, 4)
    assert.match(again.stderr, new RegExp(`undone already.*volant undo ${started.operation.id}`))
  })

  it('migrates back where somebody has written, also as `volant operations undo`; --watch waits for the end', async () => {
    const id = await migrate('cinder-lmb')
    await write(mib)
    const { stdout } = await run('operations', 'undo', id, '--dry-run')
    assert.match(stdout, /By a migration back.*\n.*written to/)
    assert.match(stdout, /NO \| target-unwritten/)
    assert.match(stdout, /About 1\d\.\d MiB in/)
    const { code, stdout: outcome, stderr } = await run('operations', 'undo', id, '--watch')
    assert.equal(code, 0, stderr)
    assert.match(outcome, /^succeeded: 1\d\.\d MiB moved at /)
    assert.match(stderr, /Every write since has to be brought back/)
    assert.match(await host(), /@cinder-lma#/)
  })

  it('gives up a migration that has not passed its cutover', async () => {
    const pool = (await client.volume.pools()).find(({ name }) => name.includes('@cinder-lmb#'))?.name ?? ''
    const { id } = await client.ndo.migrate({ volume: volumeId, host: pool, rate: mib })
    const plan = json<UndoPlan>(await run('undo', id, '--dry-run', '--json'))
    assert.deepEqual([plan.ok, plan.method], [true, 'cancel'])
    const { code, stdout, stderr } = await run('undo', id, '--watch')
    assert.deepEqual([code, stdout.split('\n')[0]], [0, 'cancelled: as it was asked for'], stderr)
    assert.match(await host(), /@cinder-lma#/)
    const again = await run('undo', id)
    assert.equal(again.code, 4)
    assert.match(again.stderr, /nothing to undo/)
  })

  it('refuses with the reason: no such operation (3), another kind (4), a disabled pool (4), no argument (2)', async () => {
    assert.equal((await run('undo', 'nothing')).code, 3)
    assert.equal((await run('undo')).code, 2)
    const { operations } = await client.ndo.operations({ kind: 'volume.create' })
    const created = await run('undo', operations[0]?.id ?? '')
    assert.equal(created.code, 4)
    assert.match(created.stderr, new RegExp(`cinder delete ${volumeId}`))

    const id = await migrate('cinder-lmb')
    const { session } = client
    const service = { binary: 'cinder-volume', host: (await host()).split('@')[0] + '@cinder-lma' }
    const put = async (what: string) =>
      session.json('PUT', `/volume/v3/${await session.projectId()}/os-services/${what}`, { body: service })
    await put('disable')
    const planned = await run('undo', id, '--dry-run')
    assert.equal(planned.code, 4)
    assert.match(planned.stdout, /It would be refused\. Nothing was changed\./)
    const refused = await run('undo', id)
    assert.equal(refused.code, 4)
    assert.match(refused.stderr, /cinder-lma is disabled/)
    assert.match(await host(), /@cinder-lmb#/)
    await put('enable')
    assert.equal((await run('undo', id, '--watch')).code, 0)
  })

  it('refuses when the retention time is over, with the command for a migration, which then does it', async () => {
    const file = join(folder, 'volant.yaml')
    assert.equal((await run('down')).code, 0)
    const config = (await run('config')).stdout
    assert.match(config, /retention: \S+/)
    await writeFile(file, config.replace(/retention: \S+/, 'retention: 1s'))
    const up = await run('up', '--port', '0')
    assert.equal(up.code, 0, up.stderr)
    client = createClient(await findCredentials(folder, true))
    const id = await migrate('cinder-lmb')
    await sleep(1000)
    const refused = await run('undo', id)
    assert.equal(refused.code, 4)
    const command = /volant (migrate) (\S+) '(\S+)'/.exec(refused.stderr)
    assert.ok(command, refused.stderr)
    assert.equal((await run(...command.slice(1), '--watch')).code, 0)
    assert.match(await host(), /@cinder-lma#/)
  })
})
