import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { Copier, copyWord, usageOf } from './copier.ts'

const MiB = 2 ** 20

/** An image with data at both ends, zeroes that were written, and a hole. */
function openFolder(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'copier-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const at = (name: string): string => join(folder, name)
  const image = Buffer.alloc(16 * MiB)
  image.fill('a', 0, 2 * MiB)
  image.fill(0, MiB, MiB + 8192)
  image.fill('z', 15 * MiB)
  writeFileSync(at('from'), '')
  truncateSync(at('from'), image.length)
  const file = openSync(at('from'), 'r+')
  writeSync(file, image, 0, 3 * MiB, 0)
  writeSync(file, image, 15 * MiB, MiB, 15 * MiB)
  closeSync(file)
  const words = (...more: string[]) => [
    'image',
    copyWord('x'),
    `from=${at('from')}`,
    `to=${at('to')}`,
    ...more,
  ]
  return { folder, at, image, words }
}

async function run(args: string[]): Promise<{ reason: string | undefined; output: string }> {
  let output = ''
  const copier = await Copier.start(args, (text) => (output += text))
  return { reason: await copier.ended(), output }
}

test('a copy is equal and thin: neither holes nor zeroes that were written take space', async (t) => {
  const { at, image, words } = openFolder(t)
  const { reason, output } = await run(words(`part=${at('to.new')}`))
  assert.equal(reason, undefined)
  assert.match(output, /^total 4194304\n/)
  assert.match(output, /\ndone 4194304\n$/)
  assert.ok(readFileSync(at('to')).equals(image))
  assert.equal(statSync(at('to')).blocks * 512, 3 * MiB - 8192)
  assert.equal(existsSync(at('to.new')), false)
})

test('a target that is there is brought up to date in place, and its holes come back', async (t) => {
  const { at, image, words } = openFolder(t)
  writeFileSync(at('to'), Buffer.alloc(image.length, 'x'))
  const { ino } = statSync(at('to'))
  assert.equal((await run(words())).reason, undefined)
  assert.ok(readFileSync(at('to')).equals(image))
  assert.equal(statSync(at('to')).ino, ino)
  assert.equal(statSync(at('to')).blocks * 512, 3 * MiB - 8192)
  truncateSync(at('to'), 8 * MiB)
  assert.match((await run(words())).reason ?? '', /another size/)
})

test('it ends when its input ends, at whatever it is, and gives no part the name of the whole', async (t) => {
  const { at, words } = openFolder(t)
  for (const command of ['pause', 'rate 65536']) {
    const copier = await Copier.start(words(`part=${at('to.new')}`, 'rate=65536'), () => {})
    copier.tell(command)
    await sleep(50)
    await copier.end()
    assert.match((await copier.ended()) ?? '', /status 4/)
    assert.equal(existsSync(at('to')), false)
    rmSync(at('to.new'), { force: true })
  }
})

test('what stands in the way is told in words', async (t) => {
  const { at, words } = openFolder(t)
  writeFileSync(at('to.new'), 'of somebody else')
  assert.match((await run(words(`part=${at('to.new')}`))).reason ?? '', /cannot be opened: File exists/)
  assert.match((await run(['image', `from=${at('none')}`, `to=${at('to')}`])).reason ?? '', /No such file/)
  assert.match((await run(['image', 'of=x'])).reason ?? '', /^usage: /)
  assert.match((await run(['watch', copyWord('x'), '--', 'false'])).reason ?? '', /status 1/)
})

test('what files occupy is counted: all of it, and what several share once', async (t) => {
  const { folder, at } = openFolder(t)
  writeFileSync(at('5e2a1f6c-8b0d-4a51-9c3e-7f10a2b3c4d5'), Buffer.alloc(MiB, 'b'))
  const usage = await usageOf(folder)
  assert.equal(usage.images, 1)
  assert.equal(usage.allocatedBytes, 5 * MiB)
  assert.ok(
    usage.uniqueBytes <= usage.allocatedBytes && usage.uniqueBytes >= 4 * MiB,
    String(usage.uniqueBytes),
  )
  assert.deepEqual(await usageOf(at('none')), { images: 0, allocatedBytes: 0, uniqueBytes: 0 })
})
