/**
 * A client of volume heads: connects to each over NBD and writes 4 KiB at random places, a given number each second,
 * whether or not the earlier ones were answered. A process of its own, so that what the control plane does cannot
 * delay its clock. Talks to `load.ts` over IPC.
 */
import { randomFillSync, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '@volant/qemu/nbd-client.ts'
import { monotonicMs } from '../measure.ts'
import type { LoadOrder, LoadSamples } from './load.ts'

const blockBytes = 4096
/** More than this many unanswered requests, and no further ones are sent until one is answered. */
const mostInFlight = 256

const orders = JSON.parse(process.argv[2] ?? '') as LoadOrder[]
/** Aborted by the order to stop. */
const stopping = new AbortController()

const clients = await Promise.all(
  orders.map(({ socketPath, exportName }) => NbdClient.connect({ path: socketPath }, exportName, 10_000)),
)
process.on('message', (message) => {
  if (message === 'stop') stopping.abort()
})
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
const all = await Promise.all(
  clients.map((client, i) => {
    const { writesPerSecond } = orders[i] as LoadOrder
    return writesPerSecond > 0 ? write(client, writesPerSecond) : idle()
  }),
)
for (const client of clients) client.close()
process.send?.(all, () => process.disconnect?.())

function newSamples(): LoadSamples {
  return { sentAt: [], latencyMs: [], failed: 0, latestTickMs: 0, latestTickAt: 0 }
}

async function idle(): Promise<LoadSamples> {
  while (!stopping.signal.aborted) await sleep(5)
  return newSamples()
}

async function write(client: NbdClient, perSecond: number): Promise<LoadSamples> {
  const samples = newSamples()
  const blocks = Math.floor(client.sizeBytes / blockBytes)
  const data = randomFillSync(Buffer.alloc(blockBytes))
  const begun = monotonicMs()
  let sent = 0
  const inFlight = new Set<Promise<void>>()
  for (let last = begun; !stopping.signal.aborted;) {
    const now = monotonicMs()
    // How late this process itself was: a latency cannot be told more exactly than that.
    if (now - last > samples.latestTickMs) [samples.latestTickMs, samples.latestTickAt] = [now - last, now]
    last = now
    const due = Math.floor(((now - begun) / 1000) * perSecond)
    // After a stall the rate is kept, what was missed is not made up for.
    if (due - sent > perSecond / 10) sent = due - 1
    for (; sent < due && inFlight.size < mostInFlight; sent += 1) {
      data.writeUInt32LE(sent, 0)
      const write = one(client, samples, randomInt(blocks) * blockBytes, data).finally(() =>
        inFlight.delete(write),
      )
      inFlight.add(write)
    }
    await sleep(1)
  }
  await Promise.all(inFlight)
  return samples
}

async function one(client: NbdClient, samples: LoadSamples, offset: number, data: Buffer): Promise<void> {
  const at = monotonicMs()
  try {
    await client.write(offset, data)
    samples.sentAt.push(at)
    samples.latencyMs.push(monotonicMs() - at)
  } catch {
    samples.failed += 1
  }
}
