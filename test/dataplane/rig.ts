import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Worker } from 'node:worker_threads'
import { createHolderAgent, createStorageAgent } from '@volant/agent'
import type {
  HolderAgentOptions,
  LocalHolderAgent,
  LocalStorageAgent,
  StorageAgentOptions,
} from '@volant/agent'
import type { FileAccess, HolderStatus, ImageRef } from '@volant/contract'
import { createTlsAuthority } from '@volant/qemu/tls/authority.ts'
import type { WriterOptions, WriterResult } from './records.ts'

export const caller = { fence: 1 }
export const MiB = 2 ** 20

export interface Rig {
  folder: string
  storage: LocalStorageAgent
  holders: LocalHolderAgent
  newImage(sizeBytes?: number): Promise<{ ref: ImageRef; access: FileAccess }>
  /** Another agent on the same state: what Volant is after its own restart. The first lets go of everything. */
  restartHolders(): LocalHolderAgent
  storageAgent(options: Partial<StorageAgentOptions>): LocalStorageAgent
  holderAgent(options: Partial<HolderAgentOptions>): LocalHolderAgent
}

/** A storage node and a compute host in a temporary folder; everything is gone when the test ends. */
export async function openRig(t: TestContext): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'vd-'))
  const tls = createTlsAuthority(join(folder, 'tls'))
  const storages: LocalStorageAgent[] = []
  const holderAgents: LocalHolderAgent[] = []
  const storageAgent = (options: Partial<StorageAgentOptions>): LocalStorageAgent => {
    const agent = createStorageAgent({
      node: 'node1',
      stateDir: join(folder, 's'),
      runDir: join(folder, 'r'),
      aggregates: [{ name: 'aggr1', path: join(folder, 'aggr1') }],
      dataAddress: '127.0.0.1',
      serverTlsFolder: () => tls.serverFolder('node1', options.dataAddress ?? '127.0.0.1'),
      ...options,
    })
    storages.push(agent)
    return agent
  }
  const holderAgent = (options: Partial<HolderAgentOptions>): LocalHolderAgent => {
    const agent = createHolderAgent({
      host: 'host1',
      stateDir: join(folder, 'h'),
      runDir: join(folder, 'r'),
      clientTlsFolder: () => tls.clientFolder('host1'),
      decisionMs: 60_000, // a busy machine is no reason for a cutover's guard here
      ...options,
    })
    holderAgents.push(agent)
    return agent
  }
  t.after(async () => {
    for (const agent of holderAgents.toReversed()) {
      for (const holderId of agent.recordedIds()) await agent.ensureNoHolder(caller, holderId)
    }
    for (const agent of storages) {
      for (const { exportId } of await agent.listExports()) await agent.ensureNoExport(caller, exportId)
      agent.detach()
    }
    rmSync(folder, { recursive: true, force: true })
  })
  const storage = storageAgent({})
  const rig: Rig = {
    folder,
    storage,
    holders: holderAgent({}),
    storageAgent,
    holderAgent,
    async newImage(sizeBytes = 64 * MiB) {
      const ref = { imageId: randomUUID(), aggregate: 'aggr1', flexvol: 'fv1' }
      await storage.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv1' })
      await storage.ensureImage(caller, ref, sizeBytes)
      return { ref, access: await storage.fileAccess(ref) }
    },
    restartHolders() {
      rig.holders.detach()
      rig.holders = holderAgent({})
      return rig.holders
    },
  }
  return rig
}

export interface Writer {
  /** Writes acknowledged so far. */
  writes(): Promise<number>
  /** How often it has connected. */
  connections(): Promise<number>
  stop(): Promise<WriterResult>
}

/** Starts a client on a head's export; returns when it is connected. */
export async function startWriter(
  t: TestContext,
  head: HolderStatus,
  options: Partial<WriterOptions> = {},
): Promise<Writer> {
  const workerData: WriterOptions = {
    address: { path: head.socketPath ?? '' },
    exportName: head.exportName ?? '',
    sizeBytes: 64 * MiB,
    lanes: 4,
    perSecond: 200,
    ...options,
  }
  const worker = new Worker(new URL('writer-worker.ts', import.meta.url), { workerData })
  t.after(() => worker.terminate())
  await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const ask = async <T>(wish: 'count' | 'connections' | 'stop'): Promise<T> => {
    const answer = once(worker, 'message')
    worker.postMessage(wish)
    return (await answer)[0] as T
  }
  return { writes: () => ask('count'), connections: () => ask('connections'), stop: () => ask('stop') }
}

export const longestMs = (result: WriterResult): number =>
  result.latencies.reduce((longest, { ms }) => Math.max(longest, ms), 0)

/** Polls until `holds` is true; throws where it is not within `timeoutMs`. */
export async function until(what: string, holds: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  for (const end = performance.now() + timeoutMs; ; await new Promise((r) => setTimeout(r, 10))) {
    const late = performance.now() > end
    if (await holds()) return
    if (late) throw new Error(`Not within ${timeoutMs} ms: ${what}`)
  }
}
