import { DomainError } from '@volant/contract'
import { nothingToUndo, operation, retryable } from '@volant/saga'
import { shareMessageEvents } from '../domain/share-message.ts'
import type { ShareAccessState, SnapshotAccessRule } from '../domain/share.ts'
import type { Attachment, Copy, Volume } from '../domain/volume.ts'
import type { SnapshotAccessRecords } from '../ports/shares.ts'
import { callerOf } from './caller.ts'
import {
  contentWait,
  lookAtContent,
  planContent,
  removeContent,
  sealContent,
  startContent,
  type ContentPorts,
} from './content.ts'
import { throughRestart } from './patience.ts'
import { clearShareFailure, noteShareFailure, type ShareFailureNotes } from './share-failure.ts'
import { shareServiceOf } from './share-service.ts'
import {
  endSnapshotService,
  ensureSnapshotMounted,
  hideSnapshot,
  shownAttachmentOf,
  snapshotExportOf,
  type SnapshotServicePorts,
} from './snapshot-service.ts'

export interface ApplySnapshotAccessInput {
  /** Rules of it are queued, or it is to be served again. */
  snapshotId: string
  projectId: string
  requestId: string | null
  /** The volume that it is, or will be, served from. Null: somebody else works on that; only its export changes. */
  volume: { volumeId: string; copyId: string; attachmentId: string } | null
}

type Own = 'agents' | 'attachments' | 'backend' | 'copies'

export interface ApplySnapshotAccessPorts
  extends ShareFailureNotes, Omit<SnapshotServicePorts, Own>, Omit<ContentPorts, Own> {
  snapshotAccess: SnapshotAccessRecords
  agents: SnapshotServicePorts['agents']
  attachments: ContentPorts['attachments']
  backend: ContentPorts['backend']
  copies: ContentPorts['copies']
}

const passing: readonly ShareAccessState[] = ['queued_to_apply', 'applying', 'queued_to_deny', 'denying']
const leaving: readonly ShareAccessState[] = ['queued_to_deny', 'denying']

/**
 * Brings a snapshot's access rules to its export. With the first rule the snapshot is shown: a clone of its image is
 * mounted read-only, and exported. With the last one all of that goes.
 */
export const applySnapshotAccess = operation<ApplySnapshotAccessInput, ApplySnapshotAccessPorts>(
  'share.snapshot.access',
  { version: 1 },
)
  .holds(({ snapshotId, volume }) => [
    `snapshot-access/${snapshotId}`,
    // A move of the share holds both, as long as somebody thinks: rules change meanwhile.
    ...(volume === null ? [] : [`snapshot/${snapshotId}`, `volume/${volume.volumeId}`]),
  ])

  .step('claimRules', {
    do: () => null,
    // Nobody knows which of them are in effect: none is counted as such from now on.
    undo: async ({ input, ports }) => {
      for (const rule of await ports.snapshotAccess.ofSnapshot(input.snapshotId)) {
        await ports.snapshotAccess.updateIf(rule.id, passing, 'error')
      }
    },
  })

  // Beside the snapshot's image, wherever that is: there the two can share blocks.
  .step('layGround', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), () => layGround(ports, op, input, now().toISOString())),
    undo: async ({ input, ports }) => {
      if (await isMine(ports, input)) await ports.shown.clear(input.snapshotId)
    },
  })

  .step('makeImage', {
    do: async ({ op, input, out, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        if (out.layGround === null || input.volume === null) return null
        await startContent(ports, op, input.volume.copyId, out.layGround)
        return null
      }),
    undo: async ({ op, input, out, ports }) => {
      if (out.layGround === null || input.volume === null) return
      await removeContent(ports, op, input.volume.copyId, out.layGround)
    },
    skipUndo: 'what was made of the image stays behind as a stray, which nothing uses',
    retry: throughRestart,
  })

  .wait('copied', {
    ...contentWait,
    until: async ({ op, input, out, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        if (out.layGround === null || input.volume === null) return { done: true, advance: null }
        return lookAtContent(ports, op, input.volume.copyId, out.layGround)
      }),
  })

  .step('finishImage', {
    do: async ({ op, input, out, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        if (out.layGround === null || input.volume === null) return null
        const { copyId } = input.volume
        await sealContent(ports, op, copyId, out.layGround, false)
        await ports.shown.complete(input.snapshotId, copyId, now().toISOString())
        return null
      }),
    // The undo of the second step removes all the rows.
    undo: nothingToUndo,
    retry: throughRestart,
  })

  .step('mountSnapshot', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        await mount(ports, op, input)
        return null
      }),
    undo: async ({ op, input, ports }) => {
      const shown = await ports.shown.find(input.snapshotId)
      if (shown === undefined || !(await isMine(ports, input))) return
      await endSnapshotService(ports, callerOf(op), shown)
    },
    retry: throughRestart,
  })

  .commit('apply', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        // Its block device may have been lost since: only what is exported is mounted anew by itself.
        await mount(ports, op, input)
        await applyAll(ports, op, input.snapshotId)
        return null
      }),
    happened: async ({ input, ports }) => (await passingRules(ports, input.snapshotId)).length === 0,
    ...throughRestart,
  })

  .step('hide', {
    do: async ({ op, input, ports }) => {
      const rules = await ports.snapshotAccess.ofSnapshot(input.snapshotId)
      if (input.volume !== null && rules.length === 0) {
        await hideSnapshot(ports, callerOf(op), input.snapshotId)
      }
      await clearShareFailure(ports, op)
      return null
    },
    retry: throughRestart,
  })

type Op = { id: string; fence: number }

const noting = <T>(
  ports: ApplySnapshotAccessPorts,
  op: Op,
  { snapshotId, projectId, requestId }: ApplySnapshotAccessInput,
  now: Date,
  work: () => Promise<T>,
): Promise<T> =>
  noteShareFailure(
    ports,
    op,
    { snapshotId, projectId, requestId },
    shareMessageEvents.accessFailed,
    now,
    work,
  )

/** It is shown by this operation, and was not before. */
const isMine = async (
  { copies }: ApplySnapshotAccessPorts,
  { volume }: ApplySnapshotAccessInput,
): Promise<boolean> => volume !== null && (await copies.find(volume.copyId)) !== undefined

async function passingRules(
  { snapshotAccess }: ApplySnapshotAccessPorts,
  snapshotId: string,
): Promise<SnapshotAccessRule[]> {
  return (await snapshotAccess.ofSnapshot(snapshotId)).filter(({ state }) => passing.includes(state))
}

/** What its image is made of, and how; null: there is nothing to be made. */
async function layGround(
  ports: ApplySnapshotAccessPorts,
  op: Op,
  input: ApplySnapshotAccessInput,
  at: string,
) {
  const { snapshotId, volume } = input
  const known = await ports.shown.find(snapshotId)
  if (known !== undefined && volume !== null && known.volumeId !== volume.volumeId) {
    throw new DomainError('conflict', `Snapshot ${snapshotId} came to be shown meanwhile. Ask again.`)
  }
  if (volume === null || (known !== undefined && !(await isMine(ports, input)))) return null
  const rules = await ports.snapshotAccess.ofSnapshot(snapshotId)
  if (rules.every(({ state }) => leaving.includes(state))) return null
  const snapshot = await ports.snapshots.get(snapshotId)
  if (snapshot.imageId === null) throw new DomainError('conflict', `Snapshot ${snapshotId} has no data.`)
  const from = await ports.copies.get(snapshot.imageId)
  const { method, reservedBytes } = await planContent(ports, { from, place: from, volumeId: null })
  const share = await ports.shares.get(snapshot.shareId ?? '')
  const { node } = shareServiceOf(ports.topology, share.cluster)
  const { volumeId, copyId, attachmentId } = volume
  const made: Volume = {
    id: volumeId,
    projectId: share.projectId,
    userId: share.userId,
    name: `snapshot_${snapshotId}`,
    description: null,
    sizeGib: snapshot.sizeGib,
    status: 'creating',
    migrationStatus: null,
    previousStatus: null,
    bootable: false,
    multiattach: false,
    availabilityZone: share.availabilityZone,
    volumeTypeId: null,
    flexvolId: from.flexvolId,
    imageId: null,
    sourceVolid: null,
    // A move copies it whole: with the snapshot as its base it and the share would wait for each other until the cutover.
    snapshotId: null,
    shareId: share.id,
    rootOf: null,
    metadata: {},
    imageMetadata: {},
    createdAt: at,
    updatedAt: null,
  }
  const copy: Copy = {
    ...from,
    imageId: copyId,
    volumeId,
    snapshotId: null,
    state: 'target',
    operationId: op.id,
    reservedBytes,
    retainedUntil: null,
    createdAt: at,
  }
  const attachment: Attachment = {
    id: attachmentId,
    headId: attachmentId,
    volumeId,
    serverId: null,
    projectId: share.projectId,
    host: node,
    // What its node calls it: file system and block device are the snapshot's own.
    shareId: snapshotId,
    rootOf: null,
    status: 'attaching',
    attachMode: 'ro',
    mountpoint: null,
    bootIndex: null,
    deleteOnTermination: false,
    connector: null,
    attachedAt: null,
    createdAt: at,
  }
  const { cluster } = share
  const shown = { snapshotId, shareId: share.id, cluster, volumeId, createdAt: at }
  await ports.shown.lay(shown, { volume: made, copy, attachment })
  return { sourceImageId: from.imageId, method }
}

async function mount(
  ports: ApplySnapshotAccessPorts,
  op: Op,
  { snapshotId, volume }: ApplySnapshotAccessInput,
): Promise<void> {
  const shown = await ports.shown.find(snapshotId)
  if (shown === undefined || volume === null) return
  await ensureSnapshotMounted(ports, callerOf(op), shown)
}

/** Rounds in which something new was queued. */
const mostRounds = 100

async function applyAll(ports: ApplySnapshotAccessPorts, op: Op, snapshotId: string): Promise<void> {
  for (let round = 0; round < mostRounds; round++) {
    const rules = await passingRules(ports, snapshotId)
    const denied = rules.filter(({ state }) => leaving.includes(state))
    for (const { id } of denied) await ports.snapshotAccess.updateIf(id, ['queued_to_deny'], 'denying')
    const admitted = rules.filter(({ state }) => !leaving.includes(state))
    for (const { id } of admitted) await ports.snapshotAccess.updateIf(id, ['queued_to_apply'], 'applying')
    const shown = await ports.shown.find(snapshotId)
    if (shown !== undefined) {
      const { host } = await shownAttachmentOf(ports, shown)
      const service = shareServiceOf(ports.topology, shown.cluster)
      const spec = await snapshotExportOf(ports, shown, service)
      await ports.agents.shares(host).ensureShareExport(callerOf(op), spec)
    } else if (admitted.length > 0) {
      // It was hidden when the rule came; whoever looks next shows it.
      throw retryable(`Snapshot ${snapshotId} is not shown.`)
    }
    for (const { id } of denied) await ports.snapshotAccess.remove(id)
    for (const { id } of admitted) await ports.snapshotAccess.updateIf(id, ['applying'], 'active')
    if ((await passingRules(ports, snapshotId)).length === 0) return
  }
  throw retryable('Rules are queued faster than they can be brought to the export.')
}
