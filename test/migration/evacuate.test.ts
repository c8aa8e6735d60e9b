import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { configDocument } from '@volant/control/config/index.ts'
import { processesOf } from '../crash/processes.ts'
import {
  acknowledged,
  adminToken,
  assertNothingLost,
  bootProbe,
  embeddedConfig,
  openPlane,
  until,
  type Job,
  type Plane,
} from './plane.ts'

/** The storage nodes and each compute host on machines of their own, so that images go through export daemons. */
const onThreeMachines = (stateDir: string): string => {
  const { topology, settings } = embeddedConfig(stateDir)
  const computeHosts = topology.computeHosts.map((host) => ({
    ...host,
    machine: `machine-of-${host.name}`,
    dataAddress: '127.0.0.1',
  }))
  return configDocument({ topology: { ...topology, computeHosts, agents: 'processes' }, settings })
}

async function call(plane: Plane, method: string, path: string, body: unknown): Promise<number> {
  const answer = await fetch(`${plane.client.session.url}/compute/v2.1${path}`, {
    method,
    headers: {
      'x-auth-token': await adminToken(plane),
      'openstack-api-version': 'compute 2.92',
      'content-type': 'application/json',
    },
    body: JSON.stringify(body),
  })
  return answer.status
}

describe('a server is evacuated from a host whose agent stands still, and whose guest writes on', () => {
  let plane: Plane
  let job: Job
  let from: string

  before(async () => {
    plane = await openPlane(onThreeMachines)
    job = await bootProbe(plane)
    from = await hostOf()
  })
  after(() => plane?.close())

  const hostOf = async (): Promise<string> =>
    (await plane.client.compute.show(job.serverId))['OS-EXT-SRV-ATTR:host'] ?? ''
  const guests = async () => (await processesOf(plane.stateDir)).filter(({ kind }) => kind === 'guest')

  test('nobody but the new guest writes after the fence; the old one is ended when its host is back', async () => {
    const { agents } = await plane.client.ndo.status()
    const agent = agents.find(({ name }) => name === `machine-of-${from}-compute`)
    assert.ok(agent?.pid)
    const [old] = await guests()
    assert.ok(old)
    const oldConsole = join(plane.stateDir, 'hosts', from, 'guests', job.serverId, 'console.log')
    process.kill(agent.pid, 'SIGSTOP')
    try {
      assert.equal(
        await call(plane, 'POST', `/servers/${job.serverId}/action`, { evacuate: {} }),
        400,
        'it is up',
      )
      assert.equal(await forceDown(plane, from, true), 200)
      assert.equal(await call(plane, 'POST', `/servers/${job.serverId}/action`, { evacuate: {} }), 202)
      await until('it is at the other host', 60_000, async () => {
        const { status } = await plane.client.compute.show(job.serverId)
        return status === 'ACTIVE' && (await hostOf()) !== from
      })
      await until('the new guest writes', 60_000, async () => (await acknowledged(plane, job)) > 100)
      const alive = (await guests()).map(({ pid }) => pid)
      assert.ok(alive.includes(old.pid), 'the old guest lives on')
      assert.equal(alive.length, 2)
      // It was told of no write since: all that it has waits for an export that is gone.
      const said = await readFile(oldConsole, 'utf8')
      await until('the new guest writes on', 60_000, async () => (await acknowledged(plane, job)) > 300)
      assert.equal(lastAck(await readFile(oldConsole, 'utf8')), lastAck(said))
      await assertNothingLost(plane, job)
    } finally {
      process.kill(agent.pid, 'SIGCONT')
    }
    await until('the old guest is ended', 60_000, async () =>
      (await guests()).every(({ pid }) => pid !== old.pid),
    )
    assert.equal(await forceDown(plane, from, false), 200)
    await assertNothingLost(plane, job)
  })
})

const lastAck = (console: string): string | undefined => [...console.matchAll(/acked=(\d+)/g)].at(-1)?.[1]

const forceDown = async (plane: Plane, host: string, isDown: boolean): Promise<number> => {
  const answer = await fetch(`${plane.client.session.url}/compute/v2.1/os-services?host=${host}`, {
    headers: { 'x-auth-token': await adminToken(plane), 'openstack-api-version': 'compute 2.92' },
  })
  const { services } = (await answer.json()) as { services: { id: string }[] }
  return call(plane, 'PUT', `/os-services/${services[0]?.id}`, { forced_down: isDown })
}
