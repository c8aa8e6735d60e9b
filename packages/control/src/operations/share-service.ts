/**
 * What serves a share, from below: the head of its volume on the storage node that has the LIF, its file system on that, and
 * the NFS export. Whoever changes it does so in the share's turn.
 */
import { DomainError, type Caller, type FileSystemSpec, type ShareExportSpec } from '@volant/contract'
import { svmName } from '../domain/ontap/identity.ts'
import { junctionPathOf, type Share, type ShareAccessRule } from '../domain/share.ts'
import type { ShareTurns } from '../domain/share-turns.ts'
import type { ShareService, Topology } from '../domain/topology.ts'
import { gib, type Attachment } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { ShareAccessRecords, ShareRecords } from '../ports/shares.ts'
import { ensureHead, ensureNoHead, type HeadPorts } from './head.ts'

export interface ShareServicePorts extends HeadPorts {
  shares: Pick<ShareRecords, 'find' | 'get'>
  accessRules: Pick<ShareAccessRecords, 'ofShare'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  agents: Pick<Agents, 'holders' | 'shares'>
  topology: Pick<Topology, 'clusters'>
  serving: ShareTurns
}

/** How the cluster serves shares; throws `unavailable` where the configuration says nothing of it. */
export function shareServiceOf(topology: Pick<Topology, 'clusters'>, cluster: string): ShareService {
  const service = topology.clusters.find(({ name }) => name === cluster)?.shares
  if (service !== undefined) return service
  throw new DomainError('unavailable', `The configuration has no shares for cluster ${cluster}.`)
}

export type ShareAttachment = Attachment & { host: string }

/** Of a share that was placed. */
export async function shareAttachmentOf(
  ports: Pick<ShareServicePorts, 'attachments'>,
  share: Share,
): Promise<ShareAttachment | undefined> {
  if (share.volumeId === null) return undefined
  const attachments = await ports.attachments.ofVolume(share.volumeId)
  return attachments.find((one): one is ShareAttachment => one.shareId === share.id && one.host !== null)
}

export async function requireShareAttachment(
  ports: Pick<ShareServicePorts, 'attachments'>,
  share: Share,
): Promise<ShareAttachment> {
  const attachment = await shareAttachmentOf(ports, share)
  if (attachment !== undefined) return attachment
  throw new DomainError('conflict', `Share ${share.id} has no place yet: it is ${share.status}.`)
}

/** The head, or finds it running. */
export async function ensureShareHead(
  ports: ShareServicePorts,
  caller: Caller,
  share: Share,
): Promise<FileSystemSpec['head']> {
  const disk = await ensureHead(ports, caller, await requireShareAttachment(ports, share))
  return { socketPath: disk.socketPath, exportName: disk.exportName }
}

export async function ensureShareFileSystem(
  ports: ShareServicePorts,
  caller: Caller,
  share: Share,
  spec: Pick<FileSystemSpec, 'head' | 'content'> & { sizeGib: number },
): Promise<void> {
  const { host } = await requireShareAttachment(ports, share)
  await ports.agents.shares(host).ensureFileSystem(caller, {
    shareId: share.id,
    head: spec.head,
    sizeBytes: spec.sizeGib * gib,
    content: spec.content,
  })
}

/** Rules that are in effect: the others are not yet, or not any more, or could not be brought about. */
const inEffect: readonly ShareAccessRule['state'][] = ['applying', 'active']

/** The export as the records say. */
export async function shareExportOf(ports: ShareServicePorts, share: Share): Promise<ShareExportSpec> {
  if (share.exportId === null) {
    throw new DomainError('conflict', `Share ${share.id} has no place yet: it is ${share.status}.`)
  }
  const rules = await ports.accessRules.ofShare(share.id)
  return {
    shareId: share.id,
    server: { svm: svmName(share.cluster), lif: shareServiceOf(ports.topology, share.cluster).lif },
    exportId: share.exportId,
    junctionPath: junctionPathOf(share.id),
    clients: rules
      .filter(({ state }) => inEffect.includes(state))
      .map(({ accessTo, accessLevel }) => ({ to: accessTo, level: accessLevel }))
      // In one order, so that nothing is changed where nothing has changed.
      .toSorted((a, b) => (a.to < b.to ? -1 : 1)),
    rootSquash: share.rootSquash,
  }
}

export async function ensureShareExport(
  ports: ShareServicePorts,
  caller: Caller,
  shareId: string,
): Promise<void> {
  const share = await ports.shares.get(shareId)
  const { host } = await requireShareAttachment(ports, share)
  await ports.agents.shares(host).ensureShareExport(caller, await shareExportOf(ports, share))
}

/** Head, file system and export of a share that has a file system. */
export async function ensureServed(
  ports: ShareServicePorts,
  caller: Caller,
  shareId: string,
  sizeGib?: number,
): Promise<void> {
  const share = await ports.shares.get(shareId)
  const head = await ensureShareHead(ports, caller, share)
  const spec = { head, content: 'keep' as const, sizeGib: sizeGib ?? share.sizeGib }
  await ensureShareFileSystem(ports, caller, share, spec)
  await ensureShareExport(ports, caller, shareId)
}

/** No client reaches it any more. */
export async function ensureNotExported(
  ports: ShareServicePorts,
  caller: Caller,
  shareId: string,
  how: { forGood: boolean } = { forGood: false },
): Promise<void> {
  const attachment = await placed(ports, shareId)
  if (attachment !== undefined) {
    await ports.agents.shares(attachment.host).ensureNoShareExport(caller, shareId, how)
  }
}

/** Nothing writes to its head any more. It must not be exported. */
export async function ensureNoShareFileSystem(
  ports: ShareServicePorts,
  caller: Caller,
  shareId: string,
): Promise<void> {
  const attachment = await placed(ports, shareId)
  if (attachment !== undefined) {
    await ports.agents.shares(attachment.host).ensureNoFileSystem(caller, shareId)
  }
}

/** It has no file system any more: a head that goes below one would take it along. */
export async function ensureNoShareHead(
  ports: ShareServicePorts,
  caller: Caller,
  shareId: string,
): Promise<void> {
  const attachment = await placed(ports, shareId)
  if (attachment !== undefined) await ensureNoHead(ports, caller, attachment)
}

async function placed(ports: ShareServicePorts, shareId: string): Promise<ShareAttachment | undefined> {
  const share = await ports.shares.find(shareId)
  return share && shareAttachmentOf(ports, share)
}
