import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { findByCommandWord, identityOf, isAlive } from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import { loopsIn, mountsIn } from './aggregate-place.ts'
import { lostWrites } from './records.ts'
import { caller, until } from './rig.ts'
import { asResult, GiB, kill, openShareRig, skipShares, startShareWriter } from './share-rig.ts'

const skip = await skipShares()
const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code

test('a file system is made once, grows, gives room back, and nothing is left of it', { skip }, async (t) => {
  const rig = await openShareRig(t)
  const { shareId } = rig
  const made = await rig.ensure()
  assert.equal(made.sizeBytes, 2 * GiB)
  assert.equal(made.pids.length, 2)
  assert.equal(made.trouble, undefined)
  assert.ok(rig.fileSystems.isMounted(shareId))
  const allocated = async (): Promise<number> =>
    (await rig.storage.imageInfo(rig.image.ref))?.allocatedBytes ?? 0
  t.diagnostic(`an empty share of 2 GiB: ${await allocated()} bytes of its image`)
  assert.ok((await allocated()) < 96 * 2 ** 20)

  const file = join(made.mountPath, 'file')
  writeFileSync(file, Buffer.alloc(2 ** 26, 7))
  await rig.fileSystems.flush(shareId)
  assert.ok((await allocated()) >= 2 ** 26)
  const { writes, flushes } = rig.fileSystems.latency(shareId)
  const [written, flushed] = [writes, flushes].map(({ counts }) => counts.reduce((sum, one) => sum + one, 0))
  // A request has 512 KiB at most.
  assert.ok((written ?? 0) >= 128 && (flushed ?? 0) > 0, `${written} writes, ${flushed} flushes`)

  assert.deepEqual(await rig.ensure(), await rig.fileSystems.status(shareId), 'what is there is left alone')
  assert.equal(readFileSync(file).length, 2 ** 26)

  assert.equal((await rig.fileSystems.ensureSize(shareId, 10 * GiB)).sizeBytes, 10 * GiB)
  assert.equal((await rig.fileSystems.ensureSize(shareId, 10 * GiB)).sizeBytes, 10 * GiB)
  await assert.rejects(rig.fileSystems.ensureSize(shareId, 2 * GiB), refused('conflict'))
  assert.equal((await rig.ensure()).sizeBytes, 10 * GiB, 'its size is its own')

  await rig.fileSystems.ensureNo(shareId)
  await rig.fileSystems.ensureNo(shareId)
  assert.throws(() => rig.fileSystems.latency(shareId), refused('notFound'))
  assert.deepEqual(rig.fileSystems.ids(), [])
  assert.deepEqual(mountsIn(rig.folder), [])
  assert.deepEqual(loopsIn(rig.folder), [])
  assert.deepEqual(findByCommandWord(`mount=${rig.device}`), [])
  assert.deepEqual(readdirSync(join(rig.folder, 'f/file-systems')), [])

  const again = await rig.ensure({ content: 'keep' })
  assert.equal(again.sizeBytes, 10 * GiB)
  assert.ok(existsSync(file), 'it has what it had')
})

test(
  'a file system goes on while everything below it is killed, and is whole afterwards',
  { skip },
  async (t) => {
    const rig = await openShareRig(t)
    const { mountPath } = await rig.ensure()
    const path = join(mountPath, 'file')
    const writer = await startShareWriter(t, { path, isDisk: false, blocks: 4096, lanes: 4 })
    const going = async (): Promise<void> => {
      const before = await writer.writes()
      await until('the writer goes on', async () => (await writer.writes()) > before + 10)
    }
    const whole = async (): Promise<ReturnType<typeof rig.pair>> => {
      await until('both processes run', async () => Object.values(rig.pair()).every((one) => isAlive(one)))
      return rig.pair()
    }
    for (let round = 0; round < 10; round++) {
      await going()
      await kill((await whole()).worker)
      await going()
      await kill(identityOf((await rig.head()).pid))
      await going()
      await kill((await whole()).supervisor)
      // Volant is started again in the middle of it, and finds what runs.
      if (round % 5 === 0) await rig.restartFileSystems().adopt()
    }
    assert.equal(
      (await rig.fileSystems.ensureSize(rig.shareId, 4 * GiB)).sizeBytes,
      4 * GiB,
      'it grows in use',
    )
    await going()
    const result = await writer.stop()
    t.diagnostic(`${result.writes} synced writes; the longest took ${result.longestMs.toFixed(0)} ms`)
    assert.deepEqual(result.errors, [])
    assert.deepEqual(await lostWrites(path, asResult(result)), [])
    await rig.fileSystems.ensureNo(rig.shareId)
    requireClean(rig.image.access.path)
    const { mountPath: again } = await rig.ensure({ content: 'keep' })
    assert.deepEqual(await lostWrites(join(again, 'file'), asResult(result)), [])
  },
)

test('both processes dead at once: it is told, rebuilt, and has what was synced', { skip }, async (t) => {
  const rig = await openShareRig(t)
  const { mountPath } = await rig.ensure()
  const path = join(mountPath, 'file')
  for (let round = 0; round < 3; round++) {
    const writer = await startShareWriter(t, { path, isDisk: false, blocks: 1024, lanes: 4 })
    await until('it has written', async () => (await writer.writes()) > 100)
    assert.ok(!rig.fileSystems.isLost(rig.shareId))
    await killTogether(rig.pair())
    await until('it is told', async () => rig.fileSystems.isLost(rig.shareId))
    assert.match((await rig.fileSystems.status(rig.shareId))?.trouble ?? '', /lost/)
    const result = await writer.stop()
    assert.ok(result.errors.length > 0, 'who writes to it is told')
    await rig.fileSystems.rebuild(rig.shareId)
    assert.ok(!rig.fileSystems.isLost(rig.shareId))
    assert.ok(rig.fileSystems.isMounted(rig.shareId))
    assert.deepEqual(await lostWrites(path, asResult(result)), [])
  }
  await rig.fileSystems.ensureNo(rig.shareId)
  requireClean(rig.image.access.path)
})

test(
  'what died with Volant away is found lost, and a head that is not there leaves nothing',
  { skip },
  async (t) => {
    const rig = await openShareRig(t)
    await assert.rejects(
      rig.fileSystems.ensure({
        ...(await rig.spec()),
        head: { socketPath: '/nonexistent', exportName: 'x' },
      }),
      refused('unavailable'),
    )
    assert.deepEqual(rig.fileSystems.ids(), [])
    await assert.rejects(rig.ensure({ content: 'keep' }), refused('conflict'))
    assert.deepEqual(rig.fileSystems.ids(), [])
    await rig.ensure()
    await killTogether(rig.pair())
    const found = rig.restartFileSystems()
    await found.adopt()
    assert.ok(found.isLost(rig.shareId))
    await rig.ensure()
    assert.ok(found.isMounted(rig.shareId))
  },
)

test('its image moves below it, and the head is another one afterwards', { skip }, async (t) => {
  const rig = await openShareRig(t, 16 * GiB)
  const { mountPath } = await rig.ensure()
  const path = join(mountPath, 'file')
  const writer = await startShareWriter(t, { path, isDisk: false, blocks: 4096, lanes: 4 })
  let image = rig.image
  for (let move = 0; move < 3; move++) {
    const target = await rig.newImage(16 * GiB)
    const [jobId, { holderId }] = [`op-${move}`, rig]
    await rig.holders.ensureMirror(caller, { holderId, jobId, target: target.access, rate: 0 })
    await until(
      'the mirror is ready',
      async () => (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready',
    )
    await rig.holders.prepareCutover(caller, holderId, jobId, 20_000)
    await rig.holders.commitCutover(caller, holderId, jobId)
    await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
    const before = await writer.writes()
    await until('the writer goes on', async () => (await writer.writes()) > before + 20)
    image = target
  }
  // Another head: its socket and its export's name are others. The block device waits for it.
  await rig.holders.ensureNoHolder(caller, rig.holderId)
  Object.assign(rig, { image, holderId: randomUUID() })
  await rig.ensure()
  const before = await writer.writes()
  await until('the writer goes on', async () => (await writer.writes()) > before + 20)
  const result = await writer.stop()
  t.diagnostic(`${result.writes} synced writes; the longest took ${result.longestMs.toFixed(0)} ms`)
  assert.deepEqual(result.errors, [])
  await rig.fileSystems.ensureNo(rig.shareId)
  requireClean(image.access.path)
  const again = await rig.ensure({ content: 'keep' })
  assert.deepEqual(await lostWrites(join(again.mountPath, 'file'), asResult(result)), [])
})

test('thin stays thin: what is deleted goes back', { skip }, async (t) => {
  const rig = await openShareRig(t)
  const { mountPath } = await rig.ensure()
  const allocated = async (): Promise<number> =>
    (await rig.storage.imageInfo(rig.image.ref))?.allocatedBytes ?? 0
  const empty = await allocated()
  writeFileSync(join(mountPath, 'file'), Buffer.alloc(2 ** 28, 7))
  await rig.fileSystems.flush(rig.shareId)
  const full = await allocated()
  t.diagnostic(`${empty} bytes empty, ${full} full`)
  assert.ok(full - empty > 0.99 * 2 ** 28)
  assert.ok(full - empty < 1.1 * 2 ** 28)
  rmSync(join(mountPath, 'file'))
  await until('the room is given back', async () => {
    await rig.fileSystems.flush(rig.shareId)
    await rig.fileSystems.trim(rig.shareId)
    return (await allocated()) - empty < 2 ** 25
  })
  t.diagnostic(`${empty} bytes empty, ${full} full, ${await allocated()} after`)
})

test('a clone gets an identity of its own, once, and is mounted beside its origin', { skip }, async (t) => {
  const rig = await openShareRig(t, 8 * GiB)
  const origin = { ...(await rig.ensure()), image: rig.image.access.path }
  writeFileSync(join(origin.mountPath, 'file'), 'of the origin')
  await rig.fileSystems.flush(rig.shareId)
  // As it is while it is mounted: its log is not empty.
  const clone = await rig.newImage(8 * GiB)
  execFileSync('cp', ['--sparse=always', rig.image.access.path, clone.access.path])
  const originHead = await rig.head()
  const shareId = randomUUID()
  await assert.rejects(rig.ensure({ shareId, content: 'clone' }), refused('conflict'), 'two on one volume')
  Object.assign(rig, { image: clone, holderId: randomUUID(), volumeId: 'clone' })
  const made = await rig.ensure({ shareId, content: 'clone' })
  assert.equal(readFileSync(join(made.mountPath, 'file'), 'utf8'), 'of the origin')
  writeFileSync(join(made.mountPath, 'file'), 'of the clone')
  await rig.fileSystems.flush(shareId)
  const uuid = uuidOf(clone.access.path)
  assert.notEqual(uuid, uuidOf(origin.image))
  await rig.fileSystems.ensureNo(shareId)
  const shown = await rig.ensure({ shareId, content: 'clone', readOnly: true })
  assert.equal(uuidOf(clone.access.path), uuid)
  assert.equal(readFileSync(join(shown.mountPath, 'file'), 'utf8'), 'of the clone')
  assert.throws(() => writeFileSync(join(shown.mountPath, 'file'), 'x'), /EROFS/)
  assert.equal(readFileSync(join(origin.mountPath, 'file'), 'utf8'), 'of the origin')

  // Another volume's head is no head of this share, whatever is in it.
  await rig.fileSystems.ensureNo(shareId)
  const { socketPath = '', exportName = '' } = originHead
  await killTogether(rig.pair())
  const elsewhere = (await rig.spec()).head
  await assert.rejects(rig.ensure({ head: elsewhere, content: 'keep' }), refused('conflict'))
  await rig.ensure({ head: { socketPath, exportName }, content: 'keep' })
  assert.equal(readFileSync(join(origin.mountPath, 'file'), 'utf8'), 'of the origin')
})

test('a mount that another program has copied to its own namespace holds nothing up', { skip }, async (t) => {
  const rig = await openShareRig(t)
  const { mountPath } = await rig.ensure()
  const other = spawn('unshare', ['--mount', 'sleep', '600'], { stdio: 'ignore' })
  t.after(() => other.kill('SIGKILL'))
  await until('it has mounts of its own', async () => {
    const theirs = readFileSync(`/proc/${other.pid}/mountinfo`, 'utf8')
    return (
      theirs.includes(mountPath) &&
      readlinkSync(`/proc/${other.pid}/ns/mnt`) !== readlinkSync('/proc/self/ns/mnt')
    )
  })
  await rig.fileSystems.ensureNo(rig.shareId)
  assert.deepEqual(loopsIn(rig.folder), [])
  assert.deepEqual(findByCommandWord(`mount=${rig.device}`), [])
})

test('the sweep sees what there is, and takes down only what it saw', { skip }, async (t) => {
  const rig = await openShareRig(t)
  const { mountPath } = await rig.ensure()
  const [item, ...more] = await rig.fileSystems.inventory()
  assert.ok(item)
  assert.deepEqual(more, [])
  assert.deepEqual([item.kind, item.shareId, item.pids.length], ['file-system', rig.shareId, 2])
  assert.ok(item.what.includes(mountPath))
  await kill(rig.pair().worker)
  await until('both processes run', async () => Object.values(rig.pair()).every((one) => isAlive(one)))
  await assert.rejects(rig.fileSystems.removeStray(item), refused('conflict'))
  assert.ok(rig.fileSystems.isMounted(rig.shareId))
  for (const now of await rig.fileSystems.inventory()) await rig.fileSystems.removeStray(now)
  assert.deepEqual(await rig.fileSystems.inventory(), [])
  assert.deepEqual(mountsIn(rig.folder), [])
})

test('what has it open keeps it mounted, and is named', { skip }, async (t) => {
  const rig = await openShareRig(t)
  const { mountPath } = await rig.ensure()
  const child = spawn('sleep', ['600'], { cwd: mountPath, stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  await until('it runs', async () => readlinkSync(`/proc/${child.pid}/cwd`) === mountPath)
  await assert.rejects(rig.fileSystems.ensureNo(rig.shareId), (error) => {
    return refused('conflict')(error) && String(error).includes(`process ${child.pid}`)
  })
  assert.ok(rig.fileSystems.isMounted(rig.shareId))
  child.kill('SIGKILL')
  await once(child, 'exit')
  await rig.fileSystems.ensureNo(rig.shareId)
})

test('a head that does not come back keeps nothing mounted for ever', { skip }, async (t) => {
  const rig = await openShareRig(t, 16 * GiB, { unmountMs: 1000 })
  const { mountPath } = await rig.ensure()
  writeFileSync(join(mountPath, 'file'), 'kept')
  await rig.fileSystems.flush(rig.shareId)
  writeFileSync(join(mountPath, 'other'), 'not synced')
  await rig.holders.ensureNoHolder(caller, rig.holderId)
  await until(
    'it is told',
    async () => (await rig.fileSystems.status(rig.shareId))?.trouble?.includes('head') === true,
  )
  await rig.fileSystems.ensureNo(rig.shareId)
  assert.deepEqual([...mountsIn(rig.folder), ...loopsIn(rig.folder)], [])
  assert.deepEqual(findByCommandWord(`mount=${rig.device}`), [])
  await rig.ensure({ content: 'keep' })
  assert.equal(readFileSync(join(mountPath, 'file'), 'utf8'), 'kept')
})

/** Stopped first, that neither starts the other again. */
async function killTogether(pair: Record<string, ProcessIdentity | undefined>): Promise<void> {
  const all = Object.values(pair).filter((one) => one !== undefined)
  for (const { pid } of all) process.kill(pid, 'SIGSTOP')
  for (const one of all) await kill(one)
}

const uuidOf = (imagePath: string): string =>
  execFileSync('xfs_db', ['-r', '-f', '-c', 'uuid', imagePath], { encoding: 'utf8' }).trim()

/** The image's file system has no fault; throws with what xfs_repair says. */
const requireClean = (imagePath: string): void =>
  void execFileSync('xfs_repair', ['-n', '-f', imagePath], { stdio: 'pipe' })
