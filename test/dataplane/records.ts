import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { NbdAddress } from '@volant/qemu/nbd-client.ts'

export const blockBytes = 4096

export interface WriterOptions {
  address: NbdAddress
  exportName: string
  sizeBytes: number
  lanes: number
  /** 0: as fast as it goes. */
  perSecond: number
}

export interface WriterResult {
  /** Block to the last sequence number that was acknowledged. */
  acked: Map<number, number>
  inFlight: Map<number, number>
  latencies: { at: number; ms: number }[]
  writes: number
  connections: number
  errors: number
}

/** A block that says what it is: block, sequence number at both ends, and bytes that follow from both. */
export function recordFor(block: number, seq: number): Buffer {
  const record = Buffer.alloc(blockBytes, createHash('sha256').update(`${block}:${seq}`).digest())
  record.writeUInt32BE(block, 0)
  record.writeUInt32BE(seq, 4)
  record.writeUInt32BE(seq, blockBytes - 4)
  return record
}

/** Acknowledged writes that the image does not hold. A write that was under way may be there or not. */
export async function lostWrites(imagePath: string, result: WriterResult): Promise<string[]> {
  const lost: string[] = []
  const file = await open(imagePath, 'r')
  try {
    const found = Buffer.alloc(blockBytes)
    for (const [block, seq] of result.acked) {
      await file.read(found, 0, blockBytes, block * blockBytes)
      const candidates = [seq, result.inFlight.get(block)].filter((candidate) => candidate !== undefined)
      if (candidates.some((candidate) => recordFor(block, candidate).equals(found))) continue
      lost.push(`block ${block}: acknowledged ${seq}, found ${found.readUInt32BE(4)}`)
    }
  } finally {
    await file.close()
  }
  return lost
}
