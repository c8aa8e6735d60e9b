import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, open, rm, truncate } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { promisify } from 'node:util'
import { ensureProbeProgram } from './build.ts'
import { blockBytes, blockMagic, dataFirstBlock, encodeRecord, sessionMagic, targetsOf } from './format.ts'
import type { ProbeRecord } from './format.ts'
import { verifyImage } from './verify.ts'

const run = promisify(execFile)
const serial = '7d4c0e1e-0000-4000-8'
const size = 8 << 20
const threads = 2
const blocks = 1500

let folder: string
let imagePath: string
let image: FileHandle

const header = (session: number): ProbeRecord => ({
  magic: sessionMagic,
  serial,
  thread: 0xffff,
  threads,
  block: session,
  seq: 0,
  sessionId: `00c0ffee0000000${session}`,
  session,
  blocks,
  fill: 0,
  iops: 500,
  size,
})

const put = (number: number, data: Buffer): Promise<unknown> =>
  image.write(data, 0, data.length, number * blockBytes)

const blockOf = (session: number, thread: number, seq: number): number =>
  dataFirstBlock + targetsOf({ ...header(session) }, thread)(seq)

const write = (session: number, thread: number, seq: number): Buffer => {
  const block = blockOf(session, thread, seq)
  return encodeRecord({ ...header(session), magic: blockMagic, thread, block, seq })
}

const found = (session: number): string =>
  `PROBE vdb found serial=${serial} size=${size} session=${session} id=${header(session).sessionId} threads=${threads} blocks=${blocks} fill=0 iops=500 t=1.000`

const progress = (session: number, acks: number[], more = 'errors=0 reads=0 bad=0'): string =>
  `PROBE vdb serial=${serial} acked=0 iops=500 maxms=3.2 inflightms=41.5 ${more} acks=${acks.join(',')} session=${session} id=${header(session).sessionId} t=2.000`

const begin = async (session: number): Promise<void> => {
  await put(session, encodeRecord(header(session)))
  const tail = size / blockBytes - 1
  await put(tail, encodeRecord({ ...header(session), block: tail }))
}

const writeAll = async (session: number, thread: number, last: number): Promise<void> => {
  for (let seq = 1; seq <= last; seq += 1)
    await put(blockOf(session, thread, seq), write(session, thread, seq))
}

const verify = (lines: string[], more: { live?: boolean; inheritedSerials?: string[] } = {}) =>
  verifyImage({ imagePath, consoleLog: `boot\r\n${lines.join('\r\n')}\r\n`, serial, ...more })

/** The last write of a thread that was not overwritten by a later one, seen from `last` writes. */
const survivor = (session: number, thread: number, last: number): number => {
  const target = targetsOf(header(session), thread)
  const newest = new Map<number, number>()
  for (let seq = 1; seq <= last; seq += 1) newest.set(target(seq), seq)
  return Math.min(...[...newest.values()].filter((seq) => seq > last / 2))
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'probe-'))
  imagePath = join(folder, 'image')
})
after(() => rm(folder, { recursive: true, force: true }))

beforeEach(async () => {
  await image?.close()
  image = await open(imagePath, 'w+')
  await image.truncate(size)
  await begin(1)
  await writeAll(1, 0, 300)
  await writeAll(1, 1, 200)
})
after(() => image.close())

test('a complete image passes, with writes in flight beyond the last line', async () => {
  const report = await verify([found(1), progress(1, [299, 180])])
  assert.deepEqual(report.problems, [])
  assert.equal(report.ok, true)
  assert.equal(report.acknowledgedWrites, 479)
  assert.equal(report.maxLatencyMs, 41.5)
  assert.equal(report.sessions, 1)
  assert.ok(report.blocksChecked > 400)
})

test('a lost write is found, and one older than the acknowledged one too', async () => {
  const seq = survivor(1, 0, 300)
  await put(blockOf(1, 0, seq), Buffer.alloc(blockBytes))
  const report = await verify([found(1), progress(1, [300, 200])])
  assert.equal(report.lost, 1)
  assert.match(report.problems[0] ?? '', /holds nothing, not write/)

  // A block written twice that still holds the first write.
  const target = targetsOf(header(1), 1)
  let second = 2
  const seen = new Map<number, number>([[target(1), 1]])
  while (!seen.has(target(second))) seen.set(target(second), second++)
  const first = seen.get(target(second)) ?? 0
  await put(blockOf(1, 0, seq), write(1, 0, seq))
  await put(blockOf(1, 1, second), write(1, 1, first))
  const stale = await verify([found(1), progress(1, [300, second])], { live: true })
  assert.equal(stale.lost, 1)
  assert.equal(stale.ok, false)
  // Without that write's acknowledgement there is nothing wrong.
  assert.equal((await verify([found(1), progress(1, [300, second - 1])], { live: true })).lost, 0)
})

test('the newest write of a thread proves those before it, whatever the console had time to say', async () => {
  const seq = survivor(1, 0, 250)
  await put(blockOf(1, 0, seq), Buffer.alloc(blockBytes))
  assert.equal((await verify([found(1), progress(1, [seq - 1, 100])])).lost, 1)
  assert.equal((await verify([found(1), progress(1, [seq - 1, 100])], { live: true })).lost, 0)
})

test('torn, corrupt and misplaced blocks are told apart', async () => {
  const torn = write(1, 0, 300)
  write(1, 0, 299).copy(torn, 512, 512, 1024)
  await put(blockOf(1, 0, 300), torn)
  const corrupt = write(1, 1, 200)
  corrupt.writeUInt8(corrupt.readUInt8(2000) ^ 1, 2000)
  await put(blockOf(1, 1, 200), corrupt)
  await put(blockOf(1, 1, 199), write(1, 1, 150))
  const report = await verify([found(1), progress(1, [300, 200])])
  assert.deepEqual(
    [report.lost, report.torn, report.corrupt, report.misplaced, report.ok],
    [0, 1, 1, 1, false],
  )
})

test('a whole block with a sequence number that never went there is misplaced', async () => {
  const block = blockOf(1, 0, 10)
  await put(block, encodeRecord({ ...header(1), magic: blockMagic, thread: 0, block, seq: 11 }))
  assert.equal((await verify([found(1), progress(1, [300, 200])])).misplaced, 1)
})

test('a later session outranks an earlier one, and losing its writes is seen', async () => {
  await begin(2)
  await writeAll(2, 0, 50)
  const log = [found(1), progress(1, [300, 200]), found(2), progress(2, [50, 0])]
  assert.equal((await verify(log)).ok, true)
  const overwritten = [...Array(50).keys()].map((n) => n + 1).find((seq) => survivesTwice(seq))
  assert.ok(overwritten !== undefined)
  await put(blockOf(2, 0, overwritten), Buffer.alloc(blockBytes))
  assert.equal((await verify(log)).lost, 1)
  await put(blockOf(2, 0, overwritten), write(2, 0, overwritten))
  await put(2, Buffer.alloc(blockBytes))
  assert.match((await verify(log)).problems.join('\n'), /the header of session 2/)
})

/** Whether this write of session 2 is the last one to its block. */
const survivesTwice = (seq: number): boolean => {
  const target = targetsOf(header(2), 0)
  for (let later = seq + 1; later <= 50; later += 1) if (target(later) === target(seq)) return false
  return true
}

test("errors and bad reads of the guest are reported, and another volume's blocks are foreign or inherited", async () => {
  const log = [found(1), progress(1, [300, 200], 'errors=2 reads=5 bad=1')]
  const report = await verify(log)
  assert.deepEqual([report.errorsSeenByGuest, report.badReads, report.ok], [2, 1, false])
  const unwritten = Array.from({ length: blocks }, (_, n) => n).find(
    (n) =>
      !Array.from({ length: 300 }, (_, seq) => blockOf(1, 0, seq + 1)).includes(n + dataFirstBlock) &&
      n % 2 === 0,
  )
  assert.ok(unwritten !== undefined)
  const block = unwritten + dataFirstBlock
  await put(
    block,
    encodeRecord({ ...header(1), serial: 'other', magic: blockMagic, thread: 0, block, seq: 1 }),
  )
  assert.equal((await verify(log)).misplaced, 1)
  assert.equal((await verify(log, { inheritedSerials: ['other'] })).misplaced, 0)
})

test('garbled console lines are passed over', async () => {
  const cut = progress(1, [9999, 9999]).replace(' session=', ' [    1.0] oops sess')
  const half = progress(1, [9999, 9999]).slice(0, -5)
  assert.equal((await verify([found(1), progress(1, [300, 200]), cut, half])).ok, true)
})

test('what the C program writes, the verifier finds right; and an old copy of it wrong', async () => {
  const program = await ensureProbeProgram(join(import.meta.dirname, '..', '.cache'))
  const path = join(folder, 'file')
  await open(path, 'w').then((file) => file.close())
  await truncate(path, 32 << 20)
  const write = async (seconds: string): Promise<string> => {
    const args = [path, '--serial', serial, '--iops', '4000', '--threads', '3', '--seconds', seconds]
    return (await run(program, [...args, '--fill', String(4 << 20)])).stdout
  }
  const first = await write('1.2')
  await run('cp', ['--sparse=always', path, `${path}.old`])
  const log = first + (await write('0.4'))
  const report = await verifyImage({ imagePath: path, consoleLog: log, serial })
  assert.deepEqual(report.problems, [])
  assert.equal(report.ok, true)
  assert.equal(report.sessions, 2)
  assert.ok(report.acknowledgedWrites > 1500, `${report.acknowledgedWrites} writes`)
  const old = await verifyImage({ imagePath: `${path}.old`, consoleLog: log, serial })
  assert.ok(old.lost > 100, `${old.lost} lost`)
  assert.equal(old.torn + old.corrupt + old.misplaced, 0)
  assert.equal((await verifyImage({ imagePath: `${path}.old`, consoleLog: first, serial })).ok, true)
})
