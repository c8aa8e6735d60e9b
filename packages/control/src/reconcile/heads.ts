import { messageOf, type Caller } from '@volant/contract'
import type { Logger } from 'pino'
import type { Attachment } from '../domain/volume.ts'
import { ensureHead, ensureNoHead, type HeadPorts } from '../operations/head.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords } from '../ports/records.ts'

export interface RestoreHeadsPorts extends HeadPorts {
  attachments: Pick<AttachmentRecords, 'withHead' | 'find'>
  engine: Pick<OperationEngine, 'holderOf'>
  log: Logger
}

/** How many heads are made sure of at a time. */
const atOnce = 4

/**
 * At start, and from then on now and then: every attached volume has its head, found running or started on the
 * volume's truth. Its supervisor starts a head that dies, but not one that died at a cutover, nor one whose storage
 * was away when the control plane started. What an operation is working on is left to it: a migration may be
 * between two truths, the deletion of a server has closed its heads for good. Those of shares are brought back with what
 * stands on them: `shares.ts`.
 */
export async function restoreHeads(
  ports: RestoreHeadsPorts,
  caller: Caller,
  stopping?: AbortSignal,
): Promise<{ restored: number; failed: number }> {
  const waiting = (await ports.attachments.withHead()).filter(({ shareId }) => shareId === null)
  let restored = 0
  let failed = 0
  // Some at a time: one whose storage does not answer holds only its own lane up.
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (stopping?.aborted === true) return
      try {
        if (await restoreHead(ports, caller, next)) restored += 1
      } catch (error) {
        failed += 1
        ports.log.error(
          { attachmentId: next.id, volumeId: next.volumeId, err: error },
          `the head of a volume could not be restored: ${messageOf(error)}`,
        )
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  return { restored, failed }
}

/** False where an operation works on it, or it is gone by now. */
async function restoreHead(ports: RestoreHeadsPorts, caller: Caller, listed: Attachment): Promise<boolean> {
  if (await isWorkedOn(ports, listed)) return false
  // After the question, for an operation that has just ended may have removed it.
  const attachment = await ports.attachments.find(listed.id)
  if (attachment === undefined || attachment.host === null) return false
  await ensureHead(ports, caller, attachment)
  if ((await ports.attachments.find(listed.id)) === undefined) await ensureNoHead(ports, caller, attachment)
  return true
}

async function isWorkedOn({ engine }: RestoreHeadsPorts, attachment: Attachment): Promise<boolean> {
  const { volumeId, serverId } = attachment
  for (const key of [`volume/${volumeId}`, `server/${serverId}`, `server-delete/${serverId}`]) {
    if ((await engine.holderOf(key)) !== undefined) return true
  }
  return false
}
