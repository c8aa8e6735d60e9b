import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { blockBytes, recordFor } from './records.ts'

/**
 * A client of a share's disk or file system, in a process of its own: what waits for a server that is away must hold
 * nobody up. Each lane writes self-describing blocks that only it writes, and notes what was acknowledged.
 */
export interface ShareWriterOptions {
  /** A disk, which is written to with O_DIRECT; or a file, which is synced after each write. */
  path: string
  isDisk: boolean
  blocks: number
  lanes: number
  /** Blocks of one write. 1. */
  blocksAtOnce?: number
}

export interface ShareWriterResult {
  acked: [block: number, seq: number][]
  inFlight: [block: number, seq: number][]
  writes: number
  errors: string[]
  longestMs: number
}

/** Of the language's own; its types come with a browser's. */
declare const WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } }

if (process.send !== undefined && process.argv[2] !== undefined) await main(JSON.parse(process.argv[2]))

async function main({ path, isDisk, blocks, lanes, blocksAtOnce = 1 }: ShareWriterOptions): Promise<void> {
  const acked = new Map<number, number>()
  const inFlight = new Map<number, number>()
  const errors: string[] = []
  let [running, writes, longestMs] = [true, 0, 0]
  const isRunning = (): boolean => running
  const flags = isDisk ? constants.O_DIRECT | constants.O_RDWR : constants.O_RDWR | constants.O_CREAT
  const file = await open(path, flags, 0o600)
  // Memory of its own begins at a page, as direct I/O wants it.
  const bytesAtOnce = blocksAtOnce * blockBytes
  const memory = new WebAssembly.Memory({ initial: Math.ceil((lanes * bytesAtOnce) / 65_536) }).buffer

  const lane = async (number: number): Promise<void> => {
    const bytes = Buffer.from(memory, number * bytesAtOnce, bytesAtOnce)
    const groups = Math.floor(blocks / blocksAtOnce)
    for (let seq = 1; isRunning(); seq++) {
      const group = Math.floor((Math.random() * groups) / lanes) * lanes + number
      if (group >= groups) continue
      const written = Array.from({ length: blocksAtOnce }, (_, at) => group * blocksAtOnce + at)
      for (const [at, block] of written.entries()) {
        recordFor(block, seq).copy(bytes, at * blockBytes)
        inFlight.set(block, seq)
      }
      const begun = performance.now()
      try {
        await file.write(bytes, 0, bytesAtOnce, group * bytesAtOnce)
        if (!isDisk) await file.datasync()
      } catch (error) {
        errors.push(String(error))
        return
      }
      longestMs = Math.max(longestMs, performance.now() - begun)
      for (const block of written) {
        acked.set(block, seq)
        inFlight.delete(block)
      }
      writes++
    }
  }
  process.on('message', (wish) => {
    if (wish === 'stop') running = false
    else process.send?.(writes)
  })
  process.on('disconnect', () => process.exit(0))
  process.send?.('ready')
  const all = Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)))
  await Promise.race([
    all,
    (async () => {
      while (isRunning()) await sleep(20)
      await sleep(60_000)
    })(),
  ])
  while (isRunning()) await sleep(20)
  const result: ShareWriterResult = { acked: [...acked], inFlight: [...inFlight], writes, errors, longestMs }
  process.send?.(result, () => process.exit(0))
}
