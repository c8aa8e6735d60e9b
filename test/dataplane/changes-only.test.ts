/** Mirrors that copy only what is written from their start on: what they promise to whoever brings the target up. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, rmSync, statSync, writeFileSync, truncateSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { isDomainError, type FileAccess } from '@volant/contract'
import { lostWrites } from './records.ts'
import { caller, longestMs, MiB, openRig, startWriter, until, type Rig } from './rig.ts'

const holderId = 'att-1'
const jobId = 'op-1'
const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code
const head = (rig: Rig, image: FileAccess) =>
  rig.holders.ensureHolder(caller, { holderId, volumeId: 'vol-1', image, serves: true })
const mirror = (target: FileAccess) => ({ holderId, jobId, target, rate: 0, changesOnly: true })
const statusOf = (rig: Rig) => rig.holders.mirrorStatus(holderId, jobId)
const sizeBytes = 64 * MiB

/** A rig whose aggregate is a file system that shares blocks, in a file. */
async function openReflinkRig(t: TestContext): Promise<Rig> {
  const ends: (() => unknown)[] = []
  // Before the rig's own end, which removes the folder: a mounted one can't be.
  t.after(async () => {
    for (const end of ends.toReversed()) await end()
  })
  const rig = await openRig(t)
  const [backing, path] = [join(rig.folder, 'aggr1.xfs'), join(rig.folder, 'aggr1')]
  writeFileSync(backing, '')
  truncateSync(backing, 512 * MiB)
  execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', '-s', 'size=4096', backing])
  const options = ['--find', '--show', '--direct-io=on', '--sector-size', '4096', backing]
  const device = execFileSync('losetup', options, { encoding: 'utf8' }).trim()
  ends.push(() => execFileSync('losetup', ['--detach', device]))
  mkdirSync(path, { recursive: true })
  execFileSync('mount', [device, path])
  ends.push(() => execFileSync('umount', [path]))
  ends.push(async () => {
    for (const id of rig.holders.recordedIds()) await rig.holders.ensureNoHolder(caller, id)
  })
  return rig
}

/** Copies what two files differ in, or everything, onto a target that is open elsewhere. One request at a time. */
async function bringUp(from: string, to: string): Promise<number> {
  const [source, target] = [await open(from, 'r'), await open(to, 'r+')]
  const [there, here] = [Buffer.alloc(MiB), Buffer.alloc(MiB)]
  let copied = 0
  try {
    for (let at = 0; at < sizeBytes; at += MiB) {
      await source.read(there, 0, MiB, at)
      await target.read(here, 0, MiB, at)
      for (let block = 0; block < MiB; block += 4096) {
        const wanted = there.subarray(block, block + 4096)
        if (wanted.equals(here.subarray(block, block + 4096))) continue
        await target.write(wanted, 0, 4096, at + block)
        copied += 4096
      }
    }
    await target.sync()
  } finally {
    await source.close()
    await target.close()
  }
  return copied
}

test(
  'what is written from the start of a mirror of changes only reaches a target that was brought up to a later instant',
  { skip: process.getuid?.() === 0 ? false : 'only root can mount' },
  async (t) => {
    const rig = await openReflinkRig(t)
    const [source, target] = [await rig.newImage(sizeBytes), await rig.newImage(sizeBytes)]
    const status = await head(rig, source.access)
    const writer = await startWriter(t, status, { perSecond: 0 })
    await until('there is something to share', async () => (await writer.writes()) > 500)
    const clone = (to: string) =>
      execFileSync('cp', ['--reflink=always', source.access.path, to], { stdio: 'pipe' })
    // An older snapshot's copy: what the target begins as.
    const older = join(rig.folder, 'aggr1', 'older')
    clone(older)
    const copied: number[] = []
    const instant = join(rig.folder, 'aggr1', 'instant')
    copyFileSync(older, target.access.path)
    await sleep(300)

    await rig.holders.ensureMirror(caller, mirror(target.access))
    assert.equal((await statusOf(rig)).phase, 'paused')
    const resting = statSync(target.access.path)
    clone(instant)
    await until('the client writes on', async () => (await writer.writes()) > 2000)
    await rig.holders.ensureMirror(caller, mirror(target.access))
    const { phase, pausedByUser } = await statusOf(rig)
    assert.deepEqual([phase, pausedByUser], ['paused', true], 'repeated, it rests')
    assert.equal(statSync(target.access.path).mtimeMs, resting.mtimeMs, 'at rest nothing reaches the target')
    copied.push(await bringUp(instant, target.access.path))
    rmSync(instant)

    await rig.holders.ensureMirrorPaused(caller, holderId, jobId, false)
    const { totalBytes, doneBytes } = await statusOf(rig)
    await rig.holders.ensureMirror(caller, mirror(target.access))
    assert.notEqual((await statusOf(rig)).phase, 'paused', 'what was let go is not stopped again')
    await rig.holders.ensureLimits(caller, holderId, { bpsWrite: 500 * 4096 })
    await until('little is left', async () => {
      const now = await statusOf(rig)
      return now.phase === 'ready' && now.totalBytes - now.doneBytes < MiB
    })
    await rig.holders.prepareCutover(caller, holderId, jobId, 30_000)
    await rig.holders.commitCutover(caller, holderId, jobId)
    const report = await rig.holders.finalizeCutover(caller, holderId, jobId, target.access)
    const before = await writer.writes()
    await until('the client writes to the target', async () => (await writer.writes()) > before + 20)
    const result = await writer.stop()
    t.diagnostic(
      `brought up ${copied[0]} bytes, left at the resume ${totalBytes - doneBytes}, pause ${report.pauseMs.toFixed(1)} ms, ` +
        `${result.writes} writes, longest ${longestMs(result).toFixed(1)} ms`,
    )
    assert.equal(result.errors, 0)
    assert.equal(result.connections, 1)
    await rig.holders.ensureNoHolder(caller, holderId)
    assert.deepEqual(await lostWrites(target.access.path, result), [])
    assert.ok((copied[0] ?? 0) < sizeBytes / 2, 'only what differs was copied')
  },
)

test('a mirror of changes only copies nothing but changes, and is ended, refused and lost as any other', async (t) => {
  const rig = await openRig(t)
  const [source, target, other] = [await rig.newImage(), await rig.newImage(), await rig.newImage()]
  const status = await head(rig, source.access)
  const filling = await startWriter(t, status, { perSecond: 0 })
  await until('filled', async () => (await filling.writes()) > 200)
  const filled = await filling.stop()
  await rig.holders.ensureMirror(caller, mirror(target.access))
  await rig.holders.ensureMirrorPaused(caller, holderId, jobId, false)
  await until('ready', async () => (await statusOf(rig)).phase === 'ready')
  assert.equal(statSync(target.access.path).blocks, 0)
  assert.equal((await lostWrites(target.access.path, filled)).length, filled.acked.size)
  await assert.rejects(
    rig.holders.ensureMirror(caller, { ...mirror(target.access), changesOnly: false }),
    refused('conflict'),
  )
  await assert.rejects(rig.holders.ensureMirror(caller, mirror(other.access)), refused('conflict'))
  await rig.holders.ensureNoMirror(caller, holderId, jobId)
  assert.equal((await statusOf(rig)).phase, 'absent')
  await rig.storage.ensureNoImage(caller, target.ref)

  // At rest: ended by its own call, seen by another agent, and lost with its daemon.
  await rig.holders.ensureMirror(caller, mirror(other.access))
  const again = rig.restartHolders()
  await again.adopt()
  await assert.rejects(again.prepareCutover(caller, holderId, jobId, 1000), refused('conflict'))
  assert.deepEqual([(await statusOf(rig)).phase, (await statusOf(rig)).pausedByUser], ['paused', true])
  const items = await again.inventory()
  assert.deepEqual(
    items.filter(({ kind }) => kind === 'mirror').map((item) => item.imageId),
    [other.ref.imageId],
  )
  const writer = await startWriter(t, status)
  const { pid } = (await again.holderStatus(holderId)) ?? assert.fail('the head runs')
  process.kill(pid, 'SIGKILL')
  await until('the mirror is lost', async () => {
    const status = await statusOf(rig).catch(() => undefined) // at the moment of its death it can't be asked
    return status?.phase === 'failed'
  })
  const before = await writer.writes()
  await until('the client goes on', async () => (await writer.writes()) > before + 20)
  await again.ensureMirror(caller, mirror(other.access))
  assert.equal((await statusOf(rig)).phase, 'paused', 'begun anew, it notes anew')
  await again.ensureNoMirror(caller, holderId, jobId)
  const result = await writer.stop()
  assert.equal(result.errors, 0)
  await again.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})
