import { DomainError } from '@volant/contract'

/**
 * The header of a qcow2 file as QEMU's docs/interop/qcow2.txt has it, read strictly: whatever would make QEMU
 * open another file, or do a great deal of work, is refused before QEMU sees it.
 */
export interface Qcow2Header {
  version: 2 | 3
  clusterBytes: number
  /** Of the disk in it. */
  virtualSizeBytes: number
}

/** As much of the file's beginning as is needed at the most: one cluster of 2 MiB. */
export const headerBytes = 2 * 1024 * 1024

const magic = 0x514649fb
const extensions = { end: 0, externalData: 0x44415441, encryption: 0x0537be77 }
const incompatible = { dirty: 1n, corrupt: 2n, externalData: 4n, compression: 8n, extendedL2: 16n }
const mebi = 1024 * 1024

export const isQcow2 = (start: Buffer): boolean => start.length >= 4 && start.readUInt32BE(0) === magic

/** `start`: the file's first bytes, up to `headerBytes` of them. Throws `invalid`. */
export function readQcow2Header(start: Buffer, fileBytes: number, maxVirtualBytes: number): Qcow2Header {
  if (!isQcow2(start)) refuse("it does not begin with qcow2's magic number; is it really of this format?")
  if (start.length < 72) refuse('its header is cut off')
  const version = start.readUInt32BE(4)
  if (version !== 2 && version !== 3) refuse(`its version is ${version}; versions 2 and 3 are supported`)
  if (start.readBigUInt64BE(8) !== 0n) {
    refuse('it has a backing file. Flatten it first: qemu-img convert -O qcow2')
  }
  const clusterBits = start.readUInt32BE(20)
  if (clusterBits < 9 || clusterBits > 21) refuse(`its cluster size is 2^${clusterBits} bytes`)
  const clusterBytes = 2 ** clusterBits
  if (start.readUInt32BE(32) !== 0) refuse('it is encrypted')
  checkFeatures(start, version)
  const headerLength = version === 2 ? 72 : start.readUInt32BE(100)
  if (headerLength < (version === 2 ? 72 : 104) || headerLength > clusterBytes || headerLength % 8 !== 0) {
    refuse('its header has no valid length')
  }
  checkExtensions(start, headerLength, clusterBytes)
  const virtualSize = checkSize(start, clusterBytes, maxVirtualBytes)
  checkTables(start, clusterBytes, fileBytes)
  return { version, clusterBytes, virtualSizeBytes: virtualSize }
}

function refuse(reason: string): never {
  throw new DomainError('invalid', `The data is refused as a qcow2 image: ${reason}.`)
}

function checkFeatures(start: Buffer, version: 2 | 3): void {
  if (version === 2) return
  if (start.length < 104) refuse('its header is cut off')
  const bits = start.readBigUInt64BE(72)
  if ((bits & incompatible.externalData) !== 0n) refuse('it has an external data file')
  if ((bits & incompatible.corrupt) !== 0n) refuse('it is marked as corrupt')
  const known = incompatible.dirty | incompatible.compression | incompatible.extendedL2
  if ((bits & ~known) !== 0n) refuse('it needs features that are not known')
  const refcountOrder = start.readUInt32BE(96)
  if (refcountOrder > 6) refuse(`its reference counts have 2^${refcountOrder} bits`)
}

function checkExtensions(start: Buffer, from: number, clusterBytes: number): void {
  const end = Math.min(clusterBytes, start.length)
  for (let at = from; at + 8 <= end;) {
    const type = start.readUInt32BE(at)
    const length = start.readUInt32BE(at + 4)
    if (type === extensions.end) return
    if (type === extensions.externalData) refuse('it names an external data file')
    if (type === extensions.encryption) refuse('it is encrypted')
    if (length > end - at - 8) refuse('an extension of its header does not end within the first cluster')
    at += 8 + Math.ceil(length / 8) * 8
  }
}

function checkSize(start: Buffer, clusterBytes: number, maxVirtualBytes: number): number {
  const size = start.readBigUInt64BE(24)
  if (size === 0n) refuse('its disk has no size')
  if (size > BigInt(maxVirtualBytes)) {
    refuse(`its disk would be ${size} bytes; at most ${maxVirtualBytes} are allowed`)
  }
  if (size % 512n !== 0n) refuse(`its disk's size, ${size} bytes, is no multiple of 512`)
  const l1Entries = start.readUInt32BE(36)
  const perL1Entry = (BigInt(clusterBytes) * BigInt(clusterBytes)) / 8n
  const needed = (size + perL1Entry - 1n) / perL1Entry
  // An extended L2 table has half as many entries, hence up to twice the L1 entries.
  if (BigInt(l1Entries) < needed || BigInt(l1Entries) > needed * 2n + 1024n) {
    refuse(`its L1 table has ${l1Entries} entries where a disk of ${size} bytes needs ${needed}`)
  }
  if (l1Entries * 8 > 32 * mebi) refuse('its L1 table is too large')
  return Number(size)
}

function checkTables(start: Buffer, clusterBytes: number, fileBytes: number): void {
  const within = (name: string, offset: bigint, bytes: number): void => {
    if (offset % BigInt(clusterBytes) !== 0n || offset + BigInt(bytes) > BigInt(fileBytes)) {
      refuse(`its ${name} does not lie within the file; was it uploaded whole?`)
    }
  }
  within('L1 table', start.readBigUInt64BE(40), start.readUInt32BE(36) * 8)
  const refcountBytes = start.readUInt32BE(56) * clusterBytes
  if (refcountBytes === 0 || refcountBytes > 8 * mebi)
    refuse('its table of reference counts has no valid size')
  within('table of reference counts', start.readBigUInt64BE(48), Math.min(refcountBytes, clusterBytes))
  const snapshots = start.readUInt32BE(60)
  if (snapshots > 0)
    refuse(`it holds ${snapshots} internal snapshots. Delete them first: qemu-img snapshot -d`)
}
