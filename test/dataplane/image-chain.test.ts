import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ImageRef } from '@volant/contract'
import { blockBytes, hashOf, openCopyRig, randomOf, scribble, write } from './copy-rig.ts'
import { caller, MiB } from './rig.ts'
import { settleXfs, skipXfs } from './xfs.ts'

const allocated = (path: string): number => statSync(path).blocks * 512
const fv = (aggregate: string) => ({ aggregate, name: 'fv1' })

test(
  'snapshots that differ by 10 MiB each move as what differs, and stay shared',
  { skip: skipXfs },
  async (t) => {
    const { storage, newImage, clone, ref, copied, pathOf } = await openCopyRig(t)
    const size = 128 * MiB
    const live = await newImage('one', size)
    write(pathOf(live), 0, 100 * MiB)
    const snapshots: ImageRef[] = []
    for (let i = 0; i < 5; i += 1) {
      snapshots.push(await clone(live))
      write(pathOf(live), (5 + 20 * i) * MiB, 10 * MiB)
    }
    settleXfs(join(pathOf(live), '../..'))

    let moved = 0
    let base: { from: ImageRef; to: ImageRef } | undefined
    for (const from of [...snapshots, live]) {
      const to = ref('two')
      const { doneBytes } = await copied({ from, to, rate: 0, ...(base && { base }) })
      moved += doneBytes
      base = { from, to }
      assert.equal(hashOf(pathOf(to)), hashOf(pathOf(from)))
    }
    const [source, target] = [await storage.flexVolUsage(fv('one')), await storage.flexVolUsage(fv('two'))]
    t.diagnostic(`moved ${moved / MiB} MiB; ${JSON.stringify({ source, target })}`)
    assert.ok(moved <= 1.02 * 150 * MiB, `${moved} bytes were read`)
    assert.ok(moved >= 140 * MiB)
    assert.equal(target.images, 6)
    assert.ok(Math.abs(target.allocatedBytes / source.allocatedBytes - 1) < 0.05)
    assert.ok(Math.abs(target.uniqueBytes / source.uniqueBytes - 1) < 0.05)
    assert.ok(source.uniqueBytes < 1.05 * 150 * MiB)
  },
)

for (const seed of [1, 2]) {
  test(
    `what was written, trimmed, zeroed and reserved between snapshots is the same at the target (seed ${seed})`,
    { skip: skipXfs },
    async (t) => {
      const { newImage, storage, clone, ref, copied, pathOf } = await openCopyRig(t)
      const size = 32 * MiB
      const next = randomOf(seed)
      const live = await newImage('one', size)
      let base: { from: ImageRef; to: ImageRef } | undefined
      for (let i = 0; i < 4; i += 1) {
        scribble(pathOf(live), size, next)
        const from = await clone(live)
        const to = ref('two')
        await copied({ from, to, rate: 0, ...(base && { base }) })
        assert.equal(hashOf(pathOf(to)), hashOf(pathOf(from)), `image ${i}`)
        const [thin, source] = [allocated(pathOf(to)), allocated(pathOf(from))]
        assert.ok(thin <= source, `image ${i}: ${thin} bytes at the target, ${source} at the source`)
        base = { from, to }
      }
      // A base that grew since, and one on a file system that shares nothing with it.
      await storage.ensureImageSize(caller, live, size + 8 * MiB)
      write(pathOf(live), size + 4 * MiB, 64 * blockBytes)
      const to = ref('two')
      await copied({ from: live, to, rate: 0, ...(base && { base }) })
      assert.equal(hashOf(pathOf(to)), hashOf(pathOf(live)))
      const stranger = ref('plain')
      await copied({ from: live, to: stranger, rate: 0 })
      const another = ref('two')
      await copied({ from: live, to: another, rate: 0, base: { from: stranger, to } })
      assert.equal(hashOf(pathOf(another)), hashOf(pathOf(live)))
      const plain = ref('plain')
      await copied({ from: live, to: plain, rate: 0, base: { from: live, to: stranger } })
      assert.equal(hashOf(pathOf(plain)), hashOf(pathOf(live)))
    },
  )
}
