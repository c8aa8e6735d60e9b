import assert from 'node:assert/strict'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { imageInfo, removeImage, setReadOnly } from './images.ts'

const mebibyte = 1024 * 1024

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'images-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('an image is gone by its name at once, its blocks piece by piece, and in the end nothing is left', async (t) => {
  const folder = folderOf(t)
  const path = join(folder, 'image')
  writeFileSync(path, Buffer.alloc(80 * mebibyte, 1))
  chmodSync(path, 0o400) // as a source that was kept
  const sizes = new Set<number>()
  const removed = removeImage(path)
  let seenAgain = false
  const watch = setInterval(() => {
    // One call: between a question and the next the file may be gone.
    const hidden = statSync(`${path}.gone`, { throwIfNoEntry: false })
    if (hidden !== undefined) sizes.add(hidden.size)
    seenAgain ||= sizes.size > 0 && existsSync(path)
  }, 1)
  t.after(() => clearInterval(watch))
  await removed
  assert.equal(seenAgain, false, 'its name is gone at once')
  assert.ok(sizes.size >= 2, `seen sizes: ${[...sizes].join(', ')}`)
  assert.deepEqual(readdirSync(folder), [])
})

test('a removal that a crash cut short goes on when it is repeated', async (t) => {
  const folder = folderOf(t)
  const path = join(folder, 'image')
  writeFileSync(path, Buffer.alloc(mebibyte, 1))
  renameSync(path, `${path}.gone`)
  await removeImage(path)
  assert.deepEqual(readdirSync(folder), [])
  await removeImage(path)
})

test("an image's change mark stays while nobody writes, and is another after a write or a change of permission", async (t) => {
  const path = join(folderOf(t), 'image')
  writeFileSync(path, Buffer.alloc(mebibyte, 1))
  const info = async () => imageInfo(path, 'image')
  const first = await info()
  readFileSync(path)
  assert.deepEqual(await info(), first, 'reading changes nothing')

  // What a file system's clock may be too coarse to show is shown by waiting for its next tick.
  await sleep(20)
  const file = openSync(path, 'r+')
  writeSync(file, Buffer.from([7]), 0, 1, 0)
  closeSync(file)
  const written = await info()
  assert.notEqual(written?.changeMark, first?.changeMark)

  await sleep(20)
  await setReadOnly(path, true)
  const kept = await info()
  assert.equal(kept?.readOnly, true)
  assert.notEqual(kept?.changeMark, written?.changeMark)

  // Whoever sets the time of change back after a write does not get the mark back.
  await sleep(20)
  const { atime, mtime } = statSync(path)
  utimesSync(path, atime, mtime)
  assert.notEqual((await info())?.changeMark, kept?.changeMark)
})
