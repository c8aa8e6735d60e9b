/** Reads a raw image past the page cache: what its writers, with direct I/O, have really put there. */
import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import { blockBytes } from './format.ts'

const run = promisify(execFile)
/** Holes smaller than this are read rather than skipped: a `dd` for each is dearer. */
const joinedHoleBytes = 8 << 20

export type ImageSource = { imagePath: string } | { nbdUri: string }

export interface Block {
  /** In units of 4096 bytes. */
  number: number
  /** 4096 bytes, valid until the next block is asked for. */
  data: Buffer
}

interface Region {
  start: number
  end: number
}

/** The parts of the image that may hold something else than zeroes, from `qemu-img map`. */
const dataRegions = async (imagePath: string, range: Region): Promise<Region[]> => {
  const { stdout } = await run('qemu-img', ['map', '-U', '-f', 'raw', '--output=json', imagePath], {
    maxBuffer: 1 << 30,
  })
  const extents = JSON.parse(stdout) as { start: number; length: number; data: boolean }[]
  const regions: Region[] = []
  for (const extent of extents) {
    if (!extent.data) continue
    const start = Math.max(range.start, extent.start)
    const end = Math.min(range.end, extent.start + extent.length)
    if (start >= end) continue
    const last = regions.at(-1)
    if (last !== undefined && start - last.end < joinedHoleBytes) last.end = end
    else regions.push({ start: start - (start % blockBytes), end })
  }
  return regions
}

const outputOf = async function* (command: string, args: string[]): AsyncGenerator<Buffer> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
  const ended = new Promise<number | null>((resolve, reject) =>
    child.once('error', reject).once('close', resolve),
  )
  ended.catch(() => undefined)
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer
    const code = await ended
    if (code !== 0) throw new Error(`${command} ended with ${code}: ${complaint.trim()}`)
  } finally {
    child.kill('SIGKILL')
  }
}

/** Cuts a stream of bytes that starts at a block's border into blocks. */
const blocksOf = async function* (bytes: AsyncIterable<Buffer>, first: number): AsyncGenerator<Block> {
  let number = first
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of bytes) {
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    for (; at + blockBytes <= data.length; at += blockBytes) {
      yield { number, data: data.subarray(at, at + blockBytes) }
      number += 1
    }
    rest = data.subarray(at)
  }
}

const directRead = (imagePath: string, region: Region, direct: boolean): AsyncGenerator<Buffer> =>
  outputOf('dd', [
    `if=${imagePath}`,
    'bs=1M',
    'status=none',
    `iflag=${direct ? 'direct,' : ''}skip_bytes,count_bytes`,
    `skip=${region.start}`,
    `count=${region.end - region.start}`,
  ])

/** Not every file system can read directly (tmpfs); such a one has no other copy than its page cache. */
const canReadDirectly = async (imagePath: string): Promise<boolean> => {
  try {
    await run('dd', [`if=${imagePath}`, 'of=/dev/null', 'bs=4096', 'count=1', 'iflag=direct', 'status=none'])
    return true
  } catch {
    return false
  }
}

/** The blocks between two block numbers that are not in a hole, in rising order. */
export const readBlocks = async function* (
  source: ImageSource,
  first: number,
  count: number,
): AsyncGenerator<Block> {
  const range = { start: first * blockBytes, end: (first + count) * blockBytes }
  if ('nbdUri' in source) {
    for await (const block of blocksOf(outputOf('nbdcopy', [source.nbdUri, '-']), 0)) {
      if (block.number >= first + count) return
      if (block.number >= first) yield block
    }
    return
  }
  const direct = await canReadDirectly(source.imagePath)
  for (const region of await dataRegions(source.imagePath, range)) {
    yield* blocksOf(directRead(source.imagePath, region, direct), region.start / blockBytes)
  }
}

/** One block; zeroes in a hole or beyond the image's end. */
export const readBlock = async (source: ImageSource, number: number): Promise<Buffer> => {
  for await (const block of readBlocks(source, number, 1)) return Buffer.from(block.data)
  return Buffer.alloc(blockBytes)
}
