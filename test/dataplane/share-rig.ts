import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { LocalFileSystems } from '@volant/agent/shares/local-file-systems.ts'
import type { FileSystemSpec, FileSystemStatus, HolderStatus, ImageRef, FileAccess } from '@volant/contract'
import { findByCommandWord, isAlive } from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import { loopsIn, mountsIn } from './aggregate-place.ts'
import { caller, openRig, until } from './rig.ts'
import type { Rig } from './rig.ts'

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
export async function openShareRig(t: TestContext, imageBytes = 1024 * GiB): Promise<ShareRig> {
  // Before the rig's own: its folder can't be removed while something is mounted in it.
  let close = async (): Promise<void> => {}
  t.after(() => close())
  const rig = await openRig(t)
  const image = await rig.newImage(imageBytes)
  const [shareId, holderId] = [randomUUID(), randomUUID()]
  const stateDir = join(rig.folder, 'f')
  const all: LocalFileSystems[] = []
  const open = (): LocalFileSystems => {
    const made = new LocalFileSystems({ node: 'node1', stateDir })
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
      holderId,
      volumeId: `vol-${shareId}`,
      image: image.access,
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
