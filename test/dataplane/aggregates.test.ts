import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { createStorageAgent, requireXfsPossible, type LocalStorageAgent } from '@volant/agent'
import type { AggregateDefinition, ImageRef } from '@volant/contract'
import { isDomainError } from '@volant/contract'
import { loopsIn, mountsIn, openFolder } from './aggregate-place.ts'
import { caller, MiB } from './rig.ts'

const GiB = 1024 * MiB
const skip = process.getuid?.() === 0 ? false : 'only root can mount'
const refused = (code: string, message?: RegExp) => (error: unknown) =>
  isDomainError(error) && error.code === code && (message?.test(error.message) ?? true)

interface Place {
  folder: string
  path: string
  /** Another agent on the same state: what Volant is after its restart. */
  start(aggregates?: AggregateDefinition[]): LocalStorageAgent
}

function openPlace(t: TestContext): Place {
  const folder = openFolder(t)
  const path = join(folder, 'aggr1')
  return {
    folder,
    path,
    start: (aggregates = [{ name: 'aggr1', path, filesystem: 'xfs', sizeBytes: GiB }]) =>
      createStorageAgent({
        node: 'node1',
        stateDir: join(folder, 's'),
        runDir: join(folder, 'r'),
        aggregates,
        dataAddress: '127.0.0.1',
      }),
  }
}

async function newImage(storage: LocalStorageAgent, aggregate = 'aggr1'): Promise<ImageRef> {
  await storage.ensureFlexVol(caller, { aggregate, name: 'fv1' })
  const ref = { imageId: randomUUID(), aggregate, flexvol: 'fv1' }
  await storage.ensureImage(caller, ref, 64 * MiB)
  return ref
}

test(
  'an aggregate that is a file: formatted once, mounted, thin, and mounted again after it was lost',
  { skip },
  async (t) => {
    const place = openPlace(t)
    const storage = place.start()
    await storage.adopt()
    const [info] = await storage.listAggregates()
    assert.deepEqual(info, {
      name: 'aggr1',
      path: place.path,
      filesystem: 'xfs',
      sizeBytes: GiB,
      reflink: true,
    })
    const file = statSync(`${place.path}.xfs`)
    assert.equal(file.size, GiB)
    assert.ok(file.blocks * 512 < 128 * MiB, `${file.blocks * 512} bytes are taken`)
    assert.deepEqual(readdirSync(place.path), [], 'the probe of reflink is gone')
    const space = await storage.aggregateSpace('aggr1')
    assert.ok(space.totalBytes > 900 * MiB && space.totalBytes < GiB)
    assert.ok(space.usedBytes + space.freeBytes <= space.totalBytes)

    const ref = await newImage(storage)
    const { path } = await storage.fileAccess(ref)
    writeFileSync(path, Buffer.alloc(MiB, 'v'), { flag: 'r+' })
    assert.equal((await storage.aggregateSpace('aggr1')).usedBytes - space.usedBytes >= MiB, true)

    // As after a reboot: nothing mounted, no loop device.
    await storage.ensureUnmounted(caller)
    assert.deepEqual([mountsIn(place.folder), loopsIn(place.folder)], [[], []])
    assert.deepEqual(readdirSync(place.path), [], 'nothing is below the mount')
    const restarted = place.start()
    await restarted.adopt()
    assert.equal(mountsIn(place.folder).length, 1)
    assert.deepEqual(readFileSync(path).subarray(0, MiB), Buffer.alloc(MiB, 'v'))

    // And as when somebody unmounts it under a running agent: the next call mounts it first.
    execFileSync('umount', [place.path])
    assert.deepEqual(loopsIn(place.folder), [], 'the loop device went with the mount')
    assert.equal((await restarted.imageInfo(ref))?.sizeBytes, 64 * MiB)
    assert.equal(mountsIn(place.folder).length, 1)
  },
)

test('no image lands in the folder below a mount that is missing', { skip }, async (t) => {
  const place = openPlace(t)
  const storage = place.start()
  const ref = await newImage(storage)
  await storage.ensureUnmounted(caller)
  renameSync(`${place.path}.xfs`, `${place.path}.away`)
  const gone = refused('unavailable', /aggr1\.xfs of aggregate aggr1 is gone: mount the file system/)
  const other = { ...ref, imageId: randomUUID() }
  for (const agent of [storage, place.start()]) {
    await assert.rejects(agent.ensureImage(caller, other, 64 * MiB), gone)
    await assert.rejects(agent.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv2' }), gone)
    await assert.rejects(agent.aggregateSpace('aggr1'), gone)
    await assert.rejects(agent.imageInfo(ref), gone)
    assert.match(String((await agent.listAggregates())[0]?.down), /is gone/)
  }
  assert.deepEqual(readdirSync(place.path), [])
  assert.ok(!existsSync(`${place.path}.xfs`), 'no new one was made in its place')

  // Another file system in its place is not it, either.
  const another = openPlace(t)
  await another.start().adopt()
  await another.start().ensureUnmounted(caller)
  renameSync(`${another.path}.xfs`, `${place.path}.xfs`)
  await assert.rejects(storage.imageInfo(ref), refused('unavailable', /another file than the aggregate's/))
  renameSync(`${place.path}.away`, `${place.path}.xfs`)
  assert.equal((await storage.imageInfo(ref))?.sizeBytes, 64 * MiB)

  // Nor is something that lies there before the mount hidden by it.
  await storage.ensureUnmounted(caller)
  writeFileSync(join(place.path, 'mine'), '')
  await assert.rejects(storage.imageInfo(ref), refused('unavailable', /is not empty \(mine\)/))
  rmSync(join(place.path, 'mine'))
  // Nor is anything else used that somebody has mounted there.
  execFileSync('mount', ['-t', 'tmpfs', 'none', place.path])
  await assert.rejects(storage.imageInfo(ref), refused('unavailable', /something else is mounted/))
  execFileSync('umount', [place.path])
  assert.ok(await storage.imageInfo(ref))
})

test('it grows with its size, and does not shrink', { skip }, async (t) => {
  const place = openPlace(t)
  const storage = place.start()
  const before = await storage.aggregateSpace('aggr1')
  const ref = await newImage(storage)
  const grown = place.start([{ name: 'aggr1', path: place.path, filesystem: 'xfs', sizeBytes: 2 * GiB }])
  const after = await grown.aggregateSpace('aggr1')
  assert.equal(after.totalBytes - before.totalBytes, GiB)
  // Cut short: the file has grown and the file system has not.
  truncateSync(`${place.path}.xfs`, 3 * GiB)
  const larger = place.start([{ name: 'aggr1', path: place.path, filesystem: 'xfs', sizeBytes: 3 * GiB }])
  assert.equal((await larger.aggregateSpace('aggr1')).totalBytes - after.totalBytes, GiB)
  // One that was made smaller in the configuration stays in use, as large as it is.
  const smaller = place.start()
  assert.equal((await smaller.aggregateSpace('aggr1')).totalBytes - after.totalBytes, GiB)
  assert.ok(await smaller.imageInfo(ref))
})

test('the configuration is told what can not be done', { skip }, async (t) => {
  const place = openPlace(t)
  const aggregate = { name: 'aggr1', path: `${place.path}/`, filesystem: 'xfs' as const, sizeBytes: GiB }
  await requireXfsPossible(aggregate)
  await place.start().adopt()
  await requireXfsPossible(aggregate)
  const smaller = requireXfsPossible({ ...aggregate, sizeBytes: 512 * MiB })
  await assert.rejects(smaller, refused('invalid', /cannot shrink: aggregate aggr1 has 1073741824 bytes/))
  process.seteuid?.(65_534)
  try {
    const asAnother = requireXfsPossible({ ...aggregate, path: '/nowhere/aggr1' })
    await assert.rejects(asAnother, refused('invalid', /For that Volant must run as root\.$/))
  } finally {
    process.seteuid?.(0)
  }
})

test('what is open in it keeps it mounted, and is named', { skip }, async (t) => {
  const place = openPlace(t)
  const storage = place.start()
  const ref = await newImage(storage)
  const { path } = await storage.fileAccess(ref)
  const fd = openSync(path, 'r')
  await assert.rejects(
    storage.ensureUnmounted(caller),
    refused('conflict', new RegExp(`can't be unmounted: .*process ${process.pid}`)),
  )
  assert.ok(await storage.imageInfo(ref))
  closeSync(fd)
  await storage.ensureUnmounted(caller)
  assert.deepEqual([mountsIn(place.folder), loopsIn(place.folder)], [[], []])
})

test(
  'aggregates at run time: made, found again, removed when empty, and nothing left',
  { skip },
  async (t) => {
    const place = openPlace(t)
    const configured = [{ name: 'aggr1', path: place.path }]
    mkdirSync(place.path)
    const storage = place.start(configured)
    const two = {
      name: 'aggr2',
      path: join(place.folder, 'aggr2'),
      filesystem: 'xfs' as const,
      sizeBytes: 512 * MiB,
    }
    const three = { name: 'aggr3', path: join(place.folder, 'aggr3'), sizeBytes: 100 * MiB }
    const make = storage.ensureAggregate.bind(storage)
    await assert.rejects(
      make(caller, { ...two, sizeBytes: 511 * MiB }),
      refused('invalid', /at least 512 MiB/),
    )
    await assert.rejects(make(caller, { ...two, name: '../x' }), refused('invalid'))
    await assert.rejects(make(caller, { ...two, name: 'aggr1' }), refused('conflict', /of the configuration/))
    await assert.rejects(
      make(caller, { ...two, path: join(place.path, 'x') }),
      refused('conflict', /lies in/),
    )
    await assert.rejects(
      make(caller, { ...two, path: '/nowhere/x' }),
      refused('invalid', /no folder \/nowhere/),
    )
    writeFileSync(`${two.path}.xfs`, 'mine')
    await assert.rejects(make(caller, two), refused('conflict', /aggr2\.xfs already/))
    rmSync(`${two.path}.xfs`)
    assert.deepEqual(readdirSync(place.folder).toSorted(), ['aggr1', 'r', 's'], 'a refusal leaves nothing')

    assert.deepEqual(await make(caller, two), { ...two, reflink: true })
    assert.equal((await make(caller, three)).filesystem, 'folder')
    await make(caller, two)
    await make(caller, { ...two, sizeBytes: GiB })
    await assert.rejects(make(caller, two), refused('invalid', /cannot shrink/))
    const ref = await newImage(storage, 'aggr2')
    await assert.rejects(storage.ensureNoAggregate(caller, 'aggr2'), refused('conflict', /not empty: fv1/))
    await assert.rejects(storage.ensureNoAggregate(caller, 'aggr1'), refused('conflict', /volant\.yaml/))
    await storage.ensureUnmounted(caller)

    const restarted = place.start(configured)
    await restarted.adopt()
    assert.deepEqual(
      (await restarted.listAggregates()).map(({ name }) => name),
      ['aggr1', 'aggr2', 'aggr3'],
    )
    assert.ok(await restarted.imageInfo(ref))
    const items = (await restarted.inventory()).filter(({ kind }) => kind === 'aggregate')
    assert.deepEqual(items.map(({ aggregate }) => aggregate).toSorted(), ['aggr2', 'aggr3'])
    await restarted.ensureNoImage(caller, ref)
    await assert.rejects(restarted.ensureNoAggregate(caller, 'aggr2'), refused('conflict', /not empty: fv1/))
    rmSync(join(two.path, 'fv1'), { recursive: true })
    for (const name of ['aggr2', 'aggr3', 'aggr2']) await restarted.ensureNoAggregate(caller, name)
    assert.deepEqual([mountsIn(place.folder), loopsIn(place.folder)], [[], []])
    assert.deepEqual(readdirSync(place.folder).toSorted(), ['aggr1', 'r', 's'])
    assert.deepEqual(readdirSync(join(place.folder, 's', 'aggregates')), [])
    await assert.rejects(
      restarted.aggregateSpace('aggr2'),
      refused('notFound', /has no aggregate aggr2; it has aggr1/),
    )
  },
)
