/** The on-disk format of the probe (record.h), for the verifier. See README.md. */
import { crc32 } from 'node:zlib'

export const blockBytes = 4096
const sectorBytes = 512
const serialBytes = 20
export const tableFirstBlock = 1
export const tableSlots = 255
export const dataFirstBlock = 256
const crcOffset = 4080
const headBytes = 96

export const blockMagic = 'VPBLOCK1'
export const sessionMagic = 'VPSESSN1'

/** The head of a block that the probe wrote. */
export interface ProbeRecord {
  magic: string
  serial: string
  thread: number
  threads: number
  /** Of the disk, in units of 4096 bytes. */
  block: number
  /** Of its thread in its session, from 1; 0 in a session's header. */
  seq: number
  /** 16 hexadecimal digits. */
  sessionId: string
  session: number
  /** Length of the data area. */
  blocks: number
  fill: number
  iops: number
  /** Bytes of the disk when the session began. */
  size: number
}

/** What decides which block a thread's write goes to. */
export type SessionPlan = Pick<ProbeRecord, 'threads' | 'blocks' | 'fill' | 'sessionId'>

export const decodeRecord = (block: Buffer): ProbeRecord => ({
  magic: block.toString('latin1', 0, 8),
  serial: block.toString('latin1', 8, 28).replace(/\0+$/, ''),
  thread: block.readUInt16LE(28),
  threads: block.readUInt16LE(30),
  block: Number(block.readBigUInt64LE(32)),
  seq: Number(block.readBigUInt64LE(40)),
  sessionId: block.readBigUInt64LE(48).toString(16).padStart(16, '0'),
  session: block.readUInt32LE(56),
  blocks: block.readUInt32LE(60),
  fill: block.readUInt32LE(64),
  iops: block.readUInt32LE(68),
  size: Number(block.readBigUInt64LE(80)),
})

const checksum = (block: Buffer): number =>
  crc32(block.subarray(crcOffset + 4, blockBytes), crc32(block.subarray(0, crcOffset)))

export type BlockState =
  /** Zeroes: never written, or discarded. */
  | 'empty'
  /** The probe's, whole and undamaged. */
  | 'whole'
  /** Its sectors come from different writes. */
  | 'torn'
  /** Damaged, or not the probe's at all. */
  | 'corrupt'

/** The sectors' stamps (sequence number and session) as one text each. */
const sectorStamps = (block: Buffer): Set<string> => {
  const stamps = new Set<string>()
  for (let end = sectorBytes; end <= blockBytes; end += sectorBytes) {
    stamps.add(block.toString('latin1', end - 8, end))
  }
  return stamps
}

const zeroes = Buffer.alloc(blockBytes)

/** `block` has 4096 bytes. */
export const examineBlock = (block: Buffer, magic: string): BlockState => {
  if (block.equals(zeroes)) return 'empty'
  if (block.toString('latin1', 0, 8) === magic && block.readUInt32LE(crcOffset) === checksum(block))
    return 'whole'
  return sectorStamps(block).size > 1 ? 'torn' : 'corrupt'
}

const mix = (value: number): number => {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/**
 * The targets of one thread's writes: a function from the sequence number to the block, counted from the start
 * of the data area. The same function as `target_of` in record.c.
 */
export const targetsOf = (plan: SessionPlan, thread: number): ((seq: number) => number) => {
  const owned = Math.floor((plan.blocks - thread + plan.threads - 1) / plan.threads)
  const low = Number.parseInt(plan.sessionId.slice(8), 16)
  const high = Number.parseInt(plan.sessionId.slice(0, 8), 16)
  const seed = mix(low ^ mix((high + thread) | 0))
  return (seq) => {
    const nth = seq <= plan.fill ? (seq - 1) % owned : mix((seed + Math.imul(seq, 0x9e3779b9)) | 0) % owned
    return thread + plan.threads * nth
  }
}

/** Writes a record as the probe does; for synthetic images in tests. */
export const encodeRecord = (record: ProbeRecord): Buffer => {
  const block = Buffer.alloc(blockBytes)
  block.write(record.magic, 0, 8, 'latin1')
  block.write(record.serial, 8, serialBytes, 'latin1')
  block.writeUInt16LE(record.thread, 28)
  block.writeUInt16LE(record.threads, 30)
  block.writeBigUInt64LE(BigInt(record.block), 32)
  block.writeBigUInt64LE(BigInt(record.seq), 40)
  block.writeBigUInt64LE(BigInt(`0x${record.sessionId}`), 48)
  block.writeUInt32LE(record.session, 56)
  block.writeUInt32LE(record.blocks, 60)
  block.writeUInt32LE(record.fill, 64)
  block.writeUInt32LE(record.iops, 68)
  block.writeBigUInt64LE(BigInt(record.size), 80)
  for (let at = headBytes; at < blockBytes; at += 4)
    block.writeUInt32LE((at * 2654435761 + record.seq) >>> 0, at)
  for (let end = sectorBytes; end <= blockBytes; end += sectorBytes) {
    block.writeUInt32LE(record.seq >>> 0, end - 8)
    block.writeUInt32LE(Number.parseInt(record.sessionId.slice(8), 16), end - 4)
  }
  block.writeUInt32LE(checksum(block), crcOffset)
  return block
}
