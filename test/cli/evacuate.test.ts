/** `volant evacuate` with a real guest, in the default configuration: its host is taken for down while it goes on writing. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HostPlan } from '@volant/contract/ndo/plan.ts'
import { openPlace, type Place } from './place.ts'

let place: Place
let serverId: string
const headers = { 'openstack-api-version': 'compute 2.92' }

before(async () => {
  place = await openPlace()
  const { session, image, compute } = place.client
  const { id: imageRef } = await image.named('volant-probe')
  // m1.micro.
  const body = {
    server: { name: 'worker', flavorRef: '6', imageRef, networks: 'none', host: 'compute-1' },
  }
  const made = (await session.json('POST', '/compute/v2.1/servers', { headers, body })) as {
    server: { id: string }
  }
  serverId = made.server.id
  await until('it runs', async () => (await server()).state === 'ACTIVE/null')
  await compute.attach(serverId, place.volumeId)
  await until('it writes', acknowledgesWrites)
  assert.equal((await place.run('probe', 'verify', 'data')).code, 0)
})
after(() => place?.close())

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 90_000; !(await isSo()); await sleep(250)) {
    assert.ok(Date.now() < end, `not in 90 s: ${what}`)
  }
}

async function acknowledgesWrites(): Promise<boolean> {
  return / acked=[1-9]/.test(await place.client.compute.consoleOutput(serverId, 20))
}

async function server(): Promise<{ host: string; state: string }> {
  const found = await place.client.compute.show(serverId)
  return {
    host: String(found['OS-EXT-SRV-ATTR:host']),
    state: `${found.status}/${found['OS-EXT-STS:task_state'] ?? 'null'}`,
  }
}

const act = (body: object) =>
  place.client.session.json('POST', `/compute/v2.1/servers/${serverId}/action`, { headers, body })

interface Service {
  id: string
  status: string
  forced_down: boolean
  disabled_reason: string | null
}

async function service(): Promise<Service> {
  const { services } = (await place.client.session.json(
    'GET',
    '/compute/v2.1/os-services?host=compute-1&binary=nova-compute',
    { headers },
  )) as { services: [Service] }
  return services[0]
}

const setService = async (body: object): Promise<unknown> =>
  place.client.session.json('PUT', `/compute/v2.1/os-services/${(await service()).id}`, { headers, body })

describe('volant evacuate', () => {
  it('refuses a host that is up, or unknown, and options of a drain; a plan or a no changes nothing', async () => {
    const up = await place.run('evacuate', 'compute-1', '--yes')
    assert.equal(up.code, 4)
    assert.match(up.stderr, /compute-1 is up: drain it \(volant drain compute-1\).*nova service-force-down/)
    const unknown = await place.run('evacuate', 'compute-9', '--dry-run')
    assert.deepEqual([unknown.code, /There are: compute-1, compute-2/.test(unknown.stderr)], [3, true])
    assert.equal((await place.run('evacuate', 'compute-1', '--policy', 'cold')).code, 2)

    await act({ pause: null })
    await until('it is paused', async () => (await server()).state === 'PAUSED/null')
    await setService({ forced_down: true })
    const stays = await place.run('evacuate', 'compute-1', '--dry-run', '--json')
    const plan = JSON.parse(stays.stdout) as HostPlan
    assert.deepEqual([stays.code, plan.ok, plan.moves.length, plan.stays.length], [4, false, 0, 1])
    assert.match(plan.stays[0]?.reason ?? '', /while it is in vm_state paused/)
    assert.match(stays.stderr, /worker stays on compute-1: .*paused/)
    await act({ 'os-resetState': { state: 'active' } })

    const shown = await place.run('evacuate', 'compute-1', '--dry-run')
    assert.equal(shown.code, 0, shown.stderr)
    assert.match(shown.stdout, /\| worker \| ACTIVE \| is fenced, and started elsewhere \| 128 MiB \|/)
    assert.match(shown.stdout, /It would start\. Nothing was changed\.\n$/)
    // Nobody answers the question.
    const asked = await place.run('evacuate', 'compute-1')
    assert.equal(asked.code, 4)
    assert.match(asked.stderr, /Its access to storage is closed, whether it is dead or not\. \[y\/N\]/)
    assert.deepEqual(await server(), { host: 'compute-1', state: 'ACTIVE/null' })
    assert.equal((await service()).status, 'enabled')
  })

  it('its servers are elsewhere then, and nothing that was acknowledged is lost; the host stays disabled', async () => {
    const done = await place.run('evacuate', 'compute-1', '--yes')
    assert.equal(done.code, 0, done.stderr)
    assert.match(done.stdout, /succeeded: 1 of 1 server went to other hosts; compute-1 stays disabled/)
    assert.match(done.stderr, /worker {2}moved to compute-2/)
    assert.deepEqual(await server(), { host: 'compute-2', state: 'ACTIVE/null' })
    await until('it writes there', acknowledgesWrites)
    assert.equal((await place.run('probe', 'verify', 'data')).code, 0)
    const { status, forced_down: forcedDown, disabled_reason: reason } = await service()
    assert.deepEqual([status, forcedDown, reason], ['disabled', true, 'evacuated: it was down'])
    await setService({ forced_down: false })
    await until('no guest is left where it was', async () => {
      const [first] = (await place.client.ndo.hosts()).filter(({ name }) => name === 'compute-1')
      return first?.up === true && first.running === 0
    })
    const again = await place.run('evacuate', 'compute-1', '--yes')
    assert.deepEqual([again.code, /is up: drain it/.test(again.stderr)], [4, true])
  })
})
