import { fork } from 'node:child_process'
import { join } from 'node:path'

export interface LoadOrder {
  socketPath: string
  exportName: string
  /** Writes of 4 KiB; 0: the client is connected and idle. */
  writesPerSecond: number
}

/** One entry for each answered write. Times are `monotonicMs`, which all processes share. */
export interface LoadSamples {
  sentAt: number[]
  latencyMs: number[]
  failed: number
  /** The longest that the client's own loop stood still, and when. */
  latestTickMs: number
  latestTickAt: number
}

export interface Load<Samples = LoadSamples> {
  /** Ends the client and returns what it saw. Throws where a write failed. */
  stop(): Promise<Samples>
}

/** Starts a client of a head; returns when it is connected. */
export async function startLoad(order: LoadOrder): Promise<Load> {
  const loads = await startLoads([order])
  return { stop: async () => (await loads.stop())[0] as LoadSamples }
}

/** Clients of several heads, in one process. */
export async function startLoads(orders: readonly LoadOrder[]): Promise<Load<LoadSamples[]>> {
  const child = fork(join(import.meta.dirname, 'load-client.ts'), [JSON.stringify(orders)], {
    execArgv: ['--disable-warning=ExperimentalWarning'],
    serialization: 'advanced',
  })
  const died = new Promise<never>((_resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`The bench's client ended with code ${code} on its own.`)))
  })
  died.catch(() => {})
  const message = <T>() =>
    Promise.race([new Promise<T>((resolve) => child.once('message', resolve as () => void)), died])
  await message()
  return {
    async stop() {
      const answer = message<LoadSamples[]>()
      child.send('stop')
      const all = await answer
      const failed = all.reduce((sum, samples) => sum + samples.failed, 0)
      if (failed > 0) throw new Error(`${failed} writes of the bench's client failed.`)
      return all
    },
  }
}

/** Latencies of the writes that were under way at any time between two instants (`monotonicMs`). */
export const latenciesBetween = (samples: LoadSamples, from: number, to: number): number[] =>
  samples.latencyMs.filter((latency, i) => {
    const sent = samples.sentAt[i] ?? 0
    return sent <= to && sent + latency >= from
  })
