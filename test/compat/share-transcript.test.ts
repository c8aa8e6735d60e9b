import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { lif, openSharePlane, type SharePlane } from '../share/plane.ts'
import { openrc, runClient } from './client-processes.ts'
import { propertiesOf, rowsOf } from './manila-rig.ts'

const first = `${hostname()}@manila-lma#aggr1`
const second = `${hostname()}@manila-lma#aggr2`

let variables: Record<string, string> | undefined

/** The stock client, with the variables of `STATE/openrc`. */
async function manila({ plane }: SharePlane, ...args: string[]): Promise<string> {
  variables ??= await openrc(plane.stateDir)
  const { code, stdout, stderr } = await runClient('manila', args, variables)
  assert.equal(code, 0, `manila ${args.join(' ')}: ${stderr}${stdout}`)
  return stdout
}

test('manila, from create to a migration that is completed and one that is cancelled, over real agents', async (t) => {
  const rig = await openSharePlane({ say: () => {} })
  t.after(async () => assert.deepEqual(await rig.close(), []))
  const shown = async () => propertiesOf(await manila(rig, 'show', 'docs'))
  const becomes = async (key: string, value: string) => {
    let last: string | undefined
    for (let look = 0; look < 60; look++) {
      last = (await shown())[key]
      if (last === value) return
      await sleep(200)
    }
    throw new Error(`docs has ${key} ${String(last)}, not ${value}`)
  }

  await manila(rig, 'create', 'NFS', '1', '--name', 'docs', '--wait')
  await manila(rig, 'access-allow', 'docs', 'ip', '10.97.0.0/24', '--wait')
  const before = await shown()
  const from = before['host'] ?? ''
  assert.ok([first, second].includes(from), from)
  const to = from === first ? second : first
  const path = `${lif}:/share_${(before['id'] ?? '').replaceAll('-', '_')}`
  const locations = await manila(rig, 'share-export-location-list', 'docs', '--columns', 'path')
  assert.deepEqual(rowsOf(locations).slice(1), [[path]])
  const pools = rowsOf(await manila(rig, 'pool-list', '--columns', 'name'))
  assert.deepEqual(pools.slice(1), [[first], [second]])

  const wishes = ['--writable', 'True', '--nondisruptive', 'True', '--preserve-metadata', 'True']
  const start = ['migration-start', ...wishes, '--preserve-snapshots', 'True', 'docs']
  await manila(rig, ...start, to)
  await becomes('task_state', 'migration_driver_phase1_done')
  const progress = propertiesOf(await manila(rig, 'migration-get-progress', 'docs'))
  assert.equal(progress['total_progress'], '100')
  await manila(rig, 'migration-complete', 'docs')
  await becomes('task_state', 'migration_success')
  const after = await shown()
  assert.deepEqual([after['host'], after['status']], [to, 'available'])
  const still = await manila(rig, 'share-export-location-list', 'docs', '--columns', 'path')
  assert.deepEqual(rowsOf(still).slice(1), [[path]])

  await manila(rig, ...start, from)
  await becomes('task_state', 'migration_driver_phase1_done')
  await manila(rig, 'migration-cancel', 'docs')
  await becomes('task_state', 'migration_cancelled')
  const stayed = await shown()
  assert.deepEqual([stayed['host'], stayed['status']], [to, 'available'])
  await manila(rig, 'delete', 'docs', '--wait')
})
