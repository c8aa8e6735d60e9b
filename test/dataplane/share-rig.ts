import { fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { LocalFileSystems } from '@volant/agent/shares/local-file-systems.ts'
import type { FileSystemSpec, FileSystemStatus, HolderStatus, ImageRef, FileAccess } from '@volant/contract'
import { findByCommandWord, isAlive } from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import { loopsIn, mountsIn } from './aggregate-place.ts'
import type { WriterResult } from './records.ts'
import { caller, openRig, until } from './rig.ts'
import type { Rig } from './rig.ts'
import type { ShareWriterOptions, ShareWriterResult } from './share-writer.ts'

export const GiB = 2 ** 30

/** Why this machine cannot run such a test; false where it can. */
export const skipShares = async (): Promise<string | false> =>
  (await LocalFileSystems.missing()).join(', and ') || false

export interface ShareRig extends Rig {
  shareId: string
  image: { ref: ImageRef; access: FileAccess }
  /** Serves `image`. */
  head(): Promise<HolderStatus>
  holderId: string
  volumeId: string
  fileSystems: LocalFileSystems
  /** Another agent on the same state: what Volant is after its own restart. */
  restartFileSystems(): LocalFileSystems
  spec(change?: Partial<FileSystemSpec>): Promise<FileSystemSpec>
  ensure(change?: Partial<FileSystemSpec>): Promise<FileSystemStatus>
  /** The file that the loop device is over. */
  device: string
  /** Of the block device: [supervisor, worker]. */
  pair(): { supervisor: ProcessIdentity | undefined; worker: ProcessIdentity | undefined }
}

/** A head, and the file systems of shares above it; nothing is left of them when the test ends. */
export async function openShareRig(
  t: TestContext,
  imageBytes = 1024 * GiB,
  options: { unmountMs?: number } = {},
): Promise<ShareRig> {
  // Before the rig's own: its folder can't be removed while something is mounted in it.
  let close = async (): Promise<void> => {}
  t.after(() => close())
  const rig = await openRig(t)
  const image = await rig.newImage(imageBytes)
  const [shareId, holderId] = [randomUUID(), randomUUID()]
  const stateDir = join(rig.folder, 'f')
  const all: LocalFileSystems[] = []
  const open = (): LocalFileSystems => {
    const made = new LocalFileSystems({ node: 'node1', stateDir, ...options })
    all.push(made)
    return made
  }
  close = async () => {
    for (const one of all) one.detach()
    const last = open()
    last.detach()
    for (const id of last.ids()) await last.ensureNo(id)
    const left = [...mountsIn(rig.folder), ...loopsIn(rig.folder)]
    if (left.length > 0) throw new Error(`Left: ${left.join(', ')}`)
  }
  const head = (): Promise<HolderStatus> =>
    rig.holders.ensureHolder(caller, {
      holderId: share.holderId,
      volumeId: share.volumeId,
      image: share.image.access,
      serves: true,
    })
  const spec = async (change: Partial<FileSystemSpec> = {}): Promise<FileSystemSpec> => {
    const { socketPath = '', exportName = '' } = await head()
    return { shareId, head: { socketPath, exportName }, sizeBytes: 2 * GiB, content: 'format', ...change }
  }
  const device = join(stateDir, 'file-systems', shareId, 'device')
  const share: ShareRig = Object.assign(rig, {
    shareId,
    holderId,
    volumeId: `vol-${shareId}`,
    image,
    head,
    device,
    spec,
    fileSystems: open(),
    restartFileSystems() {
      share.fileSystems.detach()
      share.fileSystems = open()
      return share.fileSystems
    },
    ensure: async (change: Partial<FileSystemSpec> = {}) => share.fileSystems.ensure(await spec(change)),
    pair() {
      const found = findByCommandWord(`mount=${device}`)
      const is = (what: string): ProcessIdentity | undefined =>
        found.find(({ pid }) => findByCommandWord(what).some((one) => one.pid === pid))
      return { supervisor: is('serve') ?? is('adopt'), worker: is('work') }
    },
  })
  return share
}

/** Kills it; returns when it is gone. */
export async function kill(one: ProcessIdentity | undefined): Promise<void> {
  if (one === undefined) throw new Error('There is nobody to kill.')
  process.kill(one.pid, 'SIGKILL')
  await until(`process ${one.pid} is gone`, async () => !isAlive(one))
}

export interface ShareWriter {
  pid: number
  writes(): Promise<number>
  stop(): Promise<ShareWriterResult>
}

/** Starts a client on a disk or a file; returns when it has it open. */
export async function startShareWriter(t: TestContext, options: ShareWriterOptions): Promise<ShareWriter> {
  const env = { ...process.env, UV_THREADPOOL_SIZE: String(options.lanes + 2) }
  const program = new URL('share-writer.ts', import.meta.url)
  const child = fork(program, [JSON.stringify(options)], { env, serialization: 'advanced' })
  t.after(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit').then(() => {
    throw new Error('The writer ended.')
  })
  ended.catch(() => {})
  const said = async <T>(): Promise<T> => (await Promise.race([once(child, 'message'), ended]))[0] as T
  await said()
  const ask = <T>(wish: 'count' | 'stop'): Promise<T> => {
    const answer = said<T>()
    child.send(wish)
    return answer
  }
  return { pid: child.pid ?? 0, writes: () => ask('count'), stop: () => ask('stop') }
}

/** As the result of the writer on an export: what `lostWrites` looks at. */
export const asResult = ({ acked, inFlight, writes, errors }: ShareWriterResult): WriterResult => ({
  acked: new Map(acked),
  inFlight: new Map(inFlight),
  latencies: [],
  writes,
  connections: 1,
  errors: errors.length,
})
