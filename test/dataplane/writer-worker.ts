import { parentPort, workerData } from 'node:worker_threads'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient, NbdRefused } from '@volant/qemu/nbd-client.ts'
import { blockBytes, recordFor } from './records.ts'
import type { WriterOptions, WriterResult } from './records.ts'

/**
 * The client beside the operations under test, in a thread of its own: each lane writes self-describing 4 KiB
 * records one after the other to blocks that only it writes, and notes what was acknowledged. It reconnects as
 * QEMU's NBD client does: at once, and a second after each attempt that failed.
 */
const options = workerData as WriterOptions
const { address, exportName, sizeBytes, lanes, perSecond } = options
const blocks = Math.floor(sizeBytes / blockBytes)
const acked = new Map<number, number>()
const inFlight = new Map<number, number>()
const latencies: { at: number; ms: number }[] = []
let [running, writes, connections, errors] = [true, 0, 0, 0]
let client: Promise<NbdClient> | undefined

function connection(): Promise<NbdClient> {
  client ??= (async () => {
    for (;;) {
      try {
        const connected = await NbdClient.connect(address, exportName, 30_000)
        connections++
        void connected.closed.then(() => (client = undefined))
        return connected
      } catch (error) {
        if (!running) throw error
        await sleep(1000)
      }
    }
  })()
  return client
}

async function writeOnce(block: number, seq: number): Promise<void> {
  inFlight.set(block, seq)
  const begun = performance.now()
  for (;;) {
    try {
      const nbd = await connection()
      await nbd.write(block * blockBytes, recordFor(block, seq))
      break
    } catch (error) {
      if (error instanceof NbdRefused) errors++
      if (!running) return
    }
  }
  acked.set(block, seq)
  inFlight.delete(block)
  writes++
  latencies.push({ at: performance.timeOrigin + begun, ms: performance.now() - begun })
}

async function lane(number: number): Promise<void> {
  const pauseMs = perSecond > 0 ? (1000 * lanes) / perSecond : 0
  let next = performance.now()
  const isRunning = (): boolean => running
  for (let seq = 1; isRunning(); seq++) {
    const block = Math.floor((Math.random() * blocks) / lanes) * lanes + number
    if (block < blocks) await writeOnce(block, seq * lanes + number)
    next = Math.max(next + pauseMs, performance.now() - 50)
    if (pauseMs > 0) await sleep(Math.max(0, next - performance.now()))
  }
}

parentPort?.on('message', (wish) => {
  if (wish === 'stop') running = false
  else parentPort?.postMessage(wish === 'connections' ? connections : writes)
})
await connection()
parentPort?.postMessage('ready')
await Promise.race([
  Promise.all(Array.from({ length: lanes }, (_, number) => lane(number))),
  new Promise<void>((resolve) => {
    // A write that hangs when all is over stays in flight; it was never acknowledged.
    parentPort?.on('message', (wish) => wish === 'stop' && setTimeout(resolve, 5000).unref())
  }),
])
;(await Promise.race([client, undefined]))?.close()
const result: WriterResult = { acked, inFlight, latencies, writes, connections, errors }
parentPort?.postMessage(result)
process.exit(0)
