import assert from 'node:assert/strict'
import { link, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import type { ImageFiles } from '../ports/images.ts'
import { localImageFiles } from './image-files.ts'

let folder: string
let files: ImageFiles
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'volant-'))
  files = await localImageFiles(join(folder, 'images'), 150)
})
after(() => rm(folder, { recursive: true }))

const names = () => readdir(join(folder, 'images'))
const maxBytes = 1000

test('the folder and the files are their owner’s alone', async () => {
  const id = crypto.randomUUID()
  await files.keep(id, await files.receive(id, Readable.from([Buffer.from('x')]), { maxBytes }))
  assert.equal((await stat(join(folder, 'images'))).mode & 0o777, 0o700)
  assert.equal((await stat(files.path(id))).mode & 0o777, 0o600)
  await files.remove(id)
})

test('an upload that stalls, breaks off or grows too large leaves nothing', async () => {
  const id = crypto.randomUUID()
  const stalled = new PassThrough()
  stalled.write('x')
  await assert.rejects(files.receive(id, stalled, { maxBytes }), { code: 'invalid', message: /stalled/ })
  const broken = new PassThrough()
  broken.write('x')
  setTimeout(() => broken.destroy(), 20)
  await assert.rejects(files.receive(id, broken, { maxBytes }), { code: 'invalid' })
  const large = Readable.from([Buffer.alloc(600), Buffer.alloc(600)])
  await assert.rejects(files.receive(id, large, { maxBytes }), { code: 'tooLarge' })
  assert.deepEqual(await names(), [])
})

test('one that is slow but goes on is received', async () => {
  const slow = Readable.from(
    (async function* chunks() {
      for (let part = 0; part < 6; part++) {
        await new Promise((resolve) => setTimeout(resolve, 50))
        yield Buffer.from('ab')
      }
    })(),
  )
  const received = await files.receive(crypto.randomUUID(), slow, { maxBytes })
  assert.equal(received.sizeBytes, 12)
  await files.discard(received)
})

test('an id that is no UUID never becomes a path', () => {
  for (const id of ['../x', '', '/etc/passwd', 'a'.repeat(36)]) {
    assert.throws(() => files.path(id), { code: 'notFound' })
  }
})

test('a file is taken in by a link, and its changes are noticed', async () => {
  const id = crypto.randomUUID()
  const source = join(folder, 'kernel')
  await writeFile(source, 'one')
  const since = new Date()
  await files.keep(id, await files.take(id, source))
  assert.equal((await stat(files.path(id))).ino, (await stat(source)).ino)
  assert.equal(await files.isCopyOf(id, source, new Date(since.getTime() + 1000)), true)
  await new Promise((resolve) => setTimeout(resolve, 20))
  // In place, hence through the link too.
  await writeFile(source, 'two')
  assert.equal(await files.isCopyOf(id, source, since), false)
  // Replaced by a rename.
  await writeFile(join(folder, 'new'), 'three')
  await rm(source)
  await link(join(folder, 'new'), source)
  assert.equal(await files.isCopyOf(id, source, new Date()), false)
  assert.equal(await readFile(files.path(id), 'utf8'), 'two')
})

test('what interrupted uploads left is swept, the rest stays', async () => {
  await writeFile(join(folder, 'images', `${crypto.randomUUID()}.x.part`), 'half')
  const before = await names()
  await files.sweep()
  assert.equal((await names()).length, before.length - 1)
})
