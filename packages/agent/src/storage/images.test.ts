import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { removeImage } from './images.ts'

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
