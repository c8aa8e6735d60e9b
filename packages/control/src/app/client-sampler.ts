import { DomainError } from '@volant/contract'
import type { DeviceLatency } from '@volant/contract'
import type { Agents } from '../ports/agents.ts'

/** The client of a volume: a server's disk, or the block device of a share. */
export interface VolumeClient {
  volumeId: string
  host: string
  serverId: string | null
  shareId: string | null
}

export type Reading =
  | { is: 'read'; at: number; latency: DeviceLatency }
  /** It does not run, or has no such disk: nobody waits. */
  | { is: 'nobody' }
  /** It can't be found out: why. */
  | { is: 'unknown'; reason: string }

/** Whoever answers later is not waited for: the copy goes on without him. Milliseconds. */
const patienceMs = 800
/** Those who look within this time share one answer, where they do not ask for a newer one. Milliseconds. */
const freshMs = 120

interface Answer {
  at: number
  disks: Promise<ReadonlyMap<string, DeviceLatency>>
}

/** Reads the histograms of clients, each server or share once for all who ask at the same time. */
export class ClientSampler {
  readonly #agents: Pick<Agents, 'compute' | 'shares'>
  readonly #monotonic: () => number
  readonly #answers = new Map<string, Answer>()

  constructor(agents: Pick<Agents, 'compute' | 'shares'>, monotonic: () => number) {
    this.#agents = agents
    this.#monotonic = monotonic
  }

  /** `agedMs`: how old an answer may be that somebody else has asked for. Milliseconds. */
  async read(client: VolumeClient, agedMs = freshMs): Promise<Reading> {
    const { serverId, shareId, volumeId } = client
    if (serverId === null && shareId === null) {
      return { is: 'unknown', reason: 'no server of Volant uses it' }
    }
    const answer = this.#answerOf(client, agedMs)
    try {
      const disks = await inTime(answer.disks)
      const latency = disks.get(shareId === null ? volumeId : '')
      return latency === undefined ? { is: 'nobody' } : { is: 'read', at: answer.at, latency }
    } catch (error) {
      if (error instanceof DomainError && (error.code === 'notFound' || error.code === 'conflict')) {
        return { is: 'nobody' }
      }
      return { is: 'unknown', reason: error instanceof Error ? error.message : String(error) }
    }
  }

  /** Forgets who was not asked for lately. */
  tidy(): void {
    const now = this.#monotonic()
    for (const [key, { at }] of this.#answers) if (now - at > 60_000) this.#answers.delete(key)
  }

  #answerOf({ host, serverId, shareId }: VolumeClient, agedMs: number): Answer {
    const key = shareId === null ? `server/${host}/${serverId}` : `share/${host}/${shareId}`
    const found = this.#answers.get(key)
    const now = this.#monotonic()
    if (found !== undefined && now - found.at < agedMs) return found
    const disks = shareId === null ? this.#server(host, serverId ?? '') : this.#share(host, shareId)
    disks.catch(() => {})
    const answer = { at: now, disks }
    this.#answers.set(key, answer)
    return answer
  }

  async #server(host: string, serverId: string): Promise<ReadonlyMap<string, DeviceLatency>> {
    const disks = await this.#agents.compute(host).guestLatency(serverId)
    return new Map(disks.map((disk) => [disk.volumeId, disk]))
  }

  async #share(host: string, shareId: string): Promise<ReadonlyMap<string, DeviceLatency>> {
    return new Map([['', await this.#agents.shares(host).shareLatency(shareId)]])
  }
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`its agent did not answer in ${patienceMs} ms`)), patienceMs)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
