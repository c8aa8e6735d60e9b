import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { UndoPlan, UndoStarted } from '@volant/contract/ndo/undo.ts'
import { openPlace, type Place } from './place.ts'
import type { Ran } from './volant.ts'

const mib = 1024 ** 2

const json = <T>(ran: Ran): T => {
  assert.equal(ran.code, 0, ran.stderr)
  return JSON.parse(ran.stdout) as T
}

describe('volant undo', () => {
  let place: Place
  const run = (...args: string[]): Promise<Ran> => place.run(...args)
  before(async () => {
    place = await openPlace()
    await place.write(16 * mib)
  })
  after(() => place?.close())

  let migration = ''

  it('is among the commands of a migration that has succeeded, with the time until which it is possible', async () => {
    migration = await place.migrate('cinder-lmb')
    const shown = json<Operation>(await run('operations', 'show', migration, '--json'))
    assert.ok((shown.undo_until ?? '') > new Date().toISOString())
    assert.deepEqual(shown.commands, [
      `volant undo ${migration}  # possible until ${shown.undo_until?.slice(0, 19)}Z`,
    ])
    assert.match((await run('operations', 'show', migration)).stdout, /undo_until .* \d{4}-\d\d-\d\dT/)
  })

  it('--dry-run says which way and why, and changes nothing', async () => {
    const before = await place.host()
    const plan = json<UndoPlan>(await run('undo', migration, '--dry-run', '--json'))
    assert.deepEqual([plan.ok, plan.method, plan.estimate?.bytes], [true, 'revert', 0])
    assert.ok(plan.proof.length > 5 && plan.checks.length > 5)
    const { stdout } = await run('undo', migration, '--dry-run')
    assert.match(stdout, /Instantly.*\nNobody has written to the volume since/)
    assert.match(stdout, /It would start\. Nothing was changed\.\n$/)
    assert.equal(await place.host(), before)
  })

  it('goes back at once where nobody has written; the new operation tells what it undoes', async () => {
    const started = json<UndoStarted>(await run('undo', migration, '--json'))
    assert.equal(started.operation.kind, 'volume.revertMigration')
    assert.equal((await run('operations', 'watch', started.operation.id)).code, 0)
    assert.match(await place.host(), /@cinder-lma#/)
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
    const id = await place.migrate('cinder-lmb')
    await place.write(mib)
    const { stdout } = await run('operations', 'undo', id, '--dry-run')
    assert.match(stdout, /By a migration back.*\n.*written to/)
    assert.match(stdout, /NO \| target-unwritten/)
    assert.match(stdout, /About 1\d\.\d MiB in/)
    const { code, stdout: outcome, stderr } = await run('operations', 'undo', id, '--watch')
    assert.equal(code, 0, stderr)
    assert.match(outcome, /^succeeded: 1\d\.\d MiB moved at /)
    assert.match(stderr, /Every write since has to be brought back/)
    assert.match(await place.host(), /@cinder-lma#/)
  })

  it('gives up a migration that has not passed its cutover', async () => {
    const pool =
      (await place.client.volume.pools()).find(({ name }) => name.includes('@cinder-lmb#'))?.name ?? ''
    const { id } = await place.client.ndo.migrate({ volume: place.volumeId, host: pool, rate: mib })
    const plan = json<UndoPlan>(await run('undo', id, '--dry-run', '--json'))
    assert.deepEqual([plan.ok, plan.method], [true, 'cancel'])
    const { code, stdout, stderr } = await run('undo', id, '--watch')
    assert.deepEqual([code, stdout.split('\n')[0]], [0, 'cancelled: as it was asked for'], stderr)
    assert.match(await place.host(), /@cinder-lma#/)
    const again = await run('undo', id)
    assert.equal(again.code, 4)
    assert.match(again.stderr, /nothing to undo/)
  })
})
