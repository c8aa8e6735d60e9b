import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { findByCommandWord } from '@volant/qemu/process.ts'
import { loopsIn, mountsIn } from './aggregate-place.ts'
import { GiB, openShareRig, skipShares } from './share-rig.ts'

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

  assert.deepEqual(await rig.ensure(), await rig.fileSystems.status(shareId), 'what is there is left alone')
  assert.equal(readFileSync(file).length, 2 ** 26)

  assert.equal((await rig.fileSystems.ensureSize(shareId, 10 * GiB)).sizeBytes, 10 * GiB)
  assert.equal((await rig.fileSystems.ensureSize(shareId, 10 * GiB)).sizeBytes, 10 * GiB)
  await assert.rejects(rig.fileSystems.ensureSize(shareId, 2 * GiB), refused('conflict'))
  assert.equal((await rig.ensure()).sizeBytes, 10 * GiB, 'its size is its own')

  await rig.fileSystems.ensureNo(shareId)
  await rig.fileSystems.ensureNo(shareId)
  assert.deepEqual(rig.fileSystems.ids(), [])
  assert.deepEqual(mountsIn(rig.folder), [])
  assert.deepEqual(loopsIn(rig.folder), [])
  assert.deepEqual(findByCommandWord(`mount=${rig.device}`), [])
  assert.deepEqual(readdirSync(join(rig.folder, 'f/file-systems')), [])

  const again = await rig.ensure({ content: 'keep' })
  assert.equal(again.sizeBytes, 10 * GiB)
  assert.ok(existsSync(file), 'it has what it had')
})
