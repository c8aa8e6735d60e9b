import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDomainError } from '@volant/contract'
import { blockBytes, copiersOf, hashOf, openCopyRig, randomOf, write } from './copy-rig.ts'
import { startCopyingAgent } from './copy-agent.ts'
import { caller, MiB, until } from './rig.ts'
import { skipXfs } from './xfs.ts'

const refused = (code: string, message?: RegExp) => (error: unknown) =>
  isDomainError(error) && error.code === code && (message?.test(error.message) ?? true)
const allocated = (path: string): number => statSync(path).blocks * 512
const fv = (aggregate: string) => ({ aggregate, name: 'fv1' })

test(
  'a copy holds its rate, pauses, goes on, and ends at once when it is told to',
  { skip: skipXfs },
  async (t) => {
    const { storage, newImage, ref, pathOf } = await openCopyRig(t)
    const from = await newImage('one', 64 * MiB)
    write(pathOf(from), 0, 48 * MiB)
    const to = ref('two')
    const status = () => storage.imageCopyStatus(to.imageId)
    const began = performance.now()
    await storage.ensureImageCopy(caller, { from, to, rate: 4 * MiB })
    await until('8 MiB are copied', async () => (await status()).doneBytes >= 8 * MiB)
    const seconds = (performance.now() - began) / 1000
    assert.ok(seconds > 1.5, `8 MiB at 4 MiB/s took only ${seconds.toFixed(2)} s`)
    await assert.rejects(storage.ensureNoImage(caller, from), refused('conflict', /being copied/))
    await assert.rejects(storage.ensureNoImage(caller, to), refused('conflict', /being copied/))
    await assert.rejects(storage.ensureImage(caller, to, 64 * MiB), refused('conflict'))
    await assert.rejects(storage.ensureNoFlexVol(caller, fv('two')), refused('conflict'))

    await storage.ensureImageCopyPaused(caller, to.imageId, true)
    await sleep(500) // what was under way
    const paused = await status()
    assert.equal(paused.phase, 'paused')
    await storage.setImageCopyRate(caller, to.imageId, 0)
    await sleep(1000)
    assert.deepEqual(await status(), { ...paused, rate: 0 })
    const items = (await storage.inventory()).filter(({ imageId }) => imageId === to.imageId)
    assert.deepEqual(items.map(({ kind }) => kind).toSorted(), ['image-part', 'process'])
    for (const item of items.filter(({ kind }) => kind === 'image-part')) {
      await assert.rejects(storage.removeStray(caller, item), refused('conflict'))
    }

    assert.equal(copiersOf(to).length, 1)
    await storage.ensureNoImageCopy(caller, to.imageId)
    assert.deepEqual(copiersOf(to), [])
    assert.equal((await status()).phase, 'absent')
    assert.equal(existsSync(`${pathOf(to)}.new`), false)
    assert.equal(await storage.imageInfo(to), undefined)

    await storage.ensureImageCopy(caller, { from, to, rate: 0 })
    await storage.ensureImageCopyPaused(caller, to.imageId, true)
    await storage.ensureImageCopyPaused(caller, to.imageId, false)
    await until('done', async () => (await status()).phase === 'done')
    assert.equal(hashOf(pathOf(to)), hashOf(pathOf(from)))
    assert.deepEqual(await status(), { phase: 'done', doneBytes: 48 * MiB, totalBytes: 48 * MiB, rate: 0 })
    // Of every 16 blocks written at once the last was zero; here one in 48 MiB.
    assert.ok(allocated(pathOf(to)) <= allocated(pathOf(from)))
    await storage.ensureNoImage(caller, to)
    assert.equal((await status()).phase, 'absent')
    await storage.ensureNoFlexVol(caller, fv('two'))
    await storage.ensureNoFlexVol(caller, fv('two'))
    assert.equal(existsSync(join(pathOf(to), '..')), false)
  },
)

test(
  'a copier that is killed at a random moment leaves no target, and is begun anew',
  { skip: skipXfs },
  async (t) => {
    const { storage, newImage, ref, pathOf } = await openCopyRig(t)
    const from = await newImage('one', 64 * MiB)
    write(pathOf(from), 0, 40 * MiB)
    const to = ref('two')
    const status = () => storage.imageCopyStatus(to.imageId)
    for (let i = 0; i < 8; i += 1) {
      await storage.ensureImageCopy(caller, { from, to, rate: 200 * MiB })
      await sleep(Math.random() * 150)
      for (const pid of copiersOf(to)) process.kill(pid, 'SIGKILL')
      await until('it has ended', async () => !['copying', 'paused'].includes((await status()).phase))
      const { phase, error } = await status()
      assert.equal(existsSync(pathOf(to)), phase === 'done')
      if (phase === 'done') break
      assert.match(error ?? '', /was not copied/)
      assert.equal(existsSync(`${pathOf(to)}.new`), false)
    }
    await storage.ensureImageCopy(caller, { from, to, rate: 0 })
    await until('done', async () => (await status()).phase === 'done')
    assert.equal(hashOf(pathOf(to)), hashOf(pathOf(from)))
  },
)

test(
  'a target without room fails in words, leaves nothing, and more room lets it begin anew',
  { skip: skipXfs },
  async (t) => {
    const { rig, newImage, pathOf } = await openCopyRig(t)
    const from = await newImage('plain', 64 * MiB)
    write(pathOf(from), 0, 24 * MiB)
    const small = mkdtempSync(join(tmpdir(), 'vd-small-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', small])
    t.after(() => {
      execFileSync('umount', [small])
      rmSync(small, { recursive: true })
    })
    const node = rig.storageAgent({
      stateDir: join(rig.folder, 'sn'),
      aggregates: [
        { name: 'plain', path: join(rig.folder, 'plain') },
        { name: 'small', path: small },
      ],
    })
    await node.ensureFlexVol(caller, fv('small'))
    const to = { ...from, imageId: crypto.randomUUID(), aggregate: 'small' }
    const status = () => node.imageCopyStatus(to.imageId)
    await node.ensureImageCopy(caller, { from, to, rate: 0 })
    await until('it has failed', async () => (await status()).phase === 'failed')
    assert.match((await status()).error ?? '', /the target cannot be written: there is no space left/)
    assert.deepEqual(await node.flexVolUsage(fv('small')), { images: 0, allocatedBytes: 0, uniqueBytes: 0 })
    execFileSync('mount', ['-o', 'remount,size=64m', small])
    await node.ensureImageCopy(caller, { from, to, rate: 0 })
    await until('done', async () => (await status()).phase === 'done')
    assert.equal(hashOf(join(small, 'fv1', to.imageId)), hashOf(pathOf(from)))
  },
)

test(
  'the copy of an agent that is killed ends with it, and another agent begins it anew',
  { skip: skipXfs },
  async (t) => {
    const { rig, options, newImage, ref, pathOf } = await openCopyRig(t)
    const from = await newImage('one', 64 * MiB)
    write(pathOf(from), 0, 40 * MiB)
    for (const isStopped of [false, true]) {
      const to = ref('two')
      const agent = await startCopyingAgent(t, options, { from, to, rate: 20 * MiB })
      await until('the copier works', async () => copiersOf(to).length === 1)
      await sleep(Math.random() * 300)
      // One that is stopped cannot see that its agent has died: the next agent must end it.
      const [pid = 0] = copiersOf(to)
      if (isStopped) process.kill(pid, 'SIGSTOP')
      await agent.kill()
      if (!isStopped) await until('the copier has ended', async () => copiersOf(to).length === 0)
      assert.equal(existsSync(pathOf(to)), false)
      assert.equal(existsSync(`${pathOf(to)}.new`), true, 'the agent died over it')

      const next = rig.storageAgent(options)
      assert.equal((await next.imageCopyStatus(to.imageId)).phase, 'absent')
      await next.ensureImageCopy(caller, { from, to, rate: MiB })
      assert.equal(copiersOf(to).includes(pid), false)
      await next.setImageCopyRate(caller, to.imageId, 0)
      await until('done', async () => (await next.imageCopyStatus(to.imageId)).phase === 'done')
      assert.equal(hashOf(pathOf(to)), hashOf(pathOf(from)))

      // What is whole is found again by the agent after that one.
      const third = rig.storageAgent(options)
      await third.ensureImageCopy(caller, { from, to, rate: 0 })
      assert.equal((await third.imageCopyStatus(to.imageId)).phase, 'done')
      assert.deepEqual(copiersOf(to), [])
    }
    // A removal, too, ends what a dead agent has left.
    const to = ref('two')
    const agent = await startCopyingAgent(t, options, { from, to, rate: MiB })
    const [pid = 0] = copiersOf(to)
    process.kill(pid, 'SIGSTOP')
    await agent.kill()
    await rig.storageAgent(options).ensureNoImage(caller, to)
    assert.deepEqual(copiersOf(to), [])
    assert.equal(existsSync(`${pathOf(to)}.new`), false)
  },
)

test('a source that is written to while it is copied makes no target', { skip: skipXfs }, async (t) => {
  const { storage, newImage, ref, pathOf } = await openCopyRig(t)
  const from = await newImage('one', 32 * MiB)
  write(pathOf(from), 0, 24 * MiB)
  const to = ref('two')
  const status = () => storage.imageCopyStatus(to.imageId)
  await storage.ensureImageCopy(caller, { from, to, rate: 4 * MiB })
  await until('it copies', async () => (await status()).doneBytes > 0)
  await sleep(20) // a tick of the file system's clock
  write(pathOf(from), 0, blockBytes, randomOf(3))
  await storage.setImageCopyRate(caller, to.imageId, 0)
  await until('it has failed', async () => (await status()).phase === 'failed')
  assert.match((await status()).error ?? '', /somebody wrote to the source/)
  assert.equal(await storage.imageInfo(to), undefined)
})

test('a copy leaves the page cache to others, while it runs and afterwards', { skip: skipXfs }, async (t) => {
  const { storage, newImage, ref, pathOf } = await openCopyRig(t)
  const from = await newImage('one', 96 * MiB)
  const to = ref('two')
  write(pathOf(from), 0, 96 * MiB)
  execFileSync('dd', [`if=${pathOf(from)}`, 'iflag=nocache', 'count=0', 'status=none'])
  execFileSync('sync', [pathOf(from)])
  execFileSync('dd', [`if=${pathOf(from)}`, 'iflag=nocache', 'count=0', 'status=none'])
  /** Of one that is renamed meanwhile: nothing. */
  const cachedOf = (path: string): number => {
    const words = ['--noheadings', '--bytes', '--output', 'RES', path]
    return Number(spawnSync('fincore', words, { encoding: 'utf8' }).stdout.trim())
  }
  const cached = (): number =>
    [from, to].reduce((sum, image) => sum + cachedOf(pathOf(image)), cachedOf(`${pathOf(to)}.new`))
  assert.ok(cached() < MiB, 'the source is not cached to begin with')
  await storage.ensureImageCopy(caller, { from, to, rate: 48 * MiB })
  let [most, looks] = [0, 0]
  await until('it is done', async () => {
    most = Math.max(most, cached())
    looks += 1
    return (await storage.imageCopyStatus(to.imageId)).phase === 'done'
  })
  t.diagnostic(`at most ${(most / MiB).toFixed(1)} of 192 MiB, in ${looks} looks`)
  assert.ok(looks > 5 && most > 0)
  // 8 MiB are read ahead, and as much is on its way to the disk; twice that, for what the kernel does by itself.
  assert.ok(most < 48 * MiB, `${most} bytes cached`)
  assert.ok(cached() < 2 * MiB)
  assert.equal(hashOf(pathOf(to)), hashOf(pathOf(from)))
})

test('the speed of copies, beside that of cp', { skip: skipXfs }, async (t) => {
  const { newImage, ref, copied, pathOf } = await openCopyRig(t)
  const from = await newImage('one', 64 * MiB)
  write(pathOf(from), 0, 64 * MiB)
  const measured: Record<'cp' | 'copy', number[]> = { cp: [], copy: [] }
  for (let i = 0; i < 4; i += 1) {
    const to = ref('two')
    const timed = async (kind: keyof typeof measured, task: () => Promise<unknown>): Promise<void> => {
      execFileSync('sync')
      const began = performance.now()
      await task()
      measured[kind].push(Math.round(performance.now() - began))
    }
    await timed('copy', () => copied({ from, to, rate: 0 }))
    const path = pathOf(ref('two'))
    await timed('cp', async () => {
      execFileSync('cp', ['--sparse=always', pathOf(from), path])
      execFileSync('sync', [path])
    })
    assert.equal(hashOf(pathOf(to)), hashOf(path))
  }
  t.diagnostic(`64 MiB, in ms: ${JSON.stringify(measured)} (cp with a sync of the file)`)
})
