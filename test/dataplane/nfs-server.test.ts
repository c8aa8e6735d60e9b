/**
 * A real NFS server and what becomes of its clients when parts of it die. One file, over 400 lines: each further one would start
 * and end its servers beside the others.
 */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { identityOf, isAlive } from '@volant/qemu/process.ts'
import { createShareAgent } from '@volant/agent/shares/agent.ts'
import { isListening } from '@volant/agent/shares/server-process.ts'
import { openTwoPlaces } from './netns.ts'
import { NfsError } from './nfs4-client.ts'
import type { Nfs4Client, OpenFile } from './nfs4-client.ts'
import { junctionOf, openNfsRig, skipNfs } from './nfs-rig.ts'
import type { NfsRig } from './nfs-rig.ts'
import { caller, until } from './rig.ts'

const nfs = (name: string) => (error: unknown) => error instanceof NfsError && error.nfs === name

/** A share with a client that has a file open and locked. */
async function openLocked(rig: NfsRig, which = 1) {
  const shareId = rig.newShare()
  const name = junctionOf(shareId).slice(1)
  await rig.export(shareId, [{ to: rig.address(which), level: 'rw' }])
  const client = await rig.client(rig.address(which))
  const file = await client.openFile(name, 'log', true)
  await client.lock(file)
  await client.write(file, 'before')
  return { shareId, name, client, file }
}

/** What a hard mount does after the server's end: connects again and claims what it had. */
async function reclaim(client: Nfs4Client, file: OpenFile): Promise<void> {
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
  file.stateid = again.stateid
}

/** Of the processes whose command line names the server's folder. */
function processesOf(rig: NfsRig): { pid: number; name: string }[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      const isOurs = words.some((word) => word.includes(join(rig.folder, 's/nfs')))
      return isOurs ? [{ pid: Number(pid), name: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() }] : []
    } catch {
      return []
    }
  })
}
const pidOf = (rig: NfsRig, name: RegExp): number =>
  processesOf(rig).find((one) => name.test(one.name))?.pid ?? 0

for (const [what, name] of [
  ['the server', /ganesha/],
  ['its bus', /dbus/],
] as const) {
  test(
    `${what} is killed: clients claim their files and locks, and handles stay`,
    { skip: skipNfs },
    async (t) => {
      const rig = openNfsRig(t)
      const { shareId, client, file } = await openLocked(rig)
      const before = identityOf(await rig.pid())
      process.kill(pidOf(rig, name), 'SIGKILL')
      await until('the server has ended', async () => !isAlive(before))
      await reclaim(client, file)
      await client.write(file, 'after')
      // Nobody else has got the lock meanwhile.
      await rig.export(shareId, [
        { to: rig.address(1), level: 'rw' },
        { to: rig.address(2), level: 'rw' },
      ])
      const other = await rig.client(rig.address(2))
      let held: OpenFile | undefined
      await until('the time to claim locks is over', async () => {
        held = await other.openFile(junctionOf(shareId), 'log').catch((error: unknown) => {
          if (nfs('GRACE')(error)) return undefined
          throw error
        })
        return held !== undefined
      })
      await assert.rejects(other.lock(held ?? file), nfs('DENIED'))
      assert.deepEqual(client.identity, { owner: 'svm1', scope: 'svm1' })
      assert.equal(processesOf(rig).length, 2)
    },
  )
}

for (const [what, name] of [
  ['server', /ganesha/],
  ['bus', /dbus/],
] as const) {
  test(`a ${what} that was stopped by a signal is replaced`, { skip: skipNfs }, async (t) => {
    const rig = openNfsRig(t)
    const { client, file } = await openLocked(rig)
    const [before, server] = [identityOf(pidOf(rig, name)), identityOf(await rig.pid())]
    process.kill(before.pid, 'SIGSTOP')
    await until('it was ended', async () => !isAlive(before) && !isAlive(server))
    await reclaim(client, file)
  })
}

test(
  'all is stopped for a while: the next start exports what there was, and clients claim their locks',
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t)
    const { shareId, client, file } = await openLocked(rig)
    await rig.agent.ensureAllStopped(caller)
    assert.deepEqual(processesOf(rig), [])
    assert.equal(rig.fileSystems.isMounted(shareId), false)
    const adopted = rig.restartAgent().adopt()
    rig.fileSystems.mount(shareId)
    await adopted
    await reclaim(client, file)
    await client.write(file, 'after')
  },
)

test(
  "Volant's own restart is no event, and from then on the next one supervises",
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t)
    const { shareId, client, file } = await openLocked(rig)
    const pid = await rig.pid()
    await rig.restartAgent().adopt()
    assert.equal(await rig.pid(), pid)
    assert.equal((await rig.agent.shareStatus(shareId)).export?.isServed, true)
    await client.write(file, 'before')
    const first = identityOf(pid)
    process.kill(pid, 'SIGKILL')
    await until('it is dead', async () => !isAlive(first))
    await reclaim(client, file)

    // It dies while nobody is there.
    const next = await rig.pid()
    rig.agent.detach()
    process.kill(next, 'SIGKILL')
    await until('it is dead', async () => !processesOf(rig).some(({ pid: one }) => one === next))
    await rig.restartAgent().adopt()
    await reclaim(client, file)
  },
)

test('what is not mounted is never exported, and joins when it is', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t, { patienceMs: 300 })
  const one = await openLocked(rig)
  const other = await openLocked(rig, 2)
  const { fileSystems } = rig
  // Behind the server's back: it dies and the file system is gone when it comes back.
  rig.agent.detach()
  process.kill(await rig.pid(), 'SIGKILL')
  await until('it lets go', async () => {
    try {
      fileSystems.unmount(other.shareId)
      return true
    } catch {
      return false
    }
  })
  await rig.restartAgent().adopt()
  await reclaim(one.client, one.file)
  assert.equal((await rig.agent.shareStatus(other.shareId)).export?.isServed, false)
  await until('it says what it does not serve', async () => {
    const [server] = await rig.agent.listServers()
    return server?.trouble === '1 of its 2 exports are not served.'
  })
  await other.client.connect()
  await other.client.reclaimComplete()
  assert.deepEqual(await other.client.list('/'), [])
  assert.deepEqual(readdirSync(fileSystems.mountPath(other.shareId)), [])

  const pid = await rig.pid()
  fileSystems.mount(other.shareId)
  await until(
    'it is exported',
    async () => (await rig.agent.shareStatus(other.shareId)).export?.isServed === true,
  )
  assert.deepEqual(await other.client.list(other.name), ['log'])
  assert.deepEqual(await other.client.handleOf(`${other.name}/log`), other.file.handle)
  assert.equal(await rig.pid(), pid)
})

test('a server waits for file systems before it starts without them', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t, { patienceMs: 60_000 })
  const { shareId, client, file } = await openLocked(rig)
  rig.agent.detach()
  process.kill(await rig.pid(), 'SIGKILL')
  await until('it lets go', async () => {
    try {
      rig.fileSystems.unmount(shareId)
      return true
    } catch {
      return false
    }
  })
  // One that lets go while it waits starts nothing.
  await rig.restartAgent().adopt()
  rig.agent.detach()
  await sleep(300)
  assert.equal(pidOf(rig, /ganesha/), 0)
  const adopted = rig.restartAgent().adopt()
  const mounted = setTimeout(() => rig.fileSystems.mount(shareId), 400)
  t.after(() => clearTimeout(mounted))
  await adopted
  await reclaim(client, file)
})

test(
  'a lost block device: the server ends first, and comes back with what is mounted anew',
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t)
    const [one, other] = [await openLocked(rig), await openLocked(rig, 2)]
    const before = identityOf(await rig.pid())
    let aliveAtRebuild = true
    const { rebuild } = rig.fileSystems
    rig.fileSystems.rebuild = async (shareId) => {
      aliveAtRebuild = isAlive(before)
      await rebuild(shareId) // on another loop device
    }
    rig.fileSystems.lose(one.shareId)
    await until('it is rebuilt', async () => rig.fileSystems.rebuilt.length > 0)
    assert.equal(aliveAtRebuild, false)
    await reclaim(one.client, one.file)
    await reclaim(other.client, other.file)
    assert.deepEqual(rig.fileSystems.rebuilt, [one.shareId])
  },
)

test(
  'a lost block device that does not come back keeps the others waiting no longer than it may',
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t, { patienceMs: 300 })
    const [one, other] = [await openLocked(rig), await openLocked(rig, 2)]
    rig.fileSystems.refuseRebuild = true
    const before = identityOf(await rig.pid())
    rig.fileSystems.lose(one.shareId)
    await until('the server was ended', async () => !isAlive(before))
    await reclaim(other.client, other.file)
    assert.equal((await rig.agent.shareStatus(one.shareId)).export?.isServed, false)
    const pid = await rig.pid()
    rig.fileSystems.refuseRebuild = false
    await until(
      'it is served again',
      async () => (await rig.agent.shareStatus(one.shareId)).export?.isServed === true,
    )
    assert.equal(await rig.pid(), pid, 'the others were not disturbed again')
  },
)

/** Addresses and ports that the process has sockets at which others can reach. */
function openPorts(pid: number): string[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).map(
      (fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1],
    ),
  )
  return ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((kind) =>
    readFileSync(`/proc/${pid}/net/${kind}`, 'utf8')
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(
        ([, , , state, , , , , , inode]) => inodes.has(inode) && (kind.startsWith('udp') || state === '0A'),
      )
      .map(([, local]) => `${kind} ${local}`),
  )
}

test(
  'it listens at its LIF and nowhere else; SVMs have servers of their own',
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t)
    const shareId = rig.newShare()
    await rig.export(shareId, [])
    const ports = openPorts(await rig.pid())
    const [a = 0, b = 0, c = 0, d = 0] = rig.server.lif.split('.').map(Number)
    const hex = [d, c, b, a]
      .map((part) => part.toString(16).padStart(2, '0'))
      .join('')
      .toUpperCase()
    assert.deepEqual(ports, [`tcp6 0000000000000000FFFF0000${hex}:0801`])

    const second = rig.newShare()
    const server = { svm: 'svm2', lif: rig.address(200) }
    await rig.export(second, [{ to: rig.address(1), level: 'rw' }], { server })
    const servers = await rig.agent.listServers()
    assert.deepEqual(
      servers.map(({ svm, lif, trouble }) => ({ svm, lif, trouble })),
      [
        { ...rig.server, trouble: undefined },
        { ...server, trouble: undefined },
      ],
    )
    await assert.rejects(rig.export(second, [], { server: rig.server }), /exported by SVM svm2/)
    await assert.rejects(
      rig.export(rig.newShare(), [], { server: { ...server, lif: rig.server.lif } }),
      /is at/,
    )
  },
)

test("the last export's end is the server's; nothing of it is left", { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const [one, other] = [await openLocked(rig), await openLocked(rig, 2)]
  const pid = await rig.pid()
  await rig.agent.ensureNoShareExport(caller, one.shareId)
  await assert.rejects(one.client.read(one.file), nfs('STALE'))
  rig.fileSystems.unmount(one.shareId)
  await other.client.write(other.file, 'on')
  assert.equal(await rig.pid(), pid)
  await rig.agent.ensureNoShareExport(caller, other.shareId)
  await rig.agent.ensureNoShareExport(caller, other.shareId)
  assert.deepEqual(processesOf(rig), [])
  assert.deepEqual(readdirSync(join(rig.folder, 's/nfs')), [])
  assert.deepEqual(readdirSync(join(rig.folder, 'r')), [])
  assert.deepEqual(await rig.agent.listServers(), [])
})

test(
  'a share that is removed while requests to it hang keeps no other from changes of its rules',
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t, { giveUpMs: 500 })
    const [hung, other] = [rig.newShare(), rig.newShare()]
    const rule = { to: rig.address(1), level: 'rw' } as const
    await rig.export(hung, [rule])
    await rig.export(other, [rule])
    const [client, second] = [await rig.client(rig.address(1)), await rig.client(rig.address(1))]
    const file = await client.openFile(junctionOf(hung).slice(1), 'a', true)
    const pid = await rig.pid()
    rig.fileSystems.freeze(hung)
    const write = client.write(file, 'waits').catch(() => {})
    await sleep(200)
    await rig.agent.ensureNoShareExport(caller, hung, { forGood: true })
    assert.deepEqual(rig.fileSystems.givenUp, [hung])
    await write
    await rig.export(other, [rule, { to: rig.address(2), level: 'ro' }])
    assert.deepEqual(await second.list('/'), [junctionOf(other).slice(1)])
    assert.equal(await rig.pid(), pid)
  },
)

test('clients are listed while they are connected', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const { client } = await openLocked(rig)
  const [found, ...more] = await rig.agent.listClients()
  assert.deepEqual(more, [])
  assert.equal(found?.address, rig.address(1))
  assert.equal(found?.version, '4.1')
  assert.ok(Date.now() - Date.parse(found?.lastSeen ?? '') < 60_000, found?.lastSeen ?? 'never seen')
  client.close()
  await until('it is gone', async () => (await rig.agent.listClients()).length === 0)
})

test('what exists is told; what no record owns can be removed', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const { shareId, client, file } = await openLocked(rig)
  const [alone, item, ...more] = await rig.agent.inventory()
  assert.deepEqual(more, [])
  assert.deepEqual([alone?.kind, alone?.shareId], ['file-system', shareId])
  assert.deepEqual([item?.kind, item?.id], ['nfs-server', 'svm1'])
  const pids = processesOf(rig).map(({ pid }) => pid)
  assert.deepEqual(item?.pids.toSorted(), pids.toSorted())
  if (item === undefined) return
  await assert.rejects(rig.agent.removeStray(caller, item), /exports share/)
  await assert.rejects(rig.agent.removeStray(caller, { ...item, identity: 'other' }), /not what was seen/)

  // A folder and a socket that a crash left.
  const folder = join(rig.folder, 's/nfs/svm9')
  mkdirSync(folder)
  writeFileSync(join(rig.folder, 'r/svm9.b'), '')
  const left = (await rig.agent.inventory()).find(({ kind }) => kind === 'remains')
  assert.equal(left?.id, 'nfs-server svm9')
  if (left) await rig.agent.removeStray(caller, left)
  assert.equal((await rig.agent.inventory()).length, 2)
  assert.deepEqual(readdirSync(join(rig.folder, 'r')), ['svm1.b'])

  // An export of which nothing but itself is left.
  assert.ok(alone)
  await assert.rejects(rig.agent.removeStray(caller, { ...alone, identity: 'other' }), /not what was seen/)
  assert.equal(await client.read(file), 'before')
  await rig.agent.removeStray(caller, alone)
  assert.deepEqual(await rig.agent.inventory(), [])
})

test('a log that grows is put aside, and the server writes a new one', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const { shareId } = await openLocked(rig)
  const log = join(rig.folder, 's/nfs/svm1/ganesha.log')
  appendFileSync(log, Buffer.alloc(5 * 2 ** 20))
  await until('it is put aside', async () => existsSync(`${log}.1`))
  // Something that it has to say: a file system that it has already.
  const second = randomUUID()
  rig.fileSystems.mountClone(second, shareId)
  await assert.rejects(rig.export(second, []), /refuses/)
  assert.match(readFileSync(log, 'utf8'), /Could not create export/)
})

test('in a network namespace it is reached there, and not from here', { skip: skipNfs }, async (t) => {
  const { node, host } = openTwoPlaces(t)
  const rig = openNfsRig(t, { netns: node.netns })
  rig.server.lif = node.address
  const shareId = rig.newShare()
  await rig.export(shareId, [{ to: host.address, level: 'rw' }])
  const own = readlinkSync('/proc/self/ns/net')
  assert.notEqual(readlinkSync(`/proc/${await rig.pid()}/ns/net`), own)
  assert.deepEqual((await rig.agent.listServers())[0]?.trouble, undefined)
  assert.equal(isListening(await rig.pid(), node.address), true)
  assert.equal(isListening(process.pid, node.address), false)
  const connect = `exec 3<>/dev/tcp/${node.address}/2049`
  execFileSync('nsenter', [`--net=${host.netns}`, 'timeout', '5', 'bash', '-c', connect])
})

test('a control plane that was replaced lets go of the server', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const { shareId, client, file } = await openLocked(rig)
  const old = rig.agent
  t.after(() => old.detach())
  const newer = createShareAgent({
    node: 'node1',
    stateDir: join(rig.folder, 's'),
    runDir: join(rig.folder, 'r'),
    fileSystems: rig.fileSystems,
  })
  rig.agent = newer
  const spec = rig.specOf(shareId, [{ to: rig.address(1), level: 'rw' }])
  await newer.ensureShareExport({ fence: 2 }, spec)
  await assert.rejects(old.ensureShareExport(caller, { ...spec, clients: [] }), /has taken over|fence/)
  await assert.rejects(old.ensureNoShareExport(caller, shareId), /has taken over|fence/)
  const before = identityOf(await rig.pid())
  process.kill(before.pid, 'SIGKILL')
  await until('it is dead', async () => !isAlive(before))
  await reclaim(client, file)
  // One server, not one of each.
  assert.equal(processesOf(rig).length, 2)
})

test(
  'rules are not taken for in effect where the server still has the former ones',
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t, { patienceMs: 300 })
    const { shareId } = await openLocked(rig)
    rig.fileSystems.refuseRebuild = true
    rig.fileSystems.lose(shareId)
    await assert.rejects(rig.export(shareId, []), { code: 'unavailable' })
  },
)
