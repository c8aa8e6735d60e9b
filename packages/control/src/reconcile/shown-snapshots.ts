import { isDeepStrictEqual } from 'node:util'
import { isDomainError, messageOf } from '@volant/contract'
import type { Logger } from 'pino'
import { applySnapshotAccess } from '../operations/apply-snapshot-access.ts'
import { shareServiceOf } from '../operations/share-service.ts'
import {
  shownAttachmentOf,
  snapshotExportOf,
  type SnapshotServicePorts,
} from '../operations/snapshot-service.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { SnapshotAccessRecords } from '../ports/shares.ts'

export interface RestoreShownPorts extends SnapshotServicePorts {
  snapshotAccess: SnapshotAccessRecords
  engine: Pick<OperationEngine, 'holderOf' | 'start'>
  log: Logger
}

/**
 * Snapshots that can be mounted are served as the records say: where something is missing, or rules are queued, or the last
 * rule went while the volume was being moved, their operation is started. What works on one now is left alone.
 */
export async function restoreShownSnapshots(ports: RestoreShownPorts): Promise<{ started: string[] }> {
  const shown = (await ports.shown.list()).map(({ snapshotId }) => snapshotId)
  const started: string[] = []
  for (const snapshotId of new Set([...shown, ...(await ports.snapshotAccess.snapshots())])) {
    try {
      if (await isAsItShould(ports, snapshotId)) continue
      const { projectId, status } = await ports.snapshots.get(snapshotId)
      if (status !== 'available') continue
      const volumeId = (await ports.shown.find(snapshotId))?.volumeId ?? crypto.randomUUID()
      // A move would give way for it, and copy anew.
      const keys = [`snapshot/${snapshotId}`, `volume/${volumeId}`]
      const holders = await Promise.all(keys.map((key) => ports.engine.holderOf(key)))
      if (holders.some((holder) => holder !== undefined)) continue
      const volume = { volumeId, copyId: crypto.randomUUID(), attachmentId: crypto.randomUUID() }
      await ports.engine.start(applySnapshotAccess, { snapshotId, projectId, requestId: null, volume })
      started.push(snapshotId)
    } catch (error) {
      if (isDomainError(error) && error.code === 'conflict') continue
      ports.log.error({ snapshotId, err: error }, `a snapshot could not be shown: ${messageOf(error)}`)
    }
  }
  return { started }
}

async function isAsItShould(ports: RestoreShownPorts, snapshotId: string): Promise<boolean> {
  const rules = await ports.snapshotAccess.ofSnapshot(snapshotId)
  if (rules.some(({ state }) => state === 'queued_to_apply' || state === 'queued_to_deny')) return false
  const shown = await ports.shown.find(snapshotId)
  // A rule that could not be brought about is the user's to take away.
  if (shown === undefined) return rules.every(({ state }) => state === 'error')
  if (rules.length === 0) return false
  const attachment = await shownAttachmentOf(ports, shown)
  const heads = await ports.agents.holders(ports.places.machineOf(attachment)).listHolders()
  if (!heads.some(({ holderId }) => holderId === attachment.headId)) return false
  const status = await ports.agents.shares(attachment.host).shareStatus(snapshotId)
  if (status.fileSystem === undefined || status.fileSystem.trouble !== undefined) return false
  if (status.export === undefined) return false
  const { isServed, ...is } = status.export
  const service = shareServiceOf(ports.topology, shown.cluster)
  return isServed && isDeepStrictEqual(is, await snapshotExportOf(ports, shown, service))
}
