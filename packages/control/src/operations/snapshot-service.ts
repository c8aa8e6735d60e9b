/**
 * What serves a snapshot that can be mounted: a clone of its image, as a volume of the share's FlexVol, with a head, a file
 * system mounted read-only, and an export of its own. The storage node knows it by the snapshot's id.
 */
import { DomainError, type Caller, type ShareExportSpec } from '@volant/contract'
import { svmName } from '../domain/ontap/identity.ts'
import { snapshotJunctionPathOf, type ShareAccessState, type ShownSnapshot } from '../domain/share.ts'
import type { ShareService, Topology } from '../domain/topology.ts'
import { gib, type Attachment } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { AttachmentRecords, CopyRecords, SnapshotRecords } from '../ports/records.ts'
import type { ShareRecords, ShownSnapshotRecords, SnapshotAccessRecords } from '../ports/shares.ts'
import { ensureHead, ensureNoHead, type HeadPorts } from './head.ts'

export interface HideSnapshotPorts extends Omit<HeadPorts, 'copies' | 'backend' | 'agents'> {
  shown: Pick<ShownSnapshotRecords, 'find' | 'clear'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  copies: HeadPorts['copies']
  agents: Pick<Agents, 'holders' | 'shares'>
  backend: HeadPorts['backend'] & Pick<Backend, 'ensureNoImage'>
}

export interface SnapshotServicePorts extends HideSnapshotPorts {
  shown: ShownSnapshotRecords
  shares: Pick<ShareRecords, 'get'>
  snapshots: Pick<SnapshotRecords, 'get'>
  snapshotAccess: Pick<SnapshotAccessRecords, 'ofSnapshot'>
  copies: HeadPorts['copies'] & Pick<CopyRecords, 'find'>
  topology: Pick<Topology, 'clusters'>
}

type ShownAttachment = Attachment & { host: string }

export async function shownAttachmentOf(
  ports: Pick<HideSnapshotPorts, 'attachments'>,
  { snapshotId, volumeId }: ShownSnapshot,
): Promise<ShownAttachment> {
  const attachments = await ports.attachments.ofVolume(volumeId)
  const own = attachments.find((one): one is ShownAttachment => one.host !== null)
  if (own !== undefined) return own
  throw new DomainError('conflict', `Snapshot ${snapshotId} has no place yet.`)
}

/** Head and file system. What is there already stays as it is. */
export async function ensureSnapshotMounted(
  ports: SnapshotServicePorts,
  caller: Caller,
  shown: ShownSnapshot,
): Promise<void> {
  const attachment = await shownAttachmentOf(ports, shown)
  const { socketPath, exportName } = await ensureHead(ports, caller, attachment)
  const { sizeGib } = await ports.snapshots.get(shown.snapshotId)
  await ports.agents.shares(attachment.host).ensureFileSystem(caller, {
    shareId: shown.snapshotId,
    head: { socketPath, exportName },
    sizeBytes: sizeGib * gib,
    // Mounted beside the share that it is of: it needs an identity of its own.
    content: 'clone',
    readOnly: true,
  })
}

const inEffect: readonly ShareAccessState[] = ['applying', 'active']

/** The export as the records say. */
export async function snapshotExportOf(
  ports: Pick<SnapshotServicePorts, 'shares' | 'snapshotAccess' | 'topology'>,
  { snapshotId, shareId, cluster, exportId }: ShownSnapshot,
  { lif }: Pick<ShareService, 'lif'>,
): Promise<ShareExportSpec> {
  const { rootSquash } = await ports.shares.get(shareId)
  const rules = await ports.snapshotAccess.ofSnapshot(snapshotId)
  return {
    shareId: snapshotId,
    server: { svm: svmName(cluster), lif },
    exportId,
    junctionPath: snapshotJunctionPathOf(snapshotId),
    clients: rules
      .filter(({ state }) => inEffect.includes(state))
      .map(({ accessTo }) => ({ to: accessTo, level: 'ro' as const }))
      .toSorted((a, b) => (a.to < b.to ? -1 : 1)),
    rootSquash,
    readOnly: true,
  }
}

/** No client reaches it any more, and nothing of it is left but the snapshot. */
export async function hideSnapshot(
  ports: HideSnapshotPorts,
  caller: Caller,
  snapshotId: string,
): Promise<void> {
  const shown = await ports.shown.find(snapshotId)
  if (shown === undefined) return
  await endSnapshotService(ports, caller, shown)
  for (const copy of await ports.copies.ofVolume(shown.volumeId)) {
    // A snapshot's image is the snapshot's, whatever volume it is of.
    if (copy.snapshotId === null) await ports.backend.ensureNoImage(caller, copy)
  }
  await ports.shown.clear(snapshotId)
}

/** Export, file system and head end, in this order. */
export async function endSnapshotService(
  ports: HideSnapshotPorts,
  caller: Caller,
  shown: ShownSnapshot,
): Promise<void> {
  const attachment = await shownAttachmentOf(ports, shown)
  const agent = ports.agents.shares(attachment.host)
  await agent.ensureNoShareExport(caller, shown.snapshotId, { forGood: true })
  await agent.ensureNoFileSystem(caller, shown.snapshotId)
  await ensureNoHead(ports, caller, attachment)
}
