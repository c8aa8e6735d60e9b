/** A share as a whole: volume head, block device, file system and NFS server, and an NFSv4.1 client above them all. */
import assert from 'node:assert/strict'
import { randomInt, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { createShareAgent } from '@volant/agent/shares/agent.ts'
import type { LocalShareAgent } from '@volant/agent/shares/agent.ts'
import type { ShareExportSpec } from '@volant/contract'
import { findByCommandWord, identityOf, isAlive } from '@volant/qemu/process.ts'
import { Nfs4Client } from './nfs4-client.ts'
import type { OpenFile } from './nfs4-client.ts'
import { skipNfs } from './nfs-rig.ts'
import { caller, until } from './rig.ts'
import { GiB, kill, openShareRig, skipShares } from './share-rig.ts'

const skip = skipNfs || (await skipShares())

async function openChain(t: TestContext) {
  let stop = async (): Promise<void> => {}
  t.after(() => stop()) // before what is below it goes
  const rig = await openShareRig(t)
  const { shareId } = rig
  const net = `127.${randomInt(16, 255)}.${randomInt(256)}`
  const server = { svm: 'svm1', lif: `${net}.1` }
  const places = { node: 'node1', stateDir: join(rig.folder, 'n'), runDir: join(rig.folder, 'r') }
  let agent = createShareAgent(places)
  await agent.adopt()
  const clients: Nfs4Client[] = []
  stop = async () => {
    for (const client of clients) client.close()
    await agent.ensureAllStopped(caller)
    agent.detach()
  }
  const exported: ShareExportSpec = {
    ...{ shareId, server, exportId: 1, junctionPath: '/share', rootSquash: false },
    clients: [{ to: `${net}.2`, level: 'rw' }],
  }
  await agent.ensureFileSystem(caller, await rig.spec())
  await agent.ensureShareExport(caller, exported)
  const client = await Nfs4Client.open(server.lif, `${net}.2`)
  clients.push(client)
  const file = await client.openFile('share', 'log', true)
  await client.lock(file)
  await client.write(file, 'before')
  const device = `mount=${join(places.stateDir, 'file-systems', shareId, 'device')}`
  return {
    ...{ rig, shareId, server, exported, client, file },
    agent: (): LocalShareAgent => agent,
    async restartAgent() {
      agent.detach()
      agent = createShareAgent(places)
      await agent.adopt()
    },
    pid: async () => (await agent.listServers())[0]?.pid ?? 0,
    deviceProcesses: () => findByCommandWord(device),
  }
}

async function reclaim(client: Nfs4Client, file: OpenFile): Promise<OpenFile> {
  await until('the server is there again', () =>
    client.connect().then(
      () => true,
      () => false,
    ),
  )
  const again = await client.reclaimOpen(file)
  assert.deepEqual(again.handle, file.handle)
  await client.lock(again, true)
  await client.reclaimComplete()
  assert.equal(await client.read(again), 'before')
  return again
}

test(
  'the head or the worker of the block device dies: the client notices a pause at the most',
  { skip },
  async (t) => {
    const chain = await openChain(t)
    const { client, file, rig } = chain
    const pid = await chain.pid()
    for (const [turn, one] of chain.deviceProcesses().entries()) {
      await kill(one)
      await client.write(file, `turn ${turn}`)
      assert.equal(await client.read(file), `turn ${turn}`)
      await until('both are there again', async () => chain.deviceProcesses().length === 2)
    }
    const { pid: head } = await rig.head()
    await kill(identityOf(head))
    await client.write(file, 'after the head')
    assert.equal(await client.read(file), 'after the head')
    assert.equal(await chain.pid(), pid)
    const { since, writes } = await chain.agent().shareLatency(chain.shareId)
    assert.equal((await chain.agent().shareLatency(chain.shareId)).since, since)
    assert.equal(writes.counts.length, writes.boundsNs.length + 1)
  },
)

test(
  'the block device is lost for good: the server ends, all is mounted anew, and locks are claimed',
  { skip },
  async (t) => {
    const chain = await openChain(t)
    const server = identityOf(await chain.pid())
    const both = chain.deviceProcesses()
    assert.equal(both.length, 2)
    for (const { pid } of both) process.kill(pid, 'SIGSTOP') // neither replaces the other
    for (const { pid } of both) process.kill(pid, 'SIGKILL')
    await until('the server was ended', async () => !isAlive(server))
    const file = await reclaim(chain.client, chain.file)
    await chain.client.write(file, 'after')
    assert.equal((await chain.agent().shareStatus(chain.shareId)).fileSystem?.trouble, undefined)
  },
)

test(
  'the block device is lost while nobody looks after it: whoever comes next mends that, too',
  { skip },
  async (t) => {
    const chain = await openChain(t)
    const server = identityOf(await chain.pid())
    chain.agent().detach()
    const both = chain.deviceProcesses()
    for (const { pid } of both) process.kill(pid, 'SIGSTOP')
    for (const { pid } of both) process.kill(pid, 'SIGKILL')
    await until('both are dead', async () => chain.deviceProcesses().length === 0)
    await chain.restartAgent()
    await until('the server was ended', async () => !isAlive(server))
    const file = await reclaim(chain.client, chain.file)
    await chain.client.write(file, 'after')
    assert.equal((await chain.agent().shareStatus(chain.shareId)).fileSystem?.trouble, undefined)
  },
)

test(
  "Volant's restart is no event; a file system is not taken from below its clients",
  { skip },
  async (t) => {
    const chain = await openChain(t)
    const { client, file, shareId } = chain
    const pid = await chain.pid()
    await assert.rejects(chain.agent().ensureNoFileSystem(caller, shareId), /is exported/)
    await chain.restartAgent()
    await client.write(file, 'on')
    assert.equal(await chain.pid(), pid)
    const [status] = await chain.agent().listShares()
    assert.equal(status?.export?.isServed, true)
    assert.equal(status?.fileSystem?.trouble, undefined)

    await chain.agent().ensureFileSystemSize(caller, shareId, 3 * GiB)
    await client.write(file, 'grown')
    assert.deepEqual((await chain.agent().inventory()).map(({ kind, id }) => [kind, id]).toSorted(), [
      ['file-system', shareId],
      ['nfs-server', 'svm1'],
    ])
    // A share whose record was removed: its export ends first.
    const stray = (await chain.agent().inventory()).find(({ kind }) => kind === 'file-system')
    assert.ok(stray)
    await assert.rejects(
      chain.agent().removeStray(caller, { ...stray, identity: 'other' }),
      /not what was seen/,
    )
    await client.write(file, 'still')
    await chain.agent().removeStray(caller, stray)
    await chain.agent().ensureNoShareExport(caller, shareId)
    await chain.agent().ensureNoFileSystem(caller, shareId)
    assert.deepEqual(await chain.agent().listShares(), [])
    assert.deepEqual(await chain.agent().inventory(), [])
  },
)

test(
  'a share whose head does not answer is removed, though requests of its clients hang',
  { skip },
  async (t) => {
    const chain = await openChain(t)
    const { client, file, rig, shareId } = chain
    const server = identityOf(await chain.pid())
    const { pid: head } = await rig.head()
    process.kill(head, 'SIGSTOP')
    try {
      const write = client.write(file, 'waits').catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, 300))
      await chain.agent().ensureNoShareExport(caller, shareId, { forGood: true })
      assert.equal(isAlive(server), false)
      client.close()
      await write
      await chain.agent().ensureNoFileSystem(caller, shareId)
      assert.deepEqual(await chain.agent().inventory(), [])
    } finally {
      process.kill(head, 'SIGCONT')
    }
  },
)

test(
  'a share whose block device does not answer keeps no other waiting, whatever is asked of it',
  { skip },
  async (t) => {
    const chain = await openChain(t)
    const { rig, server, exported } = chain
    const image = await rig.newImage(1024 * GiB)
    const holder = { holderId: randomUUID(), volumeId: 'vol-other', image: image.access, serves: true }
    const { socketPath = '', exportName = '' } = await rig.holders.ensureHolder(caller, holder)
    const shareId = randomUUID()
    await chain.agent().ensureFileSystem(caller, {
      ...{ shareId, head: { socketPath, exportName }, sizeBytes: 2 * GiB, content: 'format' },
    })
    const other = { ...exported, shareId, exportId: 2, junctionPath: '/other' }
    await chain.agent().ensureShareExport(caller, other)
    const from = exported.clients[0]?.to ?? ''
    const client = await Nfs4Client.open(server.lif, from)
    const file = await client.openFile('other', 'log', true)
    // More than the server would have threads for.
    const busy: { client: Nfs4Client; file: OpenFile }[] = []
    t.after(() => [client, ...busy.map((one) => one.client)].forEach((one) => one.close()))
    for (let which = 0; which < 220; which += 1) {
      const one = await Nfs4Client.open(server.lif, from)
      busy.push({ client: one, file: await one.openFile('share', `file-${which}`, true) })
    }

    const device = chain.deviceProcesses()
    for (const { pid } of device) process.kill(pid, 'SIGSTOP')
    try {
      let done = 0
      const writes = Promise.all(busy.map((one) => one.client.write(one.file, 'w').then(() => (done += 1))))
      await client.write(file, 'on')
      assert.deepEqual((await client.list('/')).toSorted(), ['other', 'share'])
      await chain.agent().ensureShareExport(caller, { ...other, rootSquash: true })
      assert.equal(done, 0)
      for (const { pid } of device) process.kill(pid, 'SIGCONT')
      await writes
      assert.equal(done, busy.length)
    } finally {
      for (const one of device) if (isAlive(one)) process.kill(one.pid, 'SIGCONT')
    }
  },
)
