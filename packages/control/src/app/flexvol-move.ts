import { DomainError, messageOf, type ErrorCode } from '@volant/contract'
import type { RunRecord } from '@volant/saga'
import { checkMove, windowRule, type MoveCheck, type MoveCheckFacts } from '../domain/move-checks.ts'
import {
  cutoverActions,
  cutoverWindowSeconds,
  isUnderWay,
  type FlexVolMove,
  type FlexVolMoveProgress,
  type MovingImage,
} from '../domain/flexvol-move.ts'
import { isAt } from '../domain/move-order.ts'
import { movingImages } from '../domain/move-progress.ts'
import { paceWishes } from '@volant/contract/ndo/pace.ts'
import type { Topology } from '../domain/topology.ts'
import type { AggregatePlace, Attachment, Copy, FlexVol } from '../domain/volume.ts'
import { gatherMove, type MoveFactsPorts } from '../operations/move-facts.ts'
import { moveFlexVol, newMove, type MoveFlexVolInput } from '../operations/move-flexvol.ts'
import type { Agents } from '../ports/agents.ts'
import type { Aggregates } from '../ports/aggregates.ts'
import type { Backend } from '../ports/backend.ts'
import type { Clock } from '../ports/clock.ts'
import type { FlexVolMovePlan, FlexVolMoveRequest, FlexVolMoves, Movement } from '../ports/flexvol-moves.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { Places } from '../ports/places.ts'
import type { CopyRecords, FlexVolMoveRecords, FlexVolRecords } from '../ports/records.ts'
import { isTurningBack, movementView } from './movement-view.ts'

export interface FlexVolMoveSources extends MoveFactsPorts {
  flexvols: Pick<FlexVolRecords, 'find' | 'get'>
  moves: Pick<FlexVolMoveRecords, 'find' | 'latestOf' | 'latest' | 'create' | 'update'>
  copies: Pick<CopyRecords, 'ofFlexVol'>
  backend: Pick<Backend, 'imageInfo' | 'usageAt' | 'canShare' | 'spaceAt'>
  agents: Pick<Agents, 'compute' | 'shares'>
  places: Pick<Places, 'machineOf'>
  aggregates: Pick<Aggregates, 'find' | 'list'>
  engine: OperationEngine
  topology: Topology
  settings: { rate: number; retentionSeconds: number }
  /** Why holders of this machine can't move images; empty: they can. */
  missingAbilities: (machine: string) => Promise<string[]>
  clock: Clock
}

/** For an estimate where no rate is set: what a disk of a small machine copies. Bytes per second. */
const assumedBps = 300 * 1024 * 1024

interface Prepared {
  plan: FlexVolMovePlan
  input: MoveFlexVolInput | undefined
}

export function createFlexVolMoves(sources: FlexVolMoveSources): FlexVolMoves {
  const { moves, engine } = sources

  const underWay = async (flexvolId: string): Promise<FlexVolMove> => {
    const flexvol = await sources.flexvols.get(flexvolId)
    const move = await moves.latestOf(flexvolId)
    if (move !== undefined && isUnderWay(move)) return move
    throw new DomainError('conflict', `FlexVol ${flexvol.name} is not moving.`)
  }
  const runOf = (moveId: string): Promise<RunRecord | undefined> =>
    engine.get(moveId).catch((error: unknown) => {
      if (error instanceof DomainError && error.code === 'notFound') return undefined
      throw error
    })
  const movement = async (move: FlexVolMove): Promise<Movement> => movementView(move, await runOf(move.id))

  return {
    plan: async (request) => (await prepare(sources, request)).plan,
    async start(request) {
      const wishes = paceWishes(request)
      const { plan, input } = await prepare(sources, request)
      refuseFirst(plan.checks)
      if (input === undefined)
        throw new DomainError('internal', 'A move without a destination was not refused.')
      const rate = request.rate ?? sources.settings.rate
      const { id } = await engine.start(moveFlexVol, input, {
        rate: rate === 0 ? null : rate,
        ...wishes,
        ...(request.parent !== undefined && { parent: request.parent }),
      })
      // Before it is answered: a wish may come at once, and it goes by the record.
      await moves.create(newMove(id, input, (await engine.get(id)).createdAt))
      return { operationId: id }
    },
    async modify(flexvolId, changes) {
      const move = await underWay(flexvolId)
      const { cutoverWindowSeconds: window, cutoverAction: action } = changes
      const checked = window === undefined ? undefined : windowRule(window)
      if (checked?.ok === false) throw new DomainError('invalid', checked.reason)
      if (action !== undefined && !cutoverActions.includes(action)) {
        throw new DomainError('invalid', `There is no cutover action '${String(action)}'.`)
      }
      await moves.update(move.id, {
        ...changes,
        // To wait is to hold; whoever takes that back lets the images go.
        ...(action === 'wait' && { cutover: 'held' as const }),
        ...(action !== undefined &&
          action !== 'wait' &&
          move.cutoverAction === 'wait' && { cutover: 'automatic' as const }),
      })
    },
    async trigger(flexvolId) {
      await moves.update((await underWay(flexvolId)).id, { cutover: 'triggered' })
    },
    async hold(flexvolId) {
      await moves.update((await underWay(flexvolId)).id, { cutover: 'held' })
    },
    async pause(flexvolId) {
      await engine.pause((await underWay(flexvolId)).id)
    },
    async resume(flexvolId) {
      await engine.resume((await underWay(flexvolId)).id)
    },
    async abort(flexvolId) {
      await engine.cancel((await underWay(flexvolId)).id)
    },
    async movementOf(flexvolId) {
      const move = await moves.latestOf(flexvolId)
      return move && movement(move)
    },
    async movements() {
      const all = new Map<string, Movement>()
      for (const [flexvolId, move] of await moves.latest()) all.set(flexvolId, await movement(move))
      return all
    },
    async images(moveId) {
      const move = await moves.find(moveId)
      if (move === undefined) throw new DomainError('notFound', `There is no move ${moveId}.`)
      const run = await runOf(moveId)
      const isBack =
        move.state === 'aborted' ||
        move.state === 'failed' ||
        isTurningBack(run, (run?.progress ?? null) as FlexVolMoveProgress | null)
      const input = run?.input as MoveFlexVolInput | undefined
      const { facts } = await gatherMove(sources, {
        id: move.id,
        flexvolId: move.flexvolId,
        held: move.cutover === 'held',
        shares: input?.shares ?? false,
        at: isBack ? move.from : move.to,
        now: sources.clock.now(),
      })
      if (!isUnderWay(move)) sources.moving.delete(move.id)
      const images = movingImages(facts, { isBack, estimateBytes: input?.estimateBytes ?? 0 })
      return move.endedAt === null ? images : withoutLater(sources, move, images)
    },
  }
}

/** What has been made since the move's end was no matter of it. */
async function withoutLater(
  sources: FlexVolMoveSources,
  { flexvolId, endedAt }: FlexVolMove,
  images: MovingImage[],
): Promise<MovingImage[]> {
  const snapshots = await sources.snapshots.ofFlexVol(flexvolId)
  const made = new Map(snapshots.map(({ id, createdAt }) => [id, createdAt]))
  for (const { kind, id } of images) {
    const volume = kind === 'volume' ? await sources.volumes.find(id) : undefined
    if (volume !== undefined) made.set(id, volume.createdAt)
  }
  return images.filter(({ id }) => (made.get(id) ?? '') <= (endedAt ?? ''))
}

async function prepare(sources: FlexVolMoveSources, request: FlexVolMoveRequest): Promise<Prepared> {
  const flexvol = await sources.flexvols.get(request.flexvolId)
  const view = await sources.aggregates.find(flexvol.cluster, request.aggregate)
  const to = view === undefined ? null : { node: view.node, aggregate: view.name }
  const from = { node: flexvol.node, aggregate: flexvol.aggregate }
  const copies = await sources.copies.ofFlexVol(flexvol.id)
  const live = copies.filter(({ state }) => state === 'live')
  const attachments = await attachmentsOf(sources, live)
  const size = await sizeOf(sources, flexvol, copies, to)
  const facts: MoveCheckFacts = {
    flexvol,
    aggregate: request.aggregate,
    known: (await sources.aggregates.list())
      .filter(({ cluster }) => cluster === flexvol.cluster)
      .map(({ name }) => name),
    target:
      view === undefined || to === null
        ? null
        : {
            place: to,
            state: view.state,
            reason: view.reason,
            ...(view.vacatedBy !== undefined && { vacatedBy: view.vacatedBy }),
          },
    latest: await sources.moves.latestOf(flexvol.id),
    heldBy: await sources.engine.holderOf(`flexvol/${flexvol.id}`),
    needBytes: size.bytes,
    freeBytes: view?.space?.availableBytes ?? null,
    sourceDown: size.down,
    hostsDown: await hostsDown(sources, attachments.held),
    missingAbilities: await abilities(sources, attachments.held),
    cutoverWindowSeconds: request.cutoverWindowSeconds ?? cutoverWindowSeconds.usual,
    cutoverAction: request.cutoverAction ?? 'retry_on_failure',
  }
  const checks = checkMove(facts)
  const rate = request.rate ?? sources.settings.rate
  const bps = rate === 0 ? assumedBps : Math.min(rate, assumedBps)
  return {
    plan: {
      ok: checks.every((check) => check.ok),
      flexvol,
      from,
      to,
      checks,
      images: {
        volumes: live.filter(({ snapshotId }) => snapshotId === null).length,
        attached: attachments.volumes,
        snapshots: live.filter(({ snapshotId }) => snapshotId !== null).length,
      },
      estimate:
        to === null
          ? null
          : {
              bytes: size.bytes,
              freeBytes: facts.freeBytes ?? 0,
              seconds: Math.ceil(size.bytes / bps),
              rate: bps,
              staysShared: size.shares,
            },
      steps: moveFlexVol.nodes.map((node) => node.name),
    },
    input:
      to === null
        ? undefined
        : {
            flexvolId: flexvol.id,
            from,
            to,
            shares: size.shares,
            estimateBytes: size.bytes,
            cutoverWindowSeconds: facts.cutoverWindowSeconds,
            cutoverAction: request.cutoverAction ?? 'retry_on_failure',
            retentionSeconds: sources.settings.retentionSeconds,
          },
  }
}

/** What the move copies. `down`: why the FlexVol's node could not tell. */
async function sizeOf(
  { backend, attachments }: FlexVolMoveSources,
  flexvol: FlexVol,
  copies: readonly Copy[],
  to: AggregatePlace | null,
): Promise<{ bytes: number; shares: boolean; down: string | null }> {
  // A snapshot that was there before, and whose image is kept, is not copied again.
  const isThere = ({ snapshotId }: Copy): boolean =>
    to !== null &&
    snapshotId !== null &&
    copies.some((one) => one.state === 'retained' && one.snapshotId === snapshotId && isAt(one, to))
  try {
    let bytes = 0
    let wholeBytes = 0
    for (const copy of copies.filter((one) => one.state === 'live' && !isThere(one))) {
      const allocatedBytes = (await backend.imageInfo(copy))?.allocatedBytes ?? 0
      bytes += allocatedBytes
      if (await isShownSnapshot(attachments, flexvol, copy)) wholeBytes += allocatedBytes
    }
    // Which blocks two images share only their own node can tell.
    const sameNode = to !== null && to.node === flexvol.node
    const shares = sameNode && (await backend.canShare(flexvol)) && (await backend.canShare(to))
    if (!shares) return { bytes, shares, down: null }
    const { uniqueBytes } = await backend.usageAt(flexvol, flexvol)
    return { bytes: Math.min(bytes, uniqueBytes + wholeBytes), shares, down: null }
  } catch (error) {
    return { bytes: 0, shares: false, down: messageOf(error) }
  }
}

/** What a snapshot that can be mounted is served from: it is copied whole. */
const isShownSnapshot = async (
  attachments: FlexVolMoveSources['attachments'],
  { shareId }: FlexVol,
  copy: Copy,
): Promise<boolean> =>
  shareId !== null &&
  copy.snapshotId === null &&
  (await attachments.ofVolume(copy.volumeId)).some((one) => one.shareId !== shareId)

type HeldAttachment = Attachment & { host: string }

/** Attachments of the volumes: where their heads are. */
async function attachmentsOf(
  { attachments }: FlexVolMoveSources,
  live: readonly Copy[],
): Promise<{ volumes: number; held: HeldAttachment[] }> {
  const held: HeldAttachment[] = []
  let volumes = 0
  for (const { volumeId, snapshotId } of live) {
    if (snapshotId !== null) continue
    const all = await attachments.ofVolume(volumeId)
    const own = all.filter((one): one is HeldAttachment => one.host !== null)
    if (own.length > 0) volumes += 1
    held.push(...own)
  }
  return { volumes, held }
}

/** Of a share it is the storage node that serves it. */
async function hostsDown(
  { agents }: FlexVolMoveSources,
  attachments: readonly HeldAttachment[],
): Promise<string[]> {
  const hosts = new Map(attachments.map((one) => [`${one.shareId === null}/${one.host}`, one]))
  const down: string[] = []
  for (const { host, shareId } of hosts.values()) {
    try {
      await (shareId === null ? agents.compute(host).listGuests() : agents.shares(host).shareStatus(shareId))
    } catch (error) {
      down.push(`${host} (${messageOf(error)})`)
    }
  }
  return down
}

async function abilities(
  { places, missingAbilities }: FlexVolMoveSources,
  attachments: readonly HeldAttachment[],
): Promise<string[]> {
  const machines = attachments.flatMap((one) => {
    try {
      return [places.machineOf(one)]
    } catch {
      // A host that the configuration does not have any more; its agent does not answer either.
      return []
    }
  })
  const missing = await Promise.all([...new Set(machines)].map((one) => missingAbilities(one)))
  return [...new Set(missing.flat())]
}

const codes: Record<string, ErrorCode> = {
  aggregate: 'notFound',
  'aggregate-online': 'unavailable',
  'not-vacated': 'conflict',
  'not-moving': 'conflict',
  'not-busy': 'conflict',
  'source-up': 'unavailable',
  'hosts-up': 'unavailable',
  space: 'noCapacity',
}

function refuseFirst(checks: readonly MoveCheck[]): void {
  const failed = checks.find((check) => !check.ok)
  if (failed === undefined) return
  throw new DomainError(codes[failed.name] ?? 'invalid', failed.reason, { detail: checks })
}
