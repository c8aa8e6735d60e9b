import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { blockBytes, copied, hashOf, openCopyRig, randomOf, write } from './copy-rig.ts'
import { lostWrites, recordFor } from './records.ts'
import { caller, longestMs, MiB, startWriter, until } from './rig.ts'
import { skipXfs } from './xfs.ts'

const refused = (code: string, message?: RegExp) => (error: unknown) =>
  isDomainError(error) && error.code === code && (message?.test(error.message) ?? true)

test(
  'a clone of an image that a storage daemon writes to is that of one instant',
  { skip: skipXfs },
  async (t) => {
    const { rig, storage, newImage, ref, pathOf } = await openCopyRig(t)
    const source = await newImage('one', 64 * MiB)
    const image = await storage.fileAccess(source)
    const spec = { holderId: 'h', volumeId: 'v', image, serves: true }
    const head = await rig.holders.ensureHolder(caller, spec)
    const first = await startWriter(t, head, { perSecond: 0 })
    await until('something is written', async () => (await first.writes()) > 2000)
    const before = await first.stop()

    const writer = await startWriter(t, head, { perSecond: 500 })
    await until('it writes', async () => (await writer.writes()) > 50)
    const clones: { path: string; hash: string; ms: number }[] = []
    for (let i = 0; i < 5; i += 1) {
      const clone = ref('one')
      const began = performance.now()
      const { sizeBytes, readOnly } = await storage.ensureClone(caller, clone, source)
      const ms = performance.now() - began
      assert.deepEqual({ sizeBytes, readOnly }, { sizeBytes: 64 * MiB, readOnly: false })
      clones.push({ path: pathOf(clone), hash: hashOf(pathOf(clone)), ms })
      const since = await writer.writes()
      await until('it writes on', async () => (await writer.writes()) > since + 50)
    }
    const result = await writer.stop()
    t.diagnostic(
      `cloned in ${clones.map(({ ms }) => ms.toFixed(1)).join(', ')} ms; longest write ${longestMs(result).toFixed(0)} ms`,
    )
    assert.equal(result.errors, 0)
    assert.deepEqual(await lostWrites(image.path, result), [])
    assert.equal(new Set(clones.map(({ hash }) => hash)).size, 5, 'each is of another instant')
    for (const { path, hash } of clones) {
      assert.equal(hashOf(path), hash, 'what the client wrote since is not in it')
      const bytes = readFileSync(path)
      for (const block of before.acked.keys()) {
        const found = bytes.subarray(block * blockBytes, (block + 1) * blockBytes)
        assert.equal(
          found.readUInt32BE(0),
          block,
          'a write acknowledged before the clone is there, or a later one',
        )
        assert.ok(recordFor(block, found.readUInt32BE(4)).equals(found), `block ${block} is torn`)
      }
    }
  },
)

test(
  'a clone is found again, writable though its source is kept, and refused where blocks cannot be shared',
  { skip: skipXfs },
  async (t) => {
    const { storage, newImage, ref, pathOf } = await openCopyRig(t)
    const source = await newImage('one', 16 * MiB)
    write(pathOf(source), 0, 8 * MiB)
    await storage.ensureImageReadOnly(caller, source, true)
    const clone = ref('one')
    await storage.ensureClone(caller, clone, source)
    assert.equal(statSync(pathOf(clone)).mode & 0o777, 0o600)
    write(pathOf(clone), 0, blockBytes, randomOf(99))
    const hash = hashOf(pathOf(clone))
    assert.notEqual(hash, hashOf(pathOf(source)))
    await storage.ensureClone(caller, clone, source)
    assert.equal(hashOf(pathOf(clone)), hash, 'one that is there is left as it is')
    const { allocatedBytes, uniqueBytes } = await storage.flexVolUsage({ aggregate: 'one', name: 'fv1' })
    assert.ok(allocatedBytes >= 15 * MiB, String(allocatedBytes))
    assert.ok(uniqueBytes <= 8.2 * MiB, String(uniqueBytes))

    await storage.ensureImageSize(caller, clone, 32 * MiB)
    await assert.rejects(storage.ensureClone(caller, clone, source), refused('conflict'))
    await assert.rejects(storage.ensureClone(caller, ref('one'), ref('one')), refused('notFound'))
    const elsewhere = ref('two')
    await assert.rejects(
      storage.ensureClone(caller, elsewhere, source),
      refused('notImplemented', /cannot share blocks/),
    )
    assert.equal(await storage.imageInfo(elsewhere), undefined)
    assert.deepEqual(
      (await storage.inventory()).filter(({ kind }) => kind === 'image-part'),
      [],
    )
  },
)

test(
  'a target that a storage daemon has open is brought up to date under it',
  { skip: skipXfs },
  async (t) => {
    const { rig, storage, newImage, ref, pathOf } = await openCopyRig(t)
    const live = await newImage('one', 64 * MiB)
    write(pathOf(live), 0, 40 * MiB)
    const snapshot = ref('one')
    await storage.ensureClone(caller, snapshot, live)
    const there = ref('two')
    await copied(storage, { from: snapshot, to: there, rate: 0 })
    write(pathOf(live), 10 * MiB, 3 * MiB)
    write(pathOf(live), 50 * MiB, MiB)
    const spec = { holderId: 'h', volumeId: 'v', image: await storage.fileAccess(live), serves: true }
    const writer = await startWriter(t, await rig.holders.ensureHolder(caller, spec), { perSecond: 300 })
    await until('it writes', async () => (await writer.writes()) > 100)

    // The live volume itself is refused: somebody writes to it. So it goes by a clone of it.
    const to = ref('two')
    await storage.ensureClone(caller, to, there)
    const request = { to, base: { from: snapshot, to: there }, ontoOpen: true, rate: 0 }
    await assert.rejects(
      storage.ensureImageCopy(caller, { ...request, from: live }),
      refused('conflict', /open for writing/),
    )
    const instant = ref('one')
    await storage.ensureClone(caller, instant, live)
    const target = { holderId: 'target', volumeId: 'v', image: await storage.fileAccess(to), serves: false }
    await rig.holders.ensureHolder(caller, target)
    const { doneBytes } = await copied(storage, { ...request, from: instant })
    t.diagnostic(`${doneBytes / MiB} MiB were read`)
    assert.ok(doneBytes < 30 * MiB, String(doneBytes))
    assert.equal(hashOf(pathOf(to)), hashOf(pathOf(instant)))
    assert.equal((await writer.stop()).errors, 0)
    // Again, as after an agent's restart, and onto a target of unknown content.
    assert.equal((await copied(storage, { ...request, from: instant })).doneBytes, doneBytes)
    write(pathOf(to), 60 * MiB, MiB)
    await copied(storage, { from: instant, to, ontoOpen: true, rate: 0 })
    assert.equal(hashOf(pathOf(to)), hashOf(pathOf(instant)))
    await rig.holders.ensureNoHolder(caller, 'target')
    await rig.holders.ensureNoHolder(caller, 'h')
  },
)
