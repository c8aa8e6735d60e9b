/** What the records say of a FlexVol's move: gathered anew at each look, so that a crash loses nothing. */
import type { LogEntry, RunRecord } from '@volant/saga'
import { hasEnded } from '@volant/saga'
import { givingWay } from '../domain/giving-way.ts'
import type { MigrationProgress } from '../domain/migration-progress.ts'
import type { MoveFacts, MoveImage, MovePart } from '../domain/move-order.ts'
import { keptForTheMove, type PartInput } from '../domain/relocation-part.ts'
import type { AggregatePlace, Copy } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, CopyRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'

export interface MoveFactsPorts {
  volumes: Pick<VolumeRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'ofFlexVol'>
  copies: Pick<CopyRecords, 'ofFlexVol'>
  attachments: Pick<AttachmentRecords, 'ofVolume' | 'withHead'>
  backend: Pick<Backend, 'imageInfo'>
  engine: Pick<OperationEngine, 'partsOf' | 'underWay' | 'get' | 'historyOf'>
  /** What can't change any more, or is only shown. In memory: after a restart it is read anew. */
  moving: Map<string, MoveMemory>
}

export interface MoveMemory {
  /** Ended parts; null: nobody has asked for all of them yet. */
  ended: Map<string, MovePart> | null
  /** Parts that had not ended when they were last seen. */
  going: Set<string>
  volumes: Map<string, { name: string | null; snapshotId: string | null }>
  /** Bytes that an image occupied when it was first seen. */
  sizes: Map<string, number>
  /** Ended parts whose failed cutovers were answered by the move's cutover action. */
  answered: Set<string>
}

const newMemory = (): MoveMemory => ({
  ended: null,
  going: new Set(),
  volumes: new Map(),
  sizes: new Map(),
  answered: new Set(),
})

export function memoryOf(moving: Map<string, MoveMemory>, moveId: string): MoveMemory {
  const found = moving.get(moveId)
  if (found !== undefined) return found
  const memory = newMemory()
  moving.set(moveId, memory)
  return memory
}

/** What there is to decide from, and the parts that it may steer. `at`: where the images belong now. */
export async function gatherMove(
  ports: MoveFactsPorts,
  move: { id: string; flexvolId: string; held: boolean; shares: boolean; at: AggregatePlace; now: Date },
): Promise<{ facts: MoveFacts; going: RunRecord[] }> {
  const memory = memoryOf(ports.moving, move.id)
  const unfinished = await ports.engine.underWay(givingWay)
  const { parts, going } = await partsOf(ports, memory, move.id, unfinished)
  const copies = await ports.copies.ofFlexVol(move.flexvolId)
  const facts: MoveFacts = {
    at: move.at,
    shares: move.shares,
    images: await imagesOf(ports, memory, move.flexvolId, copies, parts),
    retained: copies.filter(({ state }) => state === 'retained'),
    parts,
    otherReferences: otherReferences(unfinished, move.id),
    held: move.held,
    now: move.now.getTime(),
  }
  return { facts, going }
}

/**
 * A move of a thousand images has a thousand parts: what has ended is read once. Whoever starts a part notes it in `going`,
 * for it may have ended by the next look.
 */
async function partsOf(
  ports: MoveFactsPorts,
  memory: MoveMemory,
  moveId: string,
  unfinished: readonly RunRecord[],
): Promise<{ parts: MovePart[]; going: RunRecord[] }> {
  const own = unfinished.filter(({ parentId }) => parentId === moveId).map(({ id }) => id)
  // Live, as the engine has them: their progress is stored late.
  const runs =
    memory.ended === null
      ? await ports.engine.partsOf(moveId)
      : await Promise.all([...new Set([...memory.going, ...own])].map((id) => ports.engine.get(id)))
  const ended = memory.ended ?? new Map<string, MovePart>()
  const going: RunRecord[] = []
  const live: MovePart[] = []
  for (const run of runs) {
    if (ended.has(run.id)) continue
    if (hasEnded(run.state)) {
      ended.set(run.id, digest(run, await ports.engine.historyOf(run.id)))
      memory.going.delete(run.id)
    } else {
      // Of one under way a cutover that was given up is told at its end.
      live.push(digest(run, []))
      going.push(run)
      memory.going.add(run.id)
    }
  }
  memory.ended = ended
  const parts = [...ended.values(), ...live].toSorted((a, b) => b.startedAt - a.startedAt)
  return { parts, going }
}

async function imagesOf(
  ports: MoveFactsPorts,
  memory: MoveMemory,
  flexvolId: string,
  copies: readonly Copy[],
  parts: readonly MovePart[],
): Promise<MoveImage[]> {
  const snapshots = await ports.snapshots.ofFlexVol(flexvolId)
  const order = new Map(snapshots.map(({ id }, i) => [id, i]))
  // What a part makes is no image of its own until it takes the place of another one.
  const made = new Set(parts.map(({ targetImageId }) => targetImageId))
  const heads = new Set((await ports.attachments.withHead()).map(({ volumeId }) => volumeId))
  // Newest first: the first of a key is its latest.
  const latest = new Map(parts.toReversed().map((part) => [part.key, part]))
  const images: MoveImage[] = []
  for (const copy of copies) {
    if (copy.state === 'retained') continue
    if (copy.state === 'target' && isOfPart(copy, made, parts)) continue
    const { volumeId, snapshotId } = copy
    const volume = await volumeOf(ports, memory, volumeId)
    const own = snapshots.filter((snapshot) => snapshot.volumeId === volumeId)
    const until = snapshotId === null ? own.length : own.findIndex(({ id }) => id === snapshotId)
    const ancestors = own
      .slice(0, Math.max(0, until))
      .map(({ id }) => id)
      .toReversed()
    if (volume?.snapshotId != null) ancestors.push(volume.snapshotId)
    images.push({
      key: snapshotId === null ? `volume/${volumeId}` : `snapshot/${snapshotId}`,
      volumeId,
      snapshotId,
      imageId: copy.imageId,
      place: { node: copy.node, aggregate: copy.aggregate },
      isBeingMade: copy.state === 'target',
      attached:
        snapshotId === null && (await isAttached(ports, volumeId, heads, latest.get(`volume/${volumeId}`))),
      name:
        snapshotId === null
          ? (volume?.name ?? null)
          : (snapshots.find(({ id }) => id === snapshotId)?.name ?? null),
      allocatedBytes: await sizeOf(ports, memory, copy),
      ancestors,
    })
  }
  const rank = ({ snapshotId }: MoveImage): number =>
    snapshotId === null ? Infinity : (order.get(snapshotId) ?? 0)
  return images.toSorted((a, b) => rank(a) - rank(b) || 0)
}

/** Also the clone of a source that a part reads: it goes with the part. */
const isOfPart = (copy: Copy, made: ReadonlySet<string>, parts: readonly MovePart[]): boolean =>
  made.has(copy.imageId) || parts.some(({ id, state }) => id === copy.operationId && state === 'under-way')

/**
 * As the relocation itself sees it: a head is beside the host of the attachment. One query answers it for all; where a part
 * has found it otherwise, the volume's own attachments do.
 */
async function isAttached(
  ports: MoveFactsPorts,
  volumeId: string,
  heads: ReadonlySet<string>,
  latest: MovePart | undefined,
): Promise<boolean> {
  if (latest?.state !== 'failed') return heads.has(volumeId)
  return (await ports.attachments.ofVolume(volumeId)).some(({ host }) => host !== null)
}

async function volumeOf(ports: MoveFactsPorts, memory: MoveMemory, volumeId: string) {
  const known = memory.volumes.get(volumeId)
  if (known !== undefined) return known
  const volume = await ports.volumes.find(volumeId)
  if (volume !== undefined) memory.volumes.set(volumeId, { name: volume.name, snapshotId: volume.snapshotId })
  return volume
}

/** Only for show and for what is reckoned: a node that does not answer is no reason to stand still. */
async function sizeOf(ports: MoveFactsPorts, memory: MoveMemory, copy: Copy): Promise<number> {
  const known = memory.sizes.get(copy.imageId)
  if (known !== undefined) return known
  const bytes = await ports.backend.imageInfo(copy).then(
    (info) => info?.allocatedBytes ?? 0,
    () => undefined,
  )
  if (bytes !== undefined) memory.sizes.set(copy.imageId, bytes)
  return bytes ?? 0
}

function otherReferences(unfinished: readonly RunRecord[], moveId: string): Map<string, number> {
  const references = new Map<string, number>()
  for (const run of unfinished) {
    if (run.parentId === moveId) continue
    const { from, to } = run.input as PartInput
    for (const node of new Set([from.node, to.node])) references.set(node, (references.get(node) ?? 0) + 1)
  }
  return references
}

function digest(run: RunRecord, log: readonly LogEntry[]): MovePart {
  const input = run.input as PartInput
  const progress = run.progress as MigrationProgress | null
  const output = (step: string) =>
    log.findLast((entry) => entry.step === step && entry.event === 'done')?.output as
      | Record<string, unknown>
      | null
      | undefined
  const pauseMs = output('cutover')?.['pauseMs']
  const mark = output('settle')?.['mark']
  const underWay = !hasEnded(run.state)
  return {
    id: run.id,
    key: run.keys.find((key) => key === `snapshot/${input.snapshotId}`) ?? `volume/${input.volumeId}`,
    keys: run.keys,
    state: underWay ? 'under-way' : (run.state as 'succeeded' | 'failed' | 'cancelled'),
    needsAttention: run.state === 'needs-attention',
    from: input.from,
    to: input.to,
    sourceImageId: input.sourceImageId,
    targetImageId: input.targetImageId,
    startedAt: Date.parse(run.createdAt),
    endedAt: run.endedAt === null ? null : Date.parse(run.endedAt),
    reason: run.failure === null ? null : `${run.failure.step}: ${run.failure.message}`,
    cutoverFailures: log.filter(
      ({ event, step, failure }) =>
        event === 'failed' && step === 'cutover' && failure?.class !== 'postponed',
    ).length,
    mark: typeof mark === 'string' ? mark : null,
    pauseMs: typeof pauseMs === 'number' ? Math.round(pauseMs * 100) / 100 : null,
    inSync: underWay && run.step === 'inSync' && progress?.phase === 'in-sync',
    atCutover: underWay && ['cutover', 'flip', 'settle'].includes(run.step ?? ''),
    doneBytes: progress?.doneBytes ?? 0,
    totalBytes: progress?.totalBytes ?? 0,
    rateBps: underWay ? (progress?.rateBps ?? 0) : 0,
  }
}

/** What a move leaves while it lasts. One FlexVol has one move at a time. */
export const isKeptForTheMove = (copy: Copy): boolean =>
  copy.state === 'retained' && copy.retainedUntil === keptForTheMove
