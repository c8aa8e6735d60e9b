/** Looks at the copy of an image: they follow what the operator wants, begin anew what was lost, and tell how far it is. */
import type { ImageCopyStatus } from '@volant/contract'
import { final, retryable } from '@volant/saga'
import { newCopyProgress, seenAt, type CopyProgress } from '../domain/copy-progress.ts'
import { nextLookMs } from '../domain/look-interval.ts'
import type { MigrationProgress } from '../domain/migration-progress.ts'
import type { Copy } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyPace, CopyToPace, Paced } from '../ports/copy-pace.ts'
import { callerOf } from './caller.ts'
import { tellUnlessEnded } from './copy-wish.ts'

export interface CopyingPorts {
  /** What copies under way look like, by the operation's id. In memory: after a restart they are looked at anew. */
  copying: Map<string, CopyProgress>
  pace: CopyPace
  /** Milliseconds, from a clock that does not jump. */
  monotonic(): number
}

export interface ImageCopyPorts extends CopyingPorts {
  backend: Pick<Backend, 'copyStatus' | 'setCopyRate' | 'ensureCopyPaused'>
}

interface Op {
  id: string
  fence: number
  control: CopyToPace['control']
}

interface CopyingLook {
  done: boolean
  progress?: MigrationProgress
  advance: unknown
  /** Milliseconds; absent: as the wait says. */
  again?: number
}

/** How often a copy may begin anew before the operation gives up. */
const maxRestarts = 5

/** One look at the copy of an image that nobody writes to, by its storage node. */
export async function lookAtImageCopy(
  ports: ImageCopyPorts,
  op: Op,
  pair: { to: Copy; from: Copy; volumeId?: string | null },
  start: () => Promise<void>,
): Promise<CopyingLook> {
  const status = await ports.backend.copyStatus(pair)
  const { paused } = op.control
  const copy = { id: op.id, control: op.control, volumeId: null, ...pair }
  const paced = await ports.pace.at(copy, { doneBytes: status.doneBytes })
  const { rate } = paced
  if (status.phase === 'copying' || status.phase === 'paused') {
    await tellUnlessEnded(async () => {
      if (status.rate !== rate) await ports.backend.setCopyRate(callerOf(op), pair, rate)
      if ((status.phase === 'paused') !== paused) {
        await ports.backend.ensureCopyPaused(callerOf(op), pair, paused)
      }
    })
  }
  return lookAtCopying(ports, op, { ...status, isPaused: paused }, start, paced)
}

/** One look at a copy, whoever makes it: what is lost is started anew, so often and no more. */
export async function lookAtCopying(
  ports: CopyingPorts,
  op: Pick<Op, 'id'>,
  status: Pick<ImageCopyStatus, 'phase' | 'doneBytes' | 'totalBytes' | 'error'> & { isPaused: boolean },
  start: () => Promise<void>,
  paced?: Paced,
): Promise<CopyingLook> {
  const now = ports.monotonic()
  const seen = seenAt(ports.copying.get(op.id) ?? newCopyProgress(), status, now)
  ports.copying.set(op.id, seen)
  const advance = [seen.restarts, status.phase, status.doneBytes]
  if (status.phase === 'absent' || status.phase === 'failed') {
    const reason = status.error ?? 'its agent was restarted'
    if (seen.restarts > maxRestarts) {
      throw final(`The copy failed ${maxRestarts} times, at last with: ${reason}`)
    }
    await start()
    if (status.phase === 'failed') throw retryable(`The copy failed and was started again: ${reason}`)
    return { done: false, advance }
  }
  const leftBytes = Math.max(0, status.totalBytes - status.doneBytes)
  const progress: MigrationProgress = {
    phase: status.phase !== 'done' && status.isPaused ? 'paused' : 'copying',
    doneBytes: status.doneBytes,
    totalBytes: status.totalBytes,
    leftBytes,
    rateBps: seen.rateBps,
    etaSeconds: seen.rateBps > 0 ? Math.ceil(leftBytes / seen.rateBps) : null,
    clientLimitBps: null,
    mirrorRestarts: seen.restarts,
    ...(paced !== undefined && { pace: paced.view }),
  }
  if (status.phase === 'done') ports.pace.end(op.id)
  const again = nextLookMs(now - (seen.firstAt ?? now))
  return { done: status.phase === 'done', progress, advance, ...(again !== undefined && { again }) }
}
