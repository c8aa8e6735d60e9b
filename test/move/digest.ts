/** What an image holds, as one word: equal for equal content, however its holes lie. */
import { createHash } from 'node:crypto'
import { readBlocks } from '../../probe/image-reader.ts'

const zeroes = Buffer.alloc(4096)

/** Over each block that is not zero, with its place. Past the page cache; of an image that nobody writes to. */
export async function digestOf(imagePath: string): Promise<string> {
  const hash = createHash('sha256')
  const place = Buffer.alloc(8)
  for await (const { number, data } of readBlocks({ imagePath }, 0, Number.MAX_SAFE_INTEGER / 4096)) {
    if (data.equals(zeroes)) continue
    place.writeBigUInt64BE(BigInt(number))
    hash.update(place).update(data)
  }
  return hash.digest('hex')
}
