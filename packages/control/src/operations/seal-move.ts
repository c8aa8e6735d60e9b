/** How the move of a detached volume is sealed at its end, and how the seal is looked at when it is to be undone. */
import { messageOf } from '@volant/contract'
import { isAt } from '../domain/move-order.ts'
import type { ImageFacts, Move, MoveSeal, ProofFacts } from '../domain/undo.ts'
import type { Backend } from '../ports/backend.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, CopyRecords, FlexVolRecords, VolumeRecords } from '../ports/records.ts'

export interface ProofPorts {
  volumes: Pick<VolumeRecords, 'get'>
  copies: Pick<CopyRecords, 'get' | 'find'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  backend: Pick<Backend, 'imageInfo'>
  flexvols: Pick<FlexVolRecords, 'find'>
  engine: Pick<OperationEngine, 'latestOf' | 'historyOf'>
}

/**
 * To be called while the operation still holds the volume and nobody has either image open. An image that can't be
 * looked at is no reason to fail: without a seal an undo migrates the volume back. `volumeUpdatedAt` is what the
 * caller is about to give the volume's row.
 */
export async function sealMove(
  ports: Pick<ProofPorts, 'copies' | 'backend'>,
  move: Pick<Move, 'sourceImageId' | 'targetImageId'>,
  volumeUpdatedAt: string,
): Promise<{ seal: MoveSeal } | { seal?: never }> {
  const markOf = async (imageId: string): Promise<string | undefined> => {
    const facts = await imageFacts(ports, imageId)
    return typeof facts === 'string' ? undefined : facts.info?.changeMark
  }
  const sourceMark = await markOf(move.sourceImageId)
  const targetMark = await markOf(move.targetImageId)
  if (sourceMark === undefined || targetMark === undefined) return {}
  return { seal: { sourceMark, targetMark, volumeUpdatedAt } }
}

/** What the proof that nobody has written since `move` goes by, as it is now. */
export async function gatherProof(
  ports: ProofPorts,
  undone: {
    operationId: string
    move: Move
    seal: MoveSeal | null | undefined
    /** The undo that asks, and has claimed the volume on condition that its row was as the move left it. */
    claimedBy?: string
  },
): Promise<ProofFacts> {
  const { operationId, move, seal, claimedBy } = undone
  const newest = await ports.engine.latestOf(`volume/${move.volumeId}`, 2)
  const claimed = claimedBy !== undefined && seal != null
  return {
    log: await ports.engine.historyOf(operationId),
    runId: operationId,
    seal,
    newestOnVolume: newest.find((run) => run.id !== claimedBy),
    volume: claimed ? { updatedAt: seal.volumeUpdatedAt } : await ports.volumes.get(move.volumeId),
    attachments: await ports.attachments.ofVolume(move.volumeId),
    isAtHome: await isAtHome(ports, move.sourceImageId),
    source: await imageFacts(ports, move.sourceImageId),
    target: await imageFacts(ports, move.targetImageId),
  }
}

/** A truth is where its FlexVol is, or moves to: nothing else would ever bring it there. */
export async function isAtHome(
  { copies, flexvols }: Pick<ProofPorts, 'copies' | 'flexvols'>,
  imageId: string,
): Promise<boolean> {
  const copy = await copies.find(imageId)
  const flexvol = copy && (await flexvols.find(copy.flexvolId))
  if (copy === undefined || flexvol === undefined) return false
  return [flexvol, flexvol.destination].some((place) => place !== null && isAt(copy, place))
}

async function imageFacts(
  { copies, backend }: Pick<ProofPorts, 'copies' | 'backend'>,
  imageId: string,
): Promise<ImageFacts | string> {
  try {
    const copy = await copies.get(imageId)
    return { copy, info: await backend.imageInfo(copy) }
  } catch (error) {
    return messageOf(error)
  }
}
