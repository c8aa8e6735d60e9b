import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { createSimulatedShareAgent } from '@volant/agent/simulated/shares.ts'
import { createSimulatedComputeAgent } from '@volant/agent/simulated/compute.ts'
import { stopGuests, stopShares } from './stop-all.ts'

const caller = { fence: 1 }

/** Two nodes with a share each. */
async function nodesWithShares() {
  const nodes = new Map(
    await Promise.all(
      ['lma-01', 'lmb-01'].map(async (node) => {
        const agent = createSimulatedShareAgent({ node })
        const head = { socketPath: '/s', exportName: 'e' }
        await agent.ensureFileSystem(caller, { shareId: `of-${node}`, head, sizeBytes: 1, content: 'format' })
        return [node, agent] as const
      }),
    ),
  )
  const shares = (node: string) => nodes.get(node) as NonNullable<ReturnType<typeof nodes.get>>
  const stop = (unlessAway = (_node: string, work: () => Promise<void>) => work()): Promise<void> =>
    stopShares([...nodes.keys()], { shares }, caller, unlessAway)
  return { shares, stop }
}

test('a guest that is being live-migrated is stopped, and what waits for it is no more', async () => {
  const hosts = ['h1', 'h2'].map((host) => createSimulatedComputeAgent({ host }))
  const [source, destination] = hosts as [(typeof hosts)[0], (typeof hosts)[0]]
  const guest = { serverId: 's1', name: 's1', vcpus: 1, memoryMiB: 64, disks: [], nics: [] }
  await source.ensureGuest(caller, guest)
  const migration = { migrationId: 'm', channels: 1 }
  const hardware = await source.guestHardware('s1')
  const to = await destination.ensureIncoming(caller, { ...migration, guest, hardware, sourceMachine: 'x' })
  const limits = { downtimeMs: 300, bandwidth: 0, autoConverge: true }
  await source.ensureMigration(caller, 's1', { ...migration, to, limits })
  for (const host of [destination, source]) await stopGuests(host, caller)
  assert.equal((await source.guestStatus('s1')).state, 'stopped')
  assert.equal((await destination.guestStatus('s1')).state, 'absent')
})

test('the shares of every node are stopped', async () => {
  const { shares, stop } = await nodesWithShares()
  await stop()
  for (const node of ['lma-01', 'lmb-01']) assert.deepEqual(await shares(node).listShares(), [])
})

test('a share that cannot be stopped is named, nothing goes on below it, and the others are stopped', async () => {
  const { shares, stop } = await nodesWithShares()
  shares('lma-01').failNext('ensureAllStopped', new DomainError('unavailable', '/mnt is in use'))
  await assert.rejects(stop(), {
    code: 'unavailable',
    message: /run on:\n {2}node lma-01: \/mnt is in use\n {2}node lma-01: .*of-lma-01.*\nEnd what/,
  })
  assert.deepEqual(shares('lma-01').pendingFaults, [])
  assert.deepEqual(await shares('lmb-01').listShares(), [])
  await stop()
})

test('what is told with its reason is not told again; each of several has a line', async () => {
  const { shares, stop } = await nodesWithShares()
  const reasons = '/mnt/of-lma-01 is in use\n/mnt/another is in use'
  shares('lma-01').failNext('ensureAllStopped', new DomainError('unavailable', reasons))
  await assert.rejects(stop(), {
    message:
      /run on:\n {2}node lma-01: \/mnt\/of-lma-01 is in use\n {2}node lma-01: \/mnt\/another is in use\nEnd what/,
  })
})

test('an NFS server that runs is named; the record of one that has ended is not', async () => {
  const { shares, stop } = await nodesWithShares()
  const inventory = { kind: 'nfs-server' as const, id: 'svm1', identity: '', ageSeconds: 1, sizeBytes: 0 }
  const found = [{ ...inventory, what: 'its record', pids: [] as number[] }]
  shares('lma-01').inventory = async () => found
  await stop()
  found[0]?.pids.push(4711)
  await assert.rejects(stop(), { code: 'unavailable', message: /run on:\n {2}node lma-01: its record\n/ })
})

test('a node that is away is left to itself', async () => {
  const { shares, stop } = await nodesWithShares()
  const away: string[] = []
  await stop(async (node, work) => {
    if (node === 'lma-01') away.push(node)
    else await work()
  })
  assert.deepEqual(new Set(away), new Set(['lma-01']))
  assert.equal((await shares('lma-01').listShares()).length, 1)
  assert.deepEqual(await shares('lmb-01').listShares(), [])
})
