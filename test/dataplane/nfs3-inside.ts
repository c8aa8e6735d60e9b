/**
 * Version 3 of NFS, in namespaces of its own (network, mounts, processes), for it needs rpcbind, which has one place on a
 * machine. Started by `nfs3.test.ts`; ends with an error where something is not as it should be.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { junctionOf, openNfsRig } from './nfs-rig.ts'
import { until } from './rig.ts'
import { RpcConnection, XdrWriter } from './sun-rpc.ts'

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' })

const mount = { program: 100_005, port: 20_048, mnt: 1, export: 5 }
const nfs = { program: 100_003, port: 2049, getattr: 1 }
const refused = 13

/** What `showmount -e` shows to a client at `from`. */
async function showmount(lif: string, from: string): Promise<string[]> {
  const connection = await RpcConnection.open(lif, mount.port, from)
  const answer = await connection.call(mount.program, 3, mount.export, Buffer.alloc(0))
  const paths: string[] = []
  while (answer.u32() === 1) {
    paths.push(answer.opaque().toString())
    while (answer.u32() === 1) answer.opaque()
  }
  connection.close()
  return paths
}

/** The handle of the share's root, or the refusal's number. */
async function mountAs(lif: string, from: string, path: string): Promise<Buffer | number> {
  const connection = await RpcConnection.open(lif, mount.port, from)
  const answer = await connection.call(mount.program, 3, mount.mnt, new XdrWriter().opaque(path).done())
  connection.close()
  const status = answer.u32()
  return status === 0 ? Buffer.from(answer.opaque()) : status
}

async function attributesAs(lif: string, from: string, handle: Buffer): Promise<number> {
  const connection = await RpcConnection.open(lif, nfs.port, from)
  const answer = await connection.call(nfs.program, 3, nfs.getattr, new XdrWriter().opaque(handle).done())
  connection.close()
  return answer.u32()
}

async function inside(t: TestContext): Promise<void> {
  run('mount', '-t', 'tmpfs', 'tmpfs', '/run')
  run('ip', 'link', 'set', 'lo', 'up')
  // With addresses of the loopback only, no IPv4 address is one: the resolver leaves them all out.
  run('ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1')
  run('ip', 'addr', 'add', '10.99.7.1/24', 'dev', 'v0')
  for (const name of ['v0', 'v1']) run('ip', 'link', 'set', name, 'up')
  run('rpcbind')

  const rig = openNfsRig(t)
  const { lif } = rig.server
  const [mine, theirs] = [rig.newShare(), rig.newShare()]
  await rig.export(mine, [{ to: rig.address(1), level: 'rw' }])
  await rig.export(theirs, [{ to: rig.address(2), level: 'rw' }])

  assert.deepEqual(await showmount(lif, rig.address(1)), [junctionOf(mine)])
  assert.deepEqual(await showmount(lif, rig.address(2)), [junctionOf(theirs)])
  assert.deepEqual(await showmount(lif, rig.address(3)), [])
  const handle = await mountAs(lif, rig.address(1), junctionOf(mine))
  assert.ok(Buffer.isBuffer(handle), `mounting was refused: ${handle}`)
  assert.equal(await mountAs(lif, rig.address(2), junctionOf(mine)), refused)
  assert.equal(await attributesAs(lif, rig.address(1), handle), 0)
  await assert.rejects(attributesAs(lif, rig.address(2), handle), /The call was denied/)

  const pid = await rig.pid()
  const listening = readFileSync(`/proc/${pid}/net/tcp6`, 'utf8').match(/:(0801|4E50) 0+:0000 0A/g)
  assert.equal(listening?.length, 2)
  assert.ok(!/ (0+|0100007F):(0801|4E50) /.test(readFileSync(`/proc/${pid}/net/tcp`, 'utf8')))
  const client = await rig.client(rig.address(1))
  assert.deepEqual(await client.list('/'), [junctionOf(mine).slice(1)])

  await rig.restartAgent().adopt()
  assert.deepEqual(await showmount(lif, rig.address(1)), [junctionOf(mine)])
  assert.equal(await attributesAs(lif, rig.address(1), handle), 0)

  process.kill(pid, 'SIGKILL')
  await until('it is back', async () => ((await rig.pid()) || pid) !== pid)
  await until('it serves version 3', async () => {
    return showmount(lif, rig.address(1)).then(
      (paths) => paths.length === 1,
      () => false,
    )
  })
  assert.equal(await attributesAs(lif, rig.address(1), handle), 0)

  // Without rpcbind it would not start with version 3: then it starts without.
  const before = await rig.pid()
  const rpcbind = readdirSync('/proc').find((one) => commandOf(one) === 'rpcbind')
  process.kill(Number(rpcbind), 'SIGKILL')
  process.kill(before, 'SIGKILL')
  await until('it is back', async () => ((await rig.pid()) || before) !== before)
  await until('it serves version 4', () =>
    client.connect().then(
      () => true,
      () => false,
    ),
  )
  await client.reclaimComplete()
  assert.deepEqual(await client.list('/'), [junctionOf(mine).slice(1)])
  await assert.rejects(showmount(lif, rig.address(1)))
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return ''
  }
}

const ends: (() => unknown)[] = []
try {
  await inside({ after: (end: () => unknown) => void ends.push(end) } as unknown as TestContext)
} finally {
  for (const end of ends) await end()
}
