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

/**
 * At start, and from then on now and then: every attached volume has its head, found running or started on the
 * volume's truth. Its supervisor starts a head that dies, but not one that died at a cutover, nor one whose storage
 * was away when the control plane started. What an operation is working on is left to it: a migration may be
 * between two truths, the deletion of a server has closed its heads for good.
 */
export async function restoreHeads(
  ports: RestoreHeadsPorts,
  caller: Caller,
): Promise<{ restored: number; failed: number }> {
  let restored = 0
  let failed = 0
  for (const listed of await ports.attachments.withHead()) {
    try {
      if (await isWorkedOn(ports, listed)) continue
      // After the question, for an operation that has just ended may have removed it.
      const attachment = await ports.attachments.find(listed.id)
      if (attachment === undefined || attachment.host === null) continue
      await ensureHead(ports, caller, attachment)
      restored += 1
      if ((await ports.attachments.find(listed.id)) === undefined)
        await ensureNoHead(ports, caller, attachment)
    } catch (error) {
      failed += 1
      ports.log.error(
        { attachmentId: listed.id, volumeId: listed.volumeId, err: error },
        `the head of a volume could not be restored: ${messageOf(error)}`,
      )
    }
  }
  return { restored, failed }
}

async function isWorkedOn({ engine }: RestoreHeadsPorts, attachment: Attachment): Promise<boolean> {
  const { volumeId, serverId } = attachment
  for (const key of [`volume/${volumeId}`, `server/${serverId}`, `server-delete/${serverId}`]) {
    if ((await engine.holderOf(key)) !== undefined) return true
  }
  return false
}
