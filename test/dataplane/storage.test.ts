import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { caller, MiB, openRig, startWriter, until } from './rig.ts'

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code
const qemuImg = (...args: string[]): void => void execFileSync('qemu-img', args, { stdio: 'pipe' })

test('images are thin, complete or absent, and what they are asked to be', async (t) => {
  const rig = await openRig(t)
  const { ref } = await rig.newImage(64 * MiB)
  const { changeMark, ...created } = (await rig.storage.imageInfo(ref)) ?? {}
  assert.deepEqual(created, {
    imageId: ref.imageId,
    sizeBytes: 64 * MiB,
    allocatedBytes: 0,
    readOnly: false,
  })
  assert.match(String(changeMark), /^\d+\.\d+\.\d+$/)
  await rig.storage.ensureImage(caller, ref, 64 * MiB)
  await assert.rejects(rig.storage.ensureImage(caller, ref, 65 * MiB), refused('conflict'))
  await assert.rejects(
    rig.storage.ensureImage(caller, { ...ref, imageId: '../x' }, 64 * MiB),
    refused('invalid'),
  )
  await assert.rejects(
    rig.storage.ensureImage(caller, { ...ref, flexvol: '..' }, 64 * MiB),
    refused('invalid'),
  )
  await assert.rejects(
    rig.storage.ensureImage(caller, { ...ref, aggregate: 'x' }, 64 * MiB),
    refused('notFound'),
  )
  const elsewhere = { imageId: randomUUID(), aggregate: 'aggr1', flexvol: 'none' }
  await assert.rejects(rig.storage.ensureImage(caller, elsewhere, 64 * MiB), refused('notFound'))
  await rig.storage.ensureImageSize(caller, ref, 96 * MiB)
  await assert.rejects(rig.storage.ensureImageSize(caller, ref, 64 * MiB), refused('invalid'))
  const unfinished = `${(await rig.storage.fileAccess(ref)).path}.new`
  writeFileSync(unfinished, 'what a crash left')
  const images = (await rig.storage.inventory()).filter(({ kind }) => kind === 'image')
  assert.deepEqual(
    images.map(({ imageId }) => imageId),
    [ref.imageId],
  )
  await rig.storage.ensureNoImage(caller, ref)
  await rig.storage.ensureNoImage(caller, ref)
  assert.equal(await rig.storage.imageInfo(ref), undefined)
  assert.equal((await rig.storage.aggregateSpace('aggr1')).usedBytes, 0)
})

test('an image made from a qcow2 holds its content and is as thin; one that draws in other files is refused', async (t) => {
  const rig = await openRig(t)
  const { ref: blank } = await rig.newImage()
  const file = (name: string): string => join(rig.folder, name)
  const fd = openSync(file('raw'), 'w')
  writeSync(fd, Buffer.alloc(MiB, 'v'), 0, MiB, 8 * MiB)
  writeSync(fd, Buffer.alloc(4096), 0, 4096, 16 * MiB - 4096)
  closeSync(fd)
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', file('raw'), file('good'))
  qemuImg('create', '-q', '-f', 'qcow2', '-b', file('raw'), '-F', 'raw', file('backed'))
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${file('data')}`, file('split'), '16M')
  const make = (path: string, format: 'raw' | 'qcow2', sizeBytes = 32 * MiB) =>
    rig.storage.ensureImageFrom(caller, { ...blank, imageId: randomUUID() }, sizeBytes, { path, format })
  for (const [path, format] of [
    [file('good'), 'qcow2'],
    [file('raw'), 'raw'],
  ] as const) {
    const info = await make(path, format)
    assert.equal(info.sizeBytes, 32 * MiB)
    assert.equal(info.allocatedBytes, MiB)
    const { path: made } = await rig.storage.fileAccess({ ...blank, imageId: info.imageId })
    assert.ok(
      readFileSync(made)
        .subarray(0, 16 * MiB)
        .equals(readFileSync(file('raw'))),
    )
  }
  await assert.rejects(make(file('backed'), 'qcow2'), refused('invalid'))
  await assert.rejects(make(file('split'), 'qcow2'), refused('invalid'))
  await assert.rejects(make(file('raw'), 'qcow2'), refused('invalid'))
  await assert.rejects(make(file('good'), 'qcow2', 8 * MiB), refused('invalid'))
  const { usedBytes } = await rig.storage.aggregateSpace('aggr1')
  assert.equal(usedBytes, 2 * MiB, 'a refused image leaves nothing behind')
})

test('a target without room pauses the copy, and more room lets it go on', async (t) => {
  const rig = await openRig(t)
  const small = mkdtempSync(join(tmpdir(), 'vd-small-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', small])
  const node = rig.storageAgent({
    stateDir: join(rig.folder, 's2'),
    aggregates: [{ name: 'small', path: small }],
  })
  t.after(() => {
    execFileSync('umount', [small])
    rmSync(small, { recursive: true })
  })
  const source = await rig.newImage()
  const ref = { imageId: randomUUID(), aggregate: 'small', flexvol: 'fv' }
  await node.ensureFlexVol(caller, { aggregate: 'small', name: 'fv' })
  await node.ensureImage(caller, ref, 64 * MiB)
  const spec = { holderId: 'h', volumeId: 'v', image: source.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 0, lanes: 8 })
  await until('enough is written', async () => statSync(source.access.path).blocks * 512 > 12 * MiB)
  const result = await writer.stop()
  await rig.holders.ensureMirror(caller, {
    holderId: 'h',
    jobId: 'op',
    target: await node.fileAccess(ref),
    rate: 0,
  })
  const status = () => rig.holders.mirrorStatus('h', 'op')
  await until('the copy pauses', async () => (await status()).phase === 'paused')
  assert.match((await status()).error ?? '', /no space/)
  assert.equal((await status()).pausedByUser, false)
  await assert.rejects(rig.holders.prepareCutover(caller, 'h', 'op', 1000), refused('conflict'))
  execFileSync('mount', ['-o', 'remount,size=128m', small])
  await rig.holders.ensureMirrorPaused(caller, 'h', 'op', false)
  await until('the copy is ready', async () => (await status()).phase === 'ready')
  assert.equal(result.errors, 0)
  await rig.holders.ensureNoHolder(caller, 'h')
})
