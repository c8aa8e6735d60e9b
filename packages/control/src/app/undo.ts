import { DomainError } from '@volant/contract'
import type { PaceWishes } from '@volant/contract/ndo/operation.ts'
import type { UndoPlan } from '@volant/contract/ndo/undo.ts'
import type { Executor, LogEntry, RunRecord } from '@volant/saga'
import { isInTheWay } from '../domain/giving-way.ts'
import { hostStringOf } from '../domain/migration.ts'
import { paceWishes } from '@volant/contract/ndo/pace.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import {
  isMove,
  judgeRun,
  moveOf,
  proveUnwritten,
  reasonFor,
  sealOf,
  undoableUntil,
  whyNotBack,
  type Move,
  type MoveSeal,
} from '../domain/undo.ts'
import type { Volume } from '../domain/volume.ts'
import { mirrored, revertMigration } from '../operations/revert-migration.ts'
import { gatherProof } from '../operations/seal-move.ts'
import type { Backend } from '../ports/backend.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, CopyRecords, FlexVolRecords, VolumeRecords } from '../ports/records.ts'
import type { Migrations } from './migration.ts'

/** Takes operations back. docs/protocol/undo.md */
export interface Undos {
  /** What `undo` would do, and why; changes nothing. */
  plan(principal: Principal, operationId: string): Promise<UndoPlan>
  /**
   * Gives the operation up where nothing was committed, else starts the one that brings its volume back. Throws
   * `conflict` or `noCapacity` with the reason where neither is possible; nothing is changed then.
   */
  undo(
    principal: Principal,
    operationId: string,
    /** Where the volume migrates back; throws `invalid`. */
    wishes?: PaceWishes,
  ): Promise<{ operationId: string; plan: UndoPlan }>
  /** Until when the operation's move can be undone; null: it is no move, or not any more. */
  undoableUntil(run: RunRecord): Promise<string | null>
}

export interface UndoSources {
  executor: Pick<Executor, 'get' | 'history' | 'cancel' | 'resume'>
  engine: OperationEngine
  migrations: Pick<Migrations, 'plan' | 'start'>
  volumes: VolumeRecords
  copies: CopyRecords
  attachments: AttachmentRecords
  flexvols: FlexVolRecords
  backend: Backend
  /** This installation's own, as in host strings. */
  host: string
  /** Seconds for which what a revert leaves is kept. */
  retentionSeconds: number
  clock: Clock
}

/** A plan with what it takes to carry it out. */
interface Prepared {
  plan: UndoPlan
  refusal?: DomainError
  /** Carries it out; tells the operation to look at. */
  start(wishes: PaceWishes): Promise<string>
}

export function createUndos(sources: UndoSources): Undos {
  const prepare = async (principal: Principal, operationId: string): Promise<Prepared> => {
    enforce(principal, 'ndo:operations', 'admin')
    const run = await sources.executor.get(operationId)
    const log = await sources.executor.history(operationId)
    const verdict = judgeRun(run, log)
    if (verdict.action === 'refuse') return refused(run, verdict.reason)
    if (verdict.action === 'bring-back') return bringBack(sources, principal, run, log)
    return {
      plan: { ...emptyPlan(run), ok: true, method: 'cancel', reason: verdict.reason },
      async start() {
        const { executor } = sources
        await (verdict.action === 'cancel' ? executor.cancel(run.id) : executor.resume(run.id))
        return run.id
      },
    }
  }
  return {
    plan: async (principal, operationId) => (await prepare(principal, operationId)).plan,
    async undo(principal, operationId, asked = {}) {
      const wishes = paceWishes(asked)
      const { plan, refusal, start } = await prepare(principal, operationId)
      if (refusal !== undefined) throw refusal
      return { operationId: await start(wishes), plan }
    },
    async undoableUntil(run) {
      if (run.state !== 'succeeded' || !isMove(run)) return null
      const move = moveOf(run)
      const kept = await sources.copies.find(move.sourceImageId)
      if (kept?.state !== 'retained') return null
      const facts = {
        move,
        kept,
        volume: await sources.volumes.find(move.volumeId),
        isHeld: isInTheWay(await sources.engine.holderOf(`volume/${move.volumeId}`)),
        now: sources.clock.now(),
      }
      return undoableUntil(facts) ?? null
    },
  }
}

const emptyPlan = (run: RunRecord): UndoPlan => ({
  ok: false,
  operation: run.id,
  method: null,
  reason: '',
  until: null,
  volume: null,
  source: null,
  target: null,
  checks: [],
  proof: [],
  estimate: null,
  steps: [],
})

function refused(run: RunRecord, reason: string): Prepared {
  const refusal = new DomainError('conflict', reason)
  return {
    plan: { ...emptyPlan(run), reason },
    refusal,
    start: () => Promise.reject(refusal),
  }
}

/** Not needed where nothing is copied and nobody has the volume open. */
const onlyForCopying = ['target-space', 'abilities', 'host-up']

async function bringBack(
  sources: UndoSources,
  principal: Principal,
  run: RunRecord,
  log: LogEntry[],
): Promise<Prepared> {
  const move = moveOf(run)
  const place = await placeOf(sources, run, move)
  const why = whyNotBack({ ...place, run, move, now: sources.clock.now() })
  const { volume, formerPool, kept } = place
  if (why !== undefined || volume === undefined || formerPool === null) return refused(run, why ?? '')

  const seal = sealOf(log)
  const proof = proveUnwritten(await gatherProof(sources, { operationId: run.id, move, seal }))
  const method = proof.every((part) => part.ok) ? 'revert' : 'migrate'
  const reason = reasonFor(proof)
  const wanted = {
    principal,
    volumeId: volume.id,
    host: formerPool,
    lockVolume: move.lockedFrom !== null,
    undoOf: { operationId: run.id, reason },
  }
  const back = await sources.migrations.plan(wanted)
  const copies = method === 'migrate'
  const checks = back.checks.filter((check) => copies || !onlyForCopying.includes(check.name))
  const missing = checks.find((check) => !check.ok)
  const plan: UndoPlan = {
    ok: missing === undefined,
    operation: run.id,
    method,
    reason: missing?.reason ?? reason,
    until: kept?.retainedUntil ?? null,
    volume: back.volume,
    source: back.source,
    target: formerPool,
    checks,
    proof,
    estimate: copies ? back.estimate : { bytes: 0, seconds: 0, rate: 0 },
    steps: copies ? back.steps : revertMigration.nodes.map((node) => node.name),
  }
  return {
    plan,
    ...(missing === undefined
      ? {}
      : {
          refusal: new DomainError(
            missing.name === 'target-space' ? 'noCapacity' : 'conflict',
            missing.reason,
          ),
        }),
    start: async (wishes) =>
      copies
        ? (await sources.migrations.start({ ...wanted, ...wishes })).operationId
        : startRevert(sources, volume, move, seal as MoveSeal, wanted.undoOf),
  }
}

async function placeOf(sources: UndoSources, run: RunRecord, move: Move) {
  const volume = await sources.volumes.find(move.volumeId)
  const flexvol = await sources.flexvols.find(move.sourceFlexvolId)
  const later = await sources.engine.latestOf(`volume/${move.volumeId}`, 100)
  const movedOn = later.find(
    (other) =>
      other.id !== run.id &&
      other.state === 'succeeded' &&
      isMove(other) &&
      moveOf(other).targetImageId === volume?.imageId,
  )
  return {
    volume,
    kept: await sources.copies.find(move.sourceImageId),
    formerPool: flexvol === undefined ? null : hostStringOf(sources.host, flexvol),
    movedOnBy: movedOn && { id: movedOn.id, undoes: moveOf(movedOn).undoOf?.operationId ?? null },
  }
}

/**
 * The claim is refused where the volume's row is not as the move left it: whoever used the volume since the proof
 * was looked at has changed the row, and whoever wants to use it now finds it claimed.
 */
async function startRevert(
  sources: UndoSources,
  volume: Volume,
  move: Move,
  seal: MoveSeal,
  undoOf: { operationId: string; reason: string },
): Promise<string> {
  const { volumes, engine, retentionSeconds } = sources
  const lockedFrom = move.lockedFrom === null ? null : volume.status
  const claimed = await volumes.updateIf(
    volume.id,
    {
      status: ['available'],
      migrationStatus: [null, 'success', 'error'],
      updatedAt: seal.volumeUpdatedAt,
    },
    { migrationStatus: 'starting', ...(lockedFrom === null ? {} : { status: 'maintenance' }) },
  )
  if (!claimed) {
    throw new DomainError(
      'conflict',
      'The state of the volume has just changed, and nothing was done. Try again.',
    )
  }
  try {
    const input = { ...mirrored(move), lockedFrom, undoOf, seal, retentionSeconds }
    return (await engine.start(revertMigration, input)).id
  } catch (error) {
    await volumes.update(volume.id, {
      migrationStatus: volume.migrationStatus,
      status: volume.status,
      updatedAt: volume.updatedAt,
    })
    throw error
  }
}
