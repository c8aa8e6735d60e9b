import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { programCommand } from '@volant/cli/instance/program-command.ts'
import { ensureGone, startDetached, type ProcessIdentity } from '@volant/qemu'
import { volant } from '../cli/volant.ts'
import {
  assertNothingLost,
  bootProbe,
  ended,
  leftovers,
  openPlane,
  startMigration,
  until,
  type Job,
  type Plane,
} from './plane.ts'

const cliMain = join(import.meta.dirname, '../../packages/cli/src/main.ts')

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** One cluster's node is on a machine of its own, whose agents somebody else starts. */
const configOf = (aggregate: string, url: string) => (stateDir: string) =>
  `
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        machine: store-a
        data_address: 127.250.118.49
        agent: ${url}
        aggregates: [{ name: aggr1, path: ${aggregate} }]
    flexvols: [{ name: cinder_flexvol_OSTK02, lif: 127.250.118.49, node: lma-01, aggregate: aggr1 }]
  - name: cinder-lmb
    nodes:
      - name: lmb-01
        data_address: 127.250.118.51
        aggregates: [{ name: aggr1, path: ${stateDir}/lmb/aggr1 }]
    flexvols: [{ name: cinder_flexvol_OSTK09, lif: 127.250.118.51, node: lmb-01, aggregate: aggr1 }]
compute_hosts:
  - { name: compute-1, machine: ${hostname()} }
`

describe('a storage node whose agent runs elsewhere', () => {
  let plane: Plane
  let job: Job
  let nodeDir: string
  let node: ProcessIdentity

  const startNode = (): void => {
    const [command, ...words] = programCommand(cliMain)
    const args = [...words, 'node', join(nodeDir, 'credentials'), '--state', join(nodeDir, 'state')]
    node = startDetached({ command, args, logPath: join(nodeDir, 'log') })
  }
  const isUp = async (): Promise<boolean> =>
    (await plane.client.ndo.status()).agents.find(({ name }) => name === 'store-a-storage')?.up === true

  before(async () => {
    nodeDir = await mkdtemp('/var/tmp/vn-')
    const url = `https://127.0.0.1:${await freePort()}`
    plane = await openPlane(configOf(join(nodeDir, 'state/aggr1'), url))
  })
  after(async () => {
    await plane?.close()
    await ensureGone(node, { graceMs: 10_000 })
    assert.deepEqual(await leftovers(nodeDir), [], 'nothing of the node is left running')
    await rm(nodeDir, { recursive: true, force: true })
  })

  test('Volant starts without it, and says that it is away', async () => {
    const { agents, clusters } = await plane.client.ndo.status()
    const agent = agents.find(({ name }) => name === 'store-a-storage')
    assert.equal(agent?.place, 'remote')
    assert.equal(agent?.up, false)
    assert.match(agent?.reason ?? '', /ECONNREFUSED/)
    assert.equal(clusters[0]?.nodes[0]?.up, false)
    assert.equal(clusters[1]?.nodes[0]?.up, true)
  })

  test('it joins with its credentials, and its pool is there', async () => {
    const wrong = await volant('node-credentials', 'store-b', nodeDir, '--state', plane.stateDir)
    assert.equal(wrong.code, 3)
    assert.match(wrong.stderr, /there are: store-a-storage/)
    const to = join(nodeDir, 'credentials')
    const issued = await volant('node-credentials', 'store-a-storage', to, '--state', plane.stateDir)
    assert.equal(issued.code, 0, issued.stderr)
    assert.ok(!(await readdir(to, { recursive: true })).some((name) => name.includes('ca-key')))
    startNode()
    await until('it is up', 60_000, isUp)
    await until('its FlexVol is there', 60_000, async () =>
      readdir(join(nodeDir, 'state/aggr1')).then(
        (names) => names.includes('cinder_flexvol_OSTK02'),
        () => false,
      ),
    )
  })

  test('started twice with the same state it is refused', async () => {
    const again = await volant('node', join(nodeDir, 'credentials'), '--state', join(nodeDir, 'state'))
    assert.equal(again.code, 4)
    assert.match(again.stderr, /run already/)
  })

  test('a volume migrates from it and to it, the guest writing, and it dies and comes back in between', async () => {
    job = await bootProbe(plane)
    const { id } = await startMigration(plane, job, { rate: 1_000_000 })
    await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
    await ensureGone(node)
    startNode()
    await until('it is up', 60_000, isUp)
    await plane.client.ndo.setRate(id, 0)
    for (const operation of [
      await ended(plane, id),
      await ended(plane, (await startMigration(plane, job)).id),
    ]) {
      assert.equal(operation.state, 'succeeded', JSON.stringify(operation.attempts))
    }
    await assertNothingLost(plane, job)
  })

  test('while it is away all else can be stopped, and it is named; when it is back it is stopped, too', async () => {
    await ensureGone(node)
    const some = await volant('down', '--all', '--state', plane.stateDir)
    assert.equal(some.code, 1)
    assert.match(some.stderr, /are away, and what they have runs on: store-a-storage;/)
    const left = (await leftovers(plane.stateDir)).concat(await leftovers(nodeDir))
    assert.ok(left.length > 0 && left.every((line) => line.includes(nodeDir)), left.join('\n'))
    startNode()
    await until('everything is stopped', 60_000, async () => {
      return (await volant('down', '--all', '--state', plane.stateDir)).code === 0
    })
  })
})
