/** A copy of a head's image as it is at one instant, while its client writes on. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { isDomainError, type ImageAccess } from '@volant/contract'
import { blockBytes, lostWrites, recordFor, type WriterResult } from './records.ts'
import { caller, longestMs, MiB, openRig, startWriter, until, type Rig, type Writer } from './rig.ts'

const holderId = 'att-1'
const jobId = 'op-1'
const sizeBytes = 64 * MiB
/** What the client writes to: so little that it is soon full. */
const written = 16 * MiB
/** Bytes per second: a copy that is under way until it is let go. */
const crawling = 4096
const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code
const copyOf = (target: ImageAccess, rate = 0) => ({ holderId, jobId, target, rate })
const phaseOf = async (rig: Rig) => (await rig.holders.pointCopyStatus(holderId, jobId)).phase

async function openHead(t: TestContext) {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(sizeBytes), await rig.newImage(sizeBytes)]
  const head = await rig.holders.ensureHolder(caller, {
    holderId,
    volumeId: 'vol-1',
    image: source.access,
    serves: true,
  })
  return { rig, source, target, head }
}

async function fill(t: TestContext, head: Parameters<typeof startWriter>[1]): Promise<WriterResult> {
  const writer = await startWriter(t, head, { perSecond: 0, sizeBytes: written })
  await until('there is something to copy', async () => (await writer.writes()) > 2000)
  return writer.stop()
}

const letGo = (rig: Rig) => rig.holders.setMirrorRate(caller, holderId, jobId, 0)

async function goesOn(writer: Writer): Promise<void> {
  const before = await writer.writes()
  await until('the client writes on', async () => (await writer.writes()) > before + 20)
}

test('what a client writes after the call is not in the copy, and all of before is', async (t) => {
  const { rig, source, target, head } = await openHead(t)
  await fill(t, head)
  const asItWas = join(rig.folder, 'as-it-was')
  execFileSync('cp', ['--sparse=always', source.access.path, asItWas])
  await rig.holders.ensurePointCopy(caller, copyOf(target.access, crawling))
  // Nobody wrote since the last byte of the file above was read; from here on somebody does.
  const writer = await startWriter(t, head, { perSecond: 0, sizeBytes: written })
  await rig.holders.ensurePointCopy(caller, copyOf(target.access))
  assert.equal(await phaseOf(rig), 'copying')
  await assert.rejects(
    rig.holders.ensureMirror(caller, copyOf((await rig.newImage(sizeBytes)).access)),
    refused('conflict'),
  )
  await assert.rejects(rig.holders.ensureSize(caller, holderId, 2 * sizeBytes), refused('conflict'))
  assert.equal((await rig.holders.holderStatus(holderId))?.imageId, source.ref.imageId)
  await goesOn(writer)
  await letGo(rig)
  await until('the copy is done', async () => (await phaseOf(rig)) === 'done')
  const result = await writer.stop()
  const status = await rig.holders.pointCopyStatus(holderId, jobId)
  assert.deepEqual(status, { phase: 'done', doneBytes: sizeBytes, totalBytes: sizeBytes })
  const [wanted, found] = await Promise.all([readFile(asItWas), readFile(target.access.path)])
  assert.ok(wanted.equals(found), 'the copy is the image at the instant')
  t.diagnostic(
    `${result.writes} writes beside the copy, longest ${longestMs(result).toFixed(1)} ms; ` +
      `occupied then ${statSync(asItWas).blocks / 2} KiB, in the copy ${statSync(target.access.path).blocks / 2} KiB`,
  )
  assert.equal(result.errors + result.connections, 1)

  // Done, it is closed: it may be removed, and a mirror may begin. It stays told until it is forgotten.
  await rig.storage.ensureNoImage(caller, target.ref)
  await rig.holders.ensureMirror(caller, { ...copyOf((await rig.newImage(sizeBytes)).access), jobId: 'op-2' })
  await assert.rejects(
    rig.holders.ensurePointCopy(caller, { ...copyOf(target.access), jobId: 'op-3' }),
    refused('conflict'),
  )
  await rig.holders.ensureNoMirror(caller, holderId, 'op-2')
  assert.equal(await phaseOf(rig), 'done')
  for (const _ of [1, 2]) await rig.holders.ensureNoPointCopy(caller, holderId, jobId)
  assert.equal(await phaseOf(rig), 'absent')
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})

/**
 * Each lane of the client writes one record after the other, with rising numbers. So of each lane the copy must hold
 * everything up to one write, and nothing after it. Returns the writes that it lacks or has torn.
 */
async function notOfOneInstant(path: string, result: WriterResult, lanes: number): Promise<string[]> {
  const wrong: string[] = []
  const file = await open(path, 'r')
  const found = new Map<number, number>()
  const latest = Array<number>(lanes).fill(0)
  const buffer = Buffer.alloc(blockBytes)
  for (const block of new Set([...result.acked.keys(), ...result.inFlight.keys()])) {
    await file.read(buffer, 0, blockBytes, block * blockBytes)
    const seq = buffer.readUInt32BE(4)
    if (seq !== 0 && !recordFor(block, seq).equals(buffer)) wrong.push(`block ${block} is torn`)
    found.set(block, seq)
    latest[block % lanes] = Math.max(latest[block % lanes] ?? 0, seq)
  }
  await file.close()
  for (const [block, seq] of result.acked) {
    const upTo = latest[block % lanes] ?? 0
    if (seq <= upTo && found.get(block) !== seq) wrong.push(`block ${block} lacks ${seq}, of before ${upTo}`)
  }
  return wrong
}

test('a client with writes in flight at the instant finds one order of them in the copy', async (t) => {
  const { rig, target, head } = await openHead(t)
  const lanes = 8
  const writer = await startWriter(t, head, { perSecond: 0, lanes, sizeBytes: written })
  await until('there is something to copy', async () => (await writer.writes()) > 2000)
  const before = await writer.writes()
  await rig.holders.ensurePointCopy(caller, copyOf(target.access, crawling))
  const after = await writer.writes()
  await until('the client writes on', async () => (await writer.writes()) > after + 500)
  await letGo(rig)
  await until('the copy is done', async () => (await phaseOf(rig)) === 'done')
  const result = await writer.stop()
  t.diagnostic(
    `${after - before} writes during the call, ${result.writes} in all, longest ${longestMs(result).toFixed(1)} ms`,
  )
  assert.equal(result.errors + result.connections, 1)
  assert.deepEqual(await notOfOneInstant(target.access.path, result, lanes), [])
})

test('a copy that is ended half-way leaves the client alone and its target removable', async (t) => {
  const { rig, source, target, head } = await openHead(t)
  await fill(t, head)
  const writer = await startWriter(t, head, { sizeBytes: written })
  await rig.holders.ensurePointCopy(caller, copyOf(target.access, crawling))
  await assert.rejects(rig.storage.ensureNoImage(caller, target.ref), refused('conflict'))
  const copies = (await rig.holders.inventory()).filter(({ kind }) => kind === 'mirror')
  assert.deepEqual(
    copies.map((item) => [item.imageId, item.jobId]),
    [[target.ref.imageId, jobId]],
  )
  const again = rig.restartHolders()
  await again.adopt()
  assert.equal(await phaseOf(rig), 'copying', 'it goes on under another agent')
  const [copy] = (await again.inventory()).filter(({ kind }) => kind === 'mirror')
  assert.ok(copy)
  await again.removeStray(caller, copy)
  assert.equal(await phaseOf(rig), 'absent')
  await rig.storage.ensureNoImage(caller, target.ref)
  await goesOn(writer)
  const result = await writer.stop()
  assert.equal(result.errors + result.connections, 1)
  await again.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})

test('a copy is lost with its daemon, and the next one is of a later instant', async (t) => {
  const { rig, source, target, head } = await openHead(t)
  const writer = await startWriter(t, head, { sizeBytes: written })
  await until('there is something to copy', async () => (await writer.writes()) > 100)
  await rig.holders.ensurePointCopy(caller, copyOf(target.access, crawling))
  process.kill(head.pid, 'SIGKILL')
  await until('the copy is lost', async () => (await phaseOf(rig).catch(() => 'unknown')) === 'failed')
  await goesOn(writer)
  await rig.holders.ensurePointCopy(caller, copyOf(target.access))
  await until('the copy is done', async () => (await phaseOf(rig)) === 'done')
  const result = await writer.stop()
  assert.equal(result.errors, 0)
  assert.deepEqual(await notOfOneInstant(target.access.path, result, 4), [])
  await rig.holders.ensureNoHolder(caller, holderId)
  assert.deepEqual(await lostWrites(source.access.path, result), [])
})

for (const [what, signal] of [
  ['dies', 'SIGKILL'],
  ['does not answer', 'SIGSTOP'],
] as const) {
  test(`a target whose daemon ${what} costs the copy, and the client no error`, async (t) => {
    const { rig, source, target, head } = await openHead(t)
    await fill(t, head)
    const remote = await rig.storage.ensureExport(caller, 'att-1', target.ref, 'host1')
    await rig.holders.ensurePointCopy(caller, copyOf(remote, crawling))
    const writer = await startWriter(t, head, { perSecond: 0, sizeBytes: written })
    await until('the client writes', async () => (await writer.writes()) > 200)
    const [{ pid } = { pid: 0 }] = await rig.storage.listExports()
    if (signal === 'SIGKILL') await rig.storage.ensureNoExport(caller, 'att-1')
    else process.kill(pid, signal) // what is silent for long is killed by its agent
    await goesOn(writer)
    await letGo(rig) // one that is paced sees it at its next read
    await until('the copy has failed', async () => (await phaseOf(rig).catch(() => 'unknown')) === 'failed')
    await goesOn(writer)
    const { error } = await rig.holders.pointCopyStatus(holderId, jobId)
    await rig.holders.ensureNoPointCopy(caller, holderId, jobId)
    const result = await writer.stop()
    t.diagnostic(`longest ${longestMs(result).toFixed(0)} ms, ${result.connections} connections: ${error}`)
    assert.equal(result.errors, 0)
    await rig.holders.ensureNoHolder(caller, holderId)
    assert.deepEqual(await lostWrites(source.access.path, result), [])
  })
}
