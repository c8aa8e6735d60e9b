import type { Move, MoveSeal } from '../domain/undo.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyRecords } from '../ports/records.ts'

/**
 * How both images are left by the move of a detached volume; to be called while the operation still holds the volume
 * and nobody has either image open. An image that can't be looked at is no reason to fail: without a seal an undo
 * migrates the volume back. `volumeUpdatedAt` is what the caller is about to give the volume's row.
 */
export async function sealMove(
  ports: { copies: Pick<CopyRecords, 'get'>; backend: Pick<Backend, 'imageInfo'> },
  move: Pick<Move, 'sourceImageId' | 'targetImageId'>,
  volumeUpdatedAt: string,
): Promise<{ seal: MoveSeal } | { seal?: never }> {
  try {
    const [source, target] = await Promise.all(
      [move.sourceImageId, move.targetImageId].map(async (imageId) =>
        ports.backend.imageInfo(await ports.copies.get(imageId)),
      ),
    )
    if (source === undefined || target === undefined) return {}
    return { seal: { sourceMark: source.changeMark, targetMark: target.changeMark, volumeUpdatedAt } }
  } catch {
    return {}
  }
}
