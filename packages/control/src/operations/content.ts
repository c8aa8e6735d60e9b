/** How an image comes to hold what another one holds: a clone, a copy of an image at rest, or a head's copy of an instant. */
import { DomainError } from '@volant/contract'
import type { AdvancingLook } from '@volant/saga'
import { newCopyProgress } from '../domain/copy-progress.ts'
import { gib, type AggregatePlace, type Copy } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyToPace } from '../ports/copy-pace.ts'
import type { AttachmentRecords, CopyRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { tellUnlessEnded } from './copy-wish.ts'
import { ensureHead, type HeadPorts } from './head.ts'
import { lookAtCopying, lookAtImageCopy, type CopyingPorts } from './image-copy.ts'

export interface ContentPorts extends Omit<HeadPorts, 'copies' | 'backend' | 'agents'>, CopyingPorts {
  copies: Pick<CopyRecords, 'find' | 'get' | 'ofVolume' | 'reservedAt'>
  attachments: Pick<AttachmentRecords, 'get' | 'ofVolume'>
  agents: Pick<Agents, 'holders'>
  backend: Pick<
    Backend,
    | 'canShare'
    | 'copyStatus'
    | 'ensureClone'
    | 'ensureCopy'
    | 'ensureCopyPaused'
    | 'ensureImage'
    | 'ensureNoCopy'
    | 'ensureNoImage'
    | 'ensureReadOnly'
    | 'imageInfo'
    | 'isFenced'
    | 'openFor'
    | 'revoke'
    | 'setCopyRate'
    | 'spaceAt'
  >
}

/** A holder that has the source open; it alone can copy an instant of it. */
export interface ContentHead {
  holderId: string
  machine: string
}

export interface ContentPlan {
  method: 'clone' | 'copy'
  head: ContentHead | null
  /** Bytes to hold back in the target's pool meanwhile. */
  reservedBytes: number
}

interface Content extends Pick<ContentPlan, 'method' | 'head'> {
  from: Copy
  to: Copy
}

/** What a step that has chosen how the content comes leaves for those that bring it. */
export interface PlacedContent extends Pick<ContentPlan, 'method'> {
  sourceImageId: string
  /** Absent: nobody has the source open. */
  head?: ContentHead | null
}

/** The bounds of the wait for it. */
export const contentWait = { every: '500ms', stallTimeout: '15m' } as const

type Op = { id: string; fence: number; control: CopyToPace['control'] }

/** The name of the head's job; a stray is told from the operation's id in it. */
const jobOf = (op: { id: string }): string => `snapshot-${op.id}`

/**
 * A clone where the place can share blocks, else a copy of everything, for which there must be room. Decided once, before
 * the first change: attachments do not change while the operation holds the volume. `volumeId`: the source is the truth
 * of that volume, which a head may be writing to.
 */
export async function planContent(
  ports: ContentPorts,
  { from, place, volumeId }: { from: Copy; place: AggregatePlace; volumeId: string | null },
): Promise<ContentPlan> {
  const isBeside = from.node === place.node && from.aggregate === place.aggregate
  if (isBeside && (await ports.backend.canShare(place))) {
    return { method: 'clone', head: null, reservedBytes: 0 }
  }
  const info = await ports.backend.imageInfo(from)
  const needed = info?.allocatedBytes ?? 0
  const { freeBytes } = await ports.backend.spaceAt(place)
  const free = Math.max(0, freeBytes - (await ports.copies.reservedAt(place)))
  if (needed > free) {
    throw new DomainError(
      'noCapacity',
      `Aggregate ${place.aggregate} has no room for a full copy, and its images cannot share blocks: ` +
        `${(needed / gib).toFixed(2)} GiB are needed, and ${(free / gib).toFixed(2)} GiB are free.`,
    )
  }
  return { method: 'copy', head: await headOf(ports, volumeId), reservedBytes: needed }
}

async function headOf(ports: ContentPorts, volumeId: string | null): Promise<ContentHead | null> {
  if (volumeId === null) return null
  const attachments = await ports.attachments.ofVolume(volumeId)
  const attachment = attachments.find(({ host }) => host !== null)
  if (attachment === undefined || attachment.host === null) return null
  return { holderId: attachment.headId, machine: ports.places.machineOf(attachment) }
}

async function contentOf(
  ports: ContentPorts,
  copyId: string,
  { method, head, sourceImageId }: PlacedContent,
): Promise<Content> {
  const from = await ports.copies.get(sourceImageId)
  return { method, head: head ?? null, from, to: await ports.copies.get(copyId) }
}

/** When it returns the instant is fixed: what is written to the source later does not come to the target. */
export async function startContent(
  ports: ContentPorts,
  op: Op,
  copyId: string,
  placed: PlacedContent,
): Promise<void> {
  await start(ports, op, await contentOf(ports, copyId, placed))
}

async function start(ports: ContentPorts, op: Op, content: Content): Promise<void> {
  const { from, to, method, head } = content
  if (method === 'clone') {
    await ports.backend.ensureClone(callerOf(op), to, from)
    return
  }
  const rate = await ports.pace.begin(paceable(op, content))
  if (head === null) {
    await ports.backend.ensureCopy(callerOf(op), { to, from, rate })
  } else {
    const { holderId, machine } = head
    await ports.backend.ensureImage(callerOf(op), to)
    await ensureHead(ports, callerOf(op), await ports.attachments.get(holderId))
    const target = await ports.backend.openFor(callerOf(op), to, machine, holderId)
    const request = { holderId, jobId: jobOf(op), target, rate }
    await ports.agents.holders(machine).ensurePointCopy(callerOf(op), request)
  }
}

/** How far it is. What its daemon or agent lost by dying is begun anew; a head's copy then is of a later instant. */
export async function lookAtContent(
  ports: ContentPorts,
  op: Op,
  copyId: string,
  placed: PlacedContent,
): Promise<AdvancingLook> {
  const content = await contentOf(ports, copyId, placed)
  const { from, to, method, head } = content
  if (method === 'clone') return { done: true, advance: null }
  if (head === null) return lookAtImageCopy(ports, op, { to, from }, () => start(ports, op, content))
  const holders = ports.agents.holders(head.machine)
  const status = await holders.pointCopyStatus(head.holderId, jobOf(op))
  const paced = await ports.pace.at(paceable(op, content), { doneBytes: status.doneBytes })
  const seen = ports.copying.get(op.id) ?? newCopyProgress()
  if (status.phase === 'copying' && seen.rateSet !== paced.rate) {
    await tellUnlessEnded(() => holders.setMirrorRate(callerOf(op), head.holderId, jobOf(op), paced.rate))
    ports.copying.set(op.id, { ...seen, rateSet: paced.rate })
  }
  // An operator's pause does not reach a head's copy.
  const isPaused = false
  return lookAtCopying(ports, op, { ...status, isPaused }, () => startAnew(ports, op, content), paced)
}

/** A head's client feels the copy; an image at rest has none. */
const paceable = ({ id, control }: Op, { from, to, head }: Content): CopyToPace => ({
  id,
  control: { ...control, paused: false },
  from,
  to,
  volumeId: head === null ? null : from.volumeId,
})

/** The target is made anew: what a dead head has written is of no instant. */
async function startAnew(ports: ContentPorts, op: Op, content: Content): Promise<void> {
  await stopContent(ports, op, content)
  await ports.backend.ensureNoImage(callerOf(op), content.to)
  await start(ports, op, content)
}

/** The target holds it all: what was opened for it is closed, and it is as its owner will find it. */
export async function sealContent(
  ports: ContentPorts,
  op: Pick<Op, 'id' | 'fence'>,
  copyId: string,
  placed: PlacedContent,
  readOnly: boolean,
): Promise<void> {
  const content = await contentOf(ports, copyId, placed)
  await stopContent(ports, op, content)
  ports.copying.delete(op.id)
  await ports.backend.ensureReadOnly(callerOf(op), content.to, readOnly)
}

/** The undo: ends what is under way, and removes the target. */
export async function removeContent(
  ports: ContentPorts,
  op: Pick<Op, 'id' | 'fence'>,
  copyId: string,
  { method, head, sourceImageId }: PlacedContent,
): Promise<void> {
  ports.copying.delete(op.id)
  ports.pace.end(op.id)
  const to = await ports.copies.find(copyId)
  const from = await ports.copies.find(sourceImageId)
  if (to === undefined) return
  if (from !== undefined) await stopContent(ports, op, { method, head: head ?? null, from, to })
  await ports.backend.ensureNoImage(callerOf(op), to)
}

/** Ends what is under way, and closes what was opened for it. The target stays. */
async function stopContent(
  ports: ContentPorts,
  op: Pick<Op, 'id' | 'fence'>,
  { from, to, method, head }: Content,
): Promise<void> {
  if (method === 'clone') return
  if (head === null) return ports.backend.ensureNoCopy(callerOf(op), { to, from })
  const { holderId, machine } = head
  await ports.agents.holders(machine).ensureNoPointCopy(callerOf(op), holderId, jobOf(op))
  await ports.backend.revoke(callerOf(op), to, machine, holderId)
}
