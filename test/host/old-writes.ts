/** What a guest that was shut out has on an image, and that nothing of it is added any more. */
import { blockMagic, dataFirstBlock, decodeRecord, examineBlock } from '../../probe/format.ts'
import { readBlocks } from '../../probe/image-reader.ts'

/** The guest's records: by block its newest write there, as thread and sequence number. */
export type WritesOfSession = Map<number, string>

/** Past the page cache, as what the guest wrote with direct I/O. */
export async function writesOfSession(imagePath: string, sessionId: string): Promise<WritesOfSession> {
  const found: WritesOfSession = new Map()
  for await (const { number, data } of readBlocks({ imagePath }, dataFirstBlock, 1 << 18)) {
    if (examineBlock(data, blockMagic) !== 'whole') continue
    const record = decodeRecord(data)
    if (record.sessionId === sessionId) found.set(number, `${record.thread}:${record.seq}`)
  }
  return found
}

/** Blocks that hold a write of the guest now and did not hold it then. Others may have written over its own since. */
export const arrivedSince = (then: WritesOfSession, now: WritesOfSession): string[] =>
  [...now]
    .filter(([block, write]) => then.get(block) !== write)
    .map(([block, write]) => `block ${block} holds write ${write}`)
