import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Inventoried, InventoryItem, InventoryKind } from '@volant/contract'
import { Register } from '@volant/agent/holder/register.ts'
import { isDomainError } from '@volant/contract'
import { caller, MiB, openRig, startWriter, until } from './rig.ts'

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code
const runs = (pid: number): boolean => existsSync(`/proc/${pid}/exe`)

/** The item of that kind, the only one. */
async function found(agent: Inventoried, kind: InventoryKind, id?: string): Promise<InventoryItem> {
  const items = (await agent.inventory()).filter((item) => item.kind === kind && (id ?? item.id) === item.id)
  assert.equal(items.length, 1, `one ${kind} ${id ?? ''}: ${JSON.stringify(items)}`)
  return items[0] as InventoryItem
}

const kinds = async (agent: Inventoried): Promise<string[]> =>
  (await agent.inventory()).map(({ kind }) => kind).toSorted()

async function withHead(t: TestContext) {
  const rig = await openRig(t)
  const image = await rig.newImage()
  const holderId = randomUUID()
  const spec = { holderId, volumeId: randomUUID(), image: image.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  return { rig, image, spec, head, holderId }
}

test('holders: head, its copy and their clients; what is left when the record is gone; what only a socket is left of', async (t) => {
  const { rig, image, spec, head, holderId } = await withHead(t)
  const writer = await startWriter(t, head)
  const target = await rig.newImage()
  const jobId = `migrate-${randomUUID()}`
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 1_000_000 })
  const holder = await found(rig.holders, 'holder')
  assert.deepEqual(
    [holder.id, holder.volumeId, holder.imageId, holder.pids.length, holder.pids.includes(head.pid)],
    [holderId, spec.volumeId, image.access.imageId, 2, true],
    'the daemon and the keeper of its socket',
  )
  const mirror = await found(rig.holders, 'mirror')
  assert.deepEqual([mirror.jobId, mirror.imageId], [jobId, target.access.imageId])
  assert.deepEqual(await kinds(rig.holders), ['holder', 'mirror'], 'neither clients nor others are strays')

  // The copy goes, and the client writes on.
  await rig.holders.removeStray(caller, mirror)
  assert.deepEqual(await kinds(rig.holders), ['holder'])
  await rig.holders.removeStray(caller, mirror)
  const { errors } = await writer.stop()
  assert.deepEqual([errors, runs(head.pid)], [0, true])

  // A record that changed since is another holder.
  await rig.holders.ensureLimits(caller, holderId, { iopsTotal: 100 })
  await assert.rejects(rig.holders.removeStray(caller, holder), refused('conflict'))
  assert.equal(runs(head.pid), true)

  // Without its record it is found by its processes, and so it goes.
  rig.holders.detach()
  rmSync(join(rig.folder, 'h/holders', `${holderId}.json`))
  const after = rig.restartHolders()
  const orphan = await found(after, 'holder')
  assert.deepEqual([orphan.id, orphan.volumeId, orphan.pids], [holderId, undefined, holder.pids])
  await after.removeStray(caller, orphan)
  assert.deepEqual(holder.pids.filter(runs), [])
  assert.deepEqual(await kinds(after), [])
  assert.deepEqual(readdirSync(join(rig.folder, 'r')), [])
  assert.deepEqual(readdirSync(join(rig.folder, 'h/log')), [])

  // The keeper and the daemon were killed: sockets and a log.
  const second = await after.ensureHolder(caller, spec)
  const whole = await found(after, 'holder')
  after.detach()
  rmSync(join(rig.folder, 'h/holders', `${holderId}.json`))
  for (const pid of whole.pids) process.kill(pid, 'SIGKILL')
  await until('both are gone', async () => !whole.pids.some(runs))
  const last = rig.restartHolders()
  const remains = await found(last, 'remains')
  assert.ok(remains.what.includes(String(second.socketPath)), remains.what)
  await last.removeStray(caller, remains)
  assert.deepEqual(readdirSync(join(rig.folder, 'r')), [])
})

test('exports: by their record, by their daemon, and by what is left of them', async (t) => {
  const rig = await openRig(t)
  const image = await rig.newImage()
  const [holderId, { imageId }] = [randomUUID(), image.ref]
  const exportId = `${holderId}.${imageId}`
  await rig.storage.ensureExport(caller, exportId, image.ref)
  const exported = await found(rig.storage, 'export')
  assert.deepEqual([exported.id, exported.holderId, exported.imageId], [exportId, holderId, imageId])
  assert.equal(exported.pids.length, 2)
  const file = await found(rig.storage, 'image')
  assert.equal(file.isOpen, true)
  await assert.rejects(rig.storage.removeStray(caller, file), refused('conflict'), 'it is exported')

  // Its sockets carry a digest of its id; its command line has the whole.
  rig.storage.detach()
  rmSync(join(rig.folder, 's/exports', `${exportId}.json`))
  rmSync(join(rig.folder, 's/log', `export-${exportId}.log`))
  const other = rig.storageAgent({})
  const orphan = await found(other, 'export')
  assert.deepEqual([orphan.id, orphan.holderId, orphan.pids], [exportId, holderId, exported.pids])
  await assert.rejects(
    other.removeStray(caller, await found(other, 'image')),
    refused('conflict'),
    'it is open',
  )
  await other.removeStray(caller, orphan)
  assert.deepEqual(exported.pids.filter(runs), [])
  assert.deepEqual(await kinds(other), ['image'])
  assert.deepEqual(readdirSync(join(rig.folder, 'r')), [])
  // What the dead daemon had given to the kernel may outlive it for a moment, and with it the lock.
  await until('the image is closed', async () => (await found(other, 'image')).isOpen !== true)
  await other.removeStray(caller, await found(other, 'image'))
  assert.deepEqual(await kinds(other), [])
})

test('files: images, their parts, and what is none; another file under the same name is left alone', async (t) => {
  const rig = await openRig(t)
  const image = await rig.newImage(MiB)
  const folder = join(rig.folder, 'aggr1/fv1')
  writeFileSync(join(folder, 'notes.txt'), 'x')
  writeFileSync(join(rig.folder, 'aggr1/loose'), 'x')
  for (const end of ['new', 'gone']) writeFileSync(join(folder, `${image.ref.imageId}.${end}`), 'begun')
  assert.deepEqual(await kinds(rig.storage), ['file', 'file', 'image', 'image-part', 'image-part'])
  for (const item of await rig.storage.inventory()) {
    if (item.kind === 'file') await assert.rejects(rig.storage.removeStray(caller, item), refused('invalid'))
    if (item.kind === 'image-part') await rig.storage.removeStray(caller, item)
  }
  assert.deepEqual(
    readdirSync(folder).toSorted(),
    [image.ref.imageId, 'notes.txt'].toSorted(),
    'the image stays',
  )
  const seen = await found(rig.storage, 'image')
  writeFileSync(join(folder, 'another'), 'written meanwhile')
  renameSync(join(folder, 'another'), image.access.path)
  await assert.rejects(rig.storage.removeStray(caller, seen), refused('conflict'))
  // No path of the caller's is taken for granted.
  const outside = { ...seen, flexvol: '../../h' }
  await assert.rejects(rig.storage.removeStray(caller, outside), refused('invalid'))
  await assert.rejects(rig.storage.removeStray(caller, { ...seen, imageId: 'x/../y' }), refused('invalid'))
  await rig.storage.ensureFlexVol({ fence: 9 }, { aggregate: 'aggr1', name: 'fv1' })
  const now = await found(rig.storage, 'image')
  await assert.rejects(rig.storage.removeStray({ fence: 8 }, now), refused('staleFence'))
  await rig.storage.removeStray({ fence: 9 }, now)
  assert.equal(existsSync(image.access.path), false)
})

test('registers: of a cutover under way none is told; of one that is over it goes, and only it', async (t) => {
  const { rig, holderId } = await withHead(t)
  const target = await rig.newImage()
  const jobId = `migrate-${randomUUID()}`
  await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
  const phase = async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase
  await until('the copy is ready', async () => (await phase()) === 'ready')
  const folder = join(rig.folder, 'h/cutovers')
  const old = new Register(join(folder, `${holderId}.0123456789abcdef`))
  await old.create()
  await old.decide('abandoned')
  await rig.holders.prepareCutover(caller, holderId, jobId, 10_000)
  assert.equal((await found(rig.holders, 'mirror')).isAtCutover, true)
  const holder = await found(rig.holders, 'holder')
  assert.equal(holder.pids.length, 3, 'daemon, keeper and guard')
  const register = await found(rig.holders, 'register')
  assert.deepEqual([register.id, register.holderId], [`${holderId}.0123456789abcdef`, holderId])
  await rig.holders.removeStray(caller, register)
  assert.equal(
    readdirSync(folder).some((name) => name.includes('0123456789abcdef')),
    false,
  )
  assert.deepEqual(await kinds(rig.holders), ['holder', 'mirror'])
  await rig.holders.commitCutover(caller, holderId, jobId)
  await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
  assert.equal((await rig.holders.holderStatus(holderId))?.imageId, target.access.imageId)
  assert.deepEqual(await kinds(rig.holders), ['holder'])

  // With a record that can't be read nobody knows which attempts are over.
  await old.create()
  await found(rig.holders, 'register')
  const broken = join(rig.folder, 'h/holders', 'broken.json')
  writeFileSync(broken, '{')
  assert.deepEqual(await kinds(rig.holders), ['holder', 'holder'])
  rmSync(broken)
})
