import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
  type Job,
  type Plane,
} from './plane.ts'

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' })

/** Three network namespaces on one bridge: two storage nodes and a compute host. */
function openNetwork(): { names: [string, string, string]; close(): void } {
  const stem = `vt${process.pid}`
  const names: [string, string, string] = [`${stem}a`, `${stem}b`, `${stem}c`]
  const hub = `${stem}h`
  ip('netns', 'add', hub)
  ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
  ip('-n', hub, 'link', 'set', 'br0', 'up')
  for (const [i, name] of names.entries()) {
    ip('netns', 'add', name)
    ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `p${i}`, 'netns', hub)
    ip('-n', hub, 'link', 'set', `p${i}`, 'master', 'br0', 'up')
    ip('-n', name, 'addr', 'add', `10.98.0.${i + 1}/24`, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  return {
    names,
    close: () => {
      for (const name of [...names, hub]) ip('netns', 'del', name)
    },
  }
}

/** Every machine another one: images are reached through export daemons, NBD over TLS between the namespaces. */
const configOf = (names: [string, string, string]) => (stateDir: string) =>
  `
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        machine: store-a
        data_address: 10.98.0.1
        netns: ${names[0]}
        aggregates: [{ name: aggr1, path: ${stateDir}/lma/aggr1 }]
    flexvols: [{ name: cinder_flexvol_OSTK02, lif: 10.98.0.1, node: lma-01, aggregate: aggr1 }]
  - name: cinder-lmb
    nodes:
      - name: lmb-01
        machine: store-b
        data_address: 10.98.0.2
        netns: ${names[1]}
        aggregates: [{ name: aggr1, path: ${stateDir}/lmb/aggr1 }]
    flexvols: [{ name: cinder_flexvol_OSTK09, lif: 10.98.0.2, node: lmb-01, aggregate: aggr1 }]
compute_hosts:
  - { name: compute-1, machine: host-1, netns: ${names[2]} }
`

describe('storage nodes and compute host in network namespaces of their own', () => {
  let network: ReturnType<typeof openNetwork>
  let plane: Plane
  let job: Job

  before(async () => {
    network = openNetwork()
    plane = await openPlane(configOf(network.names))
    job = await bootProbe(plane)
  })
  after(async () => {
    await plane?.close()
    network.close()
  })

  test('a volume migrates to and fro between the nodes; nothing is lost', async () => {
    for (let i = 0; i < 2; i++) {
      const operation = await ended(plane, (await startMigration(plane, job)).id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.ok(operation.client_pause_ms !== null)
    }
    await assertNothingLost(plane, job)
  })

  test('its head is killed while it copies: the guest pauses, nothing is lost', async () => {
    const { id } = await startMigration(plane, job, { rate: 1_000_000 })
    await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
    await plane.killHolder()
    await plane.client.ndo.setRate(id, 0)
    const operation = await ended(plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await assertNothingLost(plane, job)
  })

  test('a volume that nobody uses migrates, and can be attached afterwards', async () => {
    const { client } = plane
    const { id: volumeId } = await client.volume.create({ name: 'spare', size: 1 })
    const hasStatus = (status: string) =>
      until(
        `the volume is ${status}`,
        60_000,
        async () => (await client.volume.show(volumeId)).status === status,
      )
    await hasStatus('available')
    const operation = await ended(plane, (await startMigration(plane, { ...job, volumeId })).id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await client.compute.attach(job.serverId, volumeId)
    await hasStatus('in-use')
  })

  test('the control plane is killed around the cutover, at another moment each time', async () => {
    for (const waitMs of [0, 25]) {
      const { id } = await startMigration(plane, job)
      const stepIs = async (...steps: string[]) =>
        steps.includes((await plane.client.ndo.operation(id)).step ?? '')
      await until('it copies, or more', 20_000, () => stepIs('inSync', 'cutover', 'settle', 'retireSource'))
      await sleep(waitMs)
      await plane.kill()
      await plane.start()
      const operation = await ended(plane, id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      await assertNothingLost(plane, job)
    }
  })
})
