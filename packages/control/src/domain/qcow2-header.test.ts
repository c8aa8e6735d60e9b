import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { isQcow2, readQcow2Header } from './qcow2-header.ts'

const folder = mkdtempSync(join(tmpdir(), 'volant-'))
after(() => rmSync(folder, { recursive: true }))

const tebi = 1024 ** 4
const make = (name: string, ...args: string[]): Buffer => {
  const path = join(folder, name)
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...args.slice(0, -1), path, args.at(-1) ?? ''])
  return readFileSync(path)
}
const read = (file: Buffer, maximum = tebi) => readQcow2Header(file, file.length, maximum)
/** A copy with one thing changed. */
const spoiled = (file: Buffer, change: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(file)
  change(copy)
  return copy
}
const refused = (file: Buffer, reason: RegExp) =>
  assert.throws(() => read(file), { code: 'invalid', message: reason })

const right = make('right', '1G')

test('what qemu-img makes is accepted, whatever its options', () => {
  assert.deepEqual(read(right), { version: 3, clusterBytes: 65_536, virtualSizeBytes: 2 ** 30 })
  for (const options of [
    'compat=0.10',
    'cluster_size=512',
    'cluster_size=2M',
    'extended_l2=on,cluster_size=128k',
  ]) {
    assert.equal(read(make('options', '-o', options, '100M')).virtualSizeBytes, 100 * 2 ** 20, options)
  }
  assert.equal(read(make('zstd', '-o', 'compression_type=zstd', '1M')).version, 3)
  assert.equal(read(make('lazy', '-o', 'lazy_refcounts=on', '1M')).version, 3)
  assert.equal(read(make('tiny', '512')).virtualSizeBytes, 512)
})

test('a backing file, an external data file and encryption are refused', () => {
  refused(make('backed', '-b', join(folder, 'right'), '-F', 'qcow2', '1G'), /backing file/)
  refused(make('external', '-o', `data_file=${join(folder, 'data')}`, '1M'), /external data file/)
  refused(
    spoiled(right, (file) => file.writeBigUInt64BE(4n, 72)),
    /external data file/,
  )
  const headerLength = right.readUInt32BE(100)
  refused(
    spoiled(right, (file) => file.writeUInt32BE(0x44415441, headerLength)),
    /external data file/,
  )
  refused(
    spoiled(right, (file) => file.writeUInt32BE(2, 32)),
    /encrypted/,
  )
})

test('what is no qcow2, cut off or corrupt is refused', () => {
  assert.equal(isQcow2(Buffer.alloc(3)), false)
  refused(Buffer.alloc(65_536), /magic number/)
  refused(Buffer.from('hello'), /magic number/)
  refused(right.subarray(0, 60), /cut off/)
  refused(right.subarray(0, 90), /cut off/)
  refused(right.subarray(0, 1024), /not lie within the file|extension/)
  const fields: [at: number, value: number, reason: RegExp][] = [
    [4, 1, /version is 1/],
    [20, 8, /cluster size/],
    [20, 60, /cluster size/],
    [36, 0, /L1 table has 0/],
    [36, 0xffffffff, /L1 table/],
    [56, 0, /reference counts/],
    [56, 0xffffffff, /reference counts/],
    [60, 3, /snapshots/],
    [96, 7, /reference counts/],
    [100, 8, /length/],
    [100, 0xfffffff8, /length/],
  ]
  for (const [at, value, reason] of fields) {
    refused(
      spoiled(right, (file) => file.writeUInt32BE(value, at)),
      reason,
    )
  }
  refused(
    spoiled(right, (file) => file.writeBigUInt64BE(2n, 72)),
    /corrupt/,
  )
  refused(
    spoiled(right, (file) => file.writeBigUInt64BE(1n << 60n, 72)),
    /features/,
  )
  refused(
    spoiled(right, (file) => file.writeBigUInt64BE(1n << 40n, 40)),
    /within the file/,
  )
})

test('absurd sizes are refused', () => {
  for (const size of [0n, 1n << 62n, (1n << 64n) - 1n, 1000n]) {
    refused(
      spoiled(right, (file) => file.writeBigUInt64BE(size, 24)),
      /size|bytes/,
    )
  }
  assert.throws(() => read(right, 2 ** 30 - 1), /at most 1073741823 are allowed/)
})

test('random damage is either refused as invalid or harmless, and never anything else', () => {
  let state = 7
  const next = (limit: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return state % limit
  }
  for (let round = 0; round < 5000; round++) {
    const file = spoiled(right, (copy) => {
      for (let damages = 0; damages <= next(3); damages++) copy.writeUInt8(next(256), next(200))
    })
    try {
      assert.ok(read(file).virtualSizeBytes > 0)
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'invalid', String(error))
    }
  }
})
