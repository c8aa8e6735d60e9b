/** `volant drain`, `restore` and `hosts` with real guests, in the default configuration: two compute hosts of one machine. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ComputeHostState, HostPlan } from '@volant/contract/ndo/plan.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { openPlace, type Place } from './place.ts'
import { startVolant, type Ran } from './volant.ts'

let place: Place
let serverId: string
before(async () => {
  place = await openPlace()
  serverId = await boot('worker')
  await place.client.compute.attach(serverId, place.volumeId)
  await until('the volume is attached', async () => (await server(serverId)).state === 'ACTIVE/null')
})
after(() => place?.close())

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 90_000; !(await isSo()); await sleep(100)) {
    assert.ok(Date.now() < end, `not in 90 s: ${what}`)
  }
}

async function boot(name: string): Promise<string> {
  const { session, image } = place.client
  const { id: imageRef } = await image.named('volant-probe')
  const headers = { 'openstack-api-version': 'compute 2.92' }
  // m1.micro.
  const body = { server: { name, flavorRef: '6', imageRef, networks: 'none', host: 'compute-1' } }
  const made = (await session.json('POST', '/compute/v2.1/servers', { headers, body })) as {
    server: { id: string }
  }
  await until(`${name} runs`, async () => (await server(made.server.id)).state === 'ACTIVE/null')
  return made.server.id
}

async function server(id: string): Promise<{ host: string; state: string }> {
  const found = await place.client.compute.show(id)
  return {
    host: String(found['OS-EXT-SRV-ATTR:host']),
    state: `${found.status}/${found['OS-EXT-STS:task_state'] ?? 'null'}`,
  }
}

const host = async (name: string): Promise<ComputeHostState | undefined> =>
  (await place.client.ndo.hosts()).find((one) => one.name === name)

/** Drains, and ends the watching with Ctrl-C once the server is on its way. */
async function watchedUntilMoving(...options: string[]): Promise<Ran> {
  const { child, ended } = startVolant('drain', 'compute-1', '--yes', ...options, '--state', place.folder)
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    if (said.includes('worker  moving')) return
    said += String(chunk)
    if (said.includes('worker  moving')) child.kill('SIGINT')
  })
  return ended
}

describe('volant drain and restore', () => {
  it('--dry-run shows the plan and changes nothing; refusals are 4, what is not there 3, wrong options 2', async () => {
    const shown = await place.run('drain', 'compute-1', '--dry-run')
    assert.equal(shown.code, 0, shown.stderr)
    assert.match(shown.stdout, /\| worker \| ACTIVE \| live to compute-2 \| 128 MiB \|/)
    assert.match(
      shown.stdout,
      /About 128 MiB of memory in .* \(assumed.*\nIt would start\. Nothing was changed\./,
    )
    const held = await place.run('drain', 'compute-1', '--policy', 'hold', '--dry-run', '--json')
    const plan = JSON.parse(held.stdout) as HostPlan
    assert.deepEqual([held.code, plan.ok, plan.stays[0]?.reason], [4, false, 'its policy is hold'])
    const unknown = await place.run('drain', 'compute-9', '--yes')
    assert.deepEqual([unknown.code, /There are: compute-1, compute-2/.test(unknown.stderr)], [3, true])
    assert.equal((await place.run('restore', 'compute-1', '--yes')).code, 4)
    assert.equal((await place.run('drain', 'compute-1', '--parallel', '0')).code, 2)
    // Nobody answers the question.
    const asked = await place.run('drain', 'compute-1')
    assert.deepEqual([asked.code, /No new servers .*\[y\/N\]/.test(asked.stderr)], [4, true])
    assert.equal((await host('compute-1'))?.enabled, true)
    assert.equal((await server(serverId)).host, 'compute-1')
  })

  it('Ctrl-C ends the watching only; a cancel puts everything back', async () => {
    const left = await watchedUntilMoving('--rate', '100K')
    assert.equal(left.code, 130, left.stderr)
    const id = /volant operations cancel (\S+)/.exec(left.stderr)?.[1] ?? ''
    const refused = await place.run('drain', 'compute-1', '--yes')
    assert.deepEqual([refused.code, refused.stderr.includes(id)], [4, true])
    assert.match(
      (await place.run('status')).stdout,
      new RegExp(`Compute host compute-1 is being drained: ${id}`),
    )
    assert.equal((await place.run('operations', 'cancel', id)).code, 0)
    const over = await place.run('operations', 'watch', id)
    assert.match(over.stderr, /cancelled: 0 of 1 server have left/)
    const after = await host('compute-1')
    assert.deepEqual([after?.enabled, after?.drained, after?.running], [true, false, 1])
    assert.deepEqual(await server(serverId), { host: 'compute-1', state: 'ACTIVE/null' })
  })

  it('a drain ends when nothing runs there any more, however often Volant is killed; a restore brings it back', async () => {
    assert.equal((await watchedUntilMoving('--rate', '10M')).code, 130)
    const { pid } = JSON.parse((await place.run('status', '--json')).stdout) as { pid: number }
    process.kill(pid, 'SIGKILL')
    await place.up()
    await until('it has ended', async () => (await host('compute-1'))?.operation === null)
    const [last] = (await place.client.ndo.plans()) as [Operation]
    assert.equal(last.state, 'succeeded', last.error?.reason ?? '')
    assert.match(
      last.progress.servers?.note ?? '',
      /^compute-1 is empty; its machine must stay on, for it has /,
    )
    assert.deepEqual(await server(serverId), { host: 'compute-2', state: 'ACTIVE/null' })
    assert.deepEqual([(await host('compute-1'))?.drained, (await host('compute-1'))?.away], [true, 1])

    const back = await place.run('restore', 'compute-1', '--yes')
    assert.equal(back.code, 0, back.stderr)
    assert.match(
      back.stdout,
      /\| worker \| ACTIVE \| live to compute-1 \|[^]*measured by the last live migrations/,
    )
    assert.match(back.stdout, /succeeded: compute-1 is enabled, and has its servers again/)
    assert.match(back.stderr, /worker {2}moved to compute-1/)
    assert.deepEqual(await server(serverId), { host: 'compute-1', state: 'ACTIVE/null' })
    assert.deepEqual((await host('compute-1'))?.drained, false)
  })
})
