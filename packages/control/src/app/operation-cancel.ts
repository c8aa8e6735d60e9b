import { DomainError, isDomainError } from '@volant/contract'
import type { RunRecord } from '@volant/saga'
import { resourceOf } from '../domain/operation-view.ts'
import type { OperationEngine } from '../ports/operations.ts'

/** How long a request waits for the end of what it has cancelled; its undo goes on after that. Milliseconds. */
const patienceMs = 20_000

export interface Resource {
  type: 'volume' | 'server' | 'snapshot' | 'share'
  id: string
}

type Cancelled = 'none' | 'ended' | 'ending'

type Engine = Pick<OperationEngine, 'cancel' | 'holderOf' | 'latestOf' | 'settled'>

/**
 * Cancels the operation that works on a volume, a snapshot or a server, and waits a while for its end. An administrator who
 * resets a state wants to have it out of the way; the operation itself leaves the state that is true.
 *
 * - `none`    nothing was under way
 * - `ended`   it was cancelled and everything is undone
 * - `ending`  the cancel is on record, and is being carried out; it survives a restart
 *
 * Throws `conflict` with the reason and with what is possible, where it is past its point of no return, where its undo
 * needs attention, and where it is an operation on another thing that only uses this one.
 */
export async function cancelOperationOn(
  engine: Engine,
  resource: Resource,
  patience: number = patienceMs,
): Promise<Cancelled> {
  const cancelled: Cancelled[] = []
  for (const key of keysOf(resource)) cancelled.push(await cancelHolder(engine, key, resource, patience))
  return cancelled.find((how) => how === 'ending') ?? cancelled.find((how) => how === 'ended') ?? 'none'
}

/** A deletion stands beside the server's other work, which it ends itself. */
const keysOf = ({ type, id }: Resource): string[] => {
  if (type === 'server') return [`server-delete/${id}`, `server/${id}`]
  // A migration stands beside the share's other work.
  return type === 'share' ? [`share-migration/${id}`, `share/${id}`] : [`${type}/${id}`]
}

async function cancelHolder(
  engine: Engine,
  key: string,
  resource: Resource,
  patience: number,
): Promise<Cancelled> {
  const holder = await engine.holderOf(key)
  if (holder === undefined) return 'none'
  const run = (await engine.latestOf(key, 10)).find(({ id }) => id === holder.id)
  if (run !== undefined) requireOwn(run, resource)
  try {
    await engine.cancel(holder.id)
  } catch (error) {
    const ended =
      isDomainError(error) && error.code === 'conflict' && (await engine.holderOf(key)) === undefined
    if (ended) return 'none'
    throw error
  }
  const end = await within(patience, engine.settled(holder.id))
  if (end?.state === 'needs-attention') {
    throw new DomainError(
      'conflict',
      `Operation ${holder.id} (${holder.kind}) was cancelled, and what it did cannot be undone now: ` +
        `${end.step ?? ''}: ${end.failure?.message ?? ''}. See: volant operations show ${holder.id}`,
    )
  }
  return end === undefined ? 'ending' : 'ended'
}

function requireOwn(run: RunRecord, { type, id }: Resource): void {
  const worksOn = resourceOf(run)
  if (worksOn.type === type && worksOn.id === id) return
  throw new DomainError(
    'conflict',
    `Operation ${run.id} (${run.kind}) of ${worksOn.type} ${worksOn.id} uses ${type} ${id}: wait for its end, or ` +
      `cancel it: volant operations cancel ${run.id}`,
  )
}

/** Undefined: not in time. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
