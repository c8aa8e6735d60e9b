import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { verifyImage } from '../../probe/verify.ts'
import { followConsoles, type Consoles } from '../host/consoles.ts'
import { acknowledged, bootProbe, leftovers, openPlane, until, type Job, type Plane } from './plane.ts'

const hosts = ['compute-1', 'compute-2']

describe('a server goes cold to the other compute host of this machine, its guest writing before and after', () => {
  let plane: Plane
  let job: Job
  let consoles: Consoles

  before(async () => {
    plane = await openPlane()
    consoles = followConsoles(hosts.map((host) => join(plane.stateDir, 'hosts', host, 'guests')))
    job = await bootProbe(plane)
  })
  after(async () => {
    consoles?.close()
    await plane.close()
  })

  const act = (body: unknown) =>
    plane.client.session.json('POST', `/compute/v2.1/servers/${job.serverId}/action`, { body })
  const hostOf = async () => String((await plane.client.compute.show(job.serverId))['OS-EXT-SRV-ATTR:host'])
  const isAt = (host: string, status: string) =>
    until(`the server is ${status} at ${host}`, 120_000, async () => {
      const server = await plane.client.compute.show(job.serverId)
      const isResting = server.status === status && server['OS-EXT-STS:task_state'] === null
      return isResting && server['OS-EXT-SRV-ATTR:host'] === host
    })
  const other = (host: string): string => (host === 'compute-1' ? 'compute-2' : 'compute-1')

  /** The guest writes at this host only, and finds all that was ever acknowledged to it, wherever it was. */
  async function nothingIsLost(host: string): Promise<number> {
    await until('the probe writes', 90_000, async () => (await acknowledged(plane, job)) > 100)
    const guests = (await leftovers(plane.stateDir)).filter((line) => /^\S*qemu-system/.test(line))
    assert.equal(guests.length, 1, `one guest runs: ${guests.join('\n')}`)
    assert.ok(guests[0]?.includes(`/hosts/${host}/`), `at ${host}: ${guests[0]}`)
    assert.ok(!existsSync(join(plane.stateDir, 'hosts', other(host), 'guests', job.serverId)))
    const { path } = await plane.client.ndo.placement(job.volumeId)
    const report = await verifyImage({
      imagePath: path as string,
      consoleLog: consoles.of(job.serverId),
      serial: job.volumeId.slice(0, 20),
      live: true,
    })
    assert.equal(report.ok, true, JSON.stringify(report))
    assert.equal(report.errorsSeenByGuest, 0)
    return report.acknowledgedWrites
  }

  test('there, while the control plane is killed, and back by a revert: nothing that was acknowledged is lost', async () => {
    const home = await hostOf()
    const away = other(home)
    await act({ migrate: null })
    await plane.kill()
    await plane.start()
    await isAt(away, 'VERIFY_RESIZE')
    const writes = await nothingIsLost(away)
    assert.ok(writes > 100, 'writes of both places are looked for')
    await act({ revertResize: null })
    await isAt(home, 'ACTIVE')
    await nothingIsLost(home)
  })
})
