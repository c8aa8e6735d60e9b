/** An operation as a job of `/cluster/jobs`. Pure. */
import type { RunRecord, RunState } from '@volant/saga'
import { resourceOf } from '../operation-view.ts'
import { codeOf } from './fault.ts'
import { uuidOf } from './identity.ts'
import type { OntapRecord } from './query.ts'

type JobState = 'queued' | 'running' | 'paused' | 'success' | 'failure'

/** `needs-attention` still holds what it works on, and goes on when somebody resumes it: a paused job. */
const states: Record<RunState, JobState> = {
  pending: 'queued',
  running: 'running',
  waiting: 'running',
  paused: 'paused',
  cancelling: 'running',
  unwinding: 'running',
  succeeded: 'success',
  failed: 'failure',
  cancelled: 'failure',
  'needs-attention': 'paused',
}

const jobPath = (id: string): string => `/api/cluster/jobs/${id}`

export const jobLink = (id: string): OntapRecord => ({
  uuid: id,
  _links: { self: { href: jobPath(id) } },
})

export function jobRecord(cluster: { name: string }, run: RunRecord): OntapRecord {
  const isQueued = (run.progress as { phase?: unknown } | null)?.phase === 'queued'
  const state = states[run.state] === 'running' && isQueued ? 'queued' : states[run.state]
  const error = errorOf(run)
  return {
    uuid: run.id,
    description: descriptionOf(cluster, run),
    state,
    message: messageOf(run, state),
    code: error === null ? 0 : Number(error['code']),
    ...(error === null ? {} : { error }),
    start_time: run.createdAt,
    end_time: run.endedAt,
    _links: { self: { href: jobPath(run.id) } },
  }
}

function errorOf(run: RunRecord): { code: string; message: string } | null {
  if (run.state === 'cancelled')
    return { code: '8', message: 'It was cancelled, and what it did was undone.' }
  if (run.failure === null || (run.state !== 'failed' && run.state !== 'needs-attention')) return null
  return { code: codeOf(run.failure.code), message: run.failure.message }
}

function messageOf(run: RunRecord, state: JobState): string {
  if (run.state === 'needs-attention') {
    return `It needs attention at ${run.step ?? 'its end'}: ${run.failure?.message ?? ''} See: volant operations show ${run.id}`
  }
  if (state === 'failure') return errorOf(run)?.message ?? 'It has failed.'
  return sentences[state] ?? progressSentence(run)
}

const sentences: Partial<Record<JobState, string>> = {
  success: 'It is done.',
  queued: 'It has not begun yet.',
  paused: 'It is paused.',
}

/** What is under way now, as far as anybody can tell. */
function progressSentence(run: RunRecord): string {
  if (run.state === 'cancelling' || run.state === 'unwinding') {
    return 'It was given up, and what it did is being undone.'
  }
  const { images } = (run.progress ?? {}) as { images?: { moved: number; total: number } }
  if (run.kind === 'flexvol.move' && images !== undefined) {
    const { moved, total } = images
    return `${moved} of ${total} ${total === 1 ? 'image' : 'images'} ${moved === 1 ? 'has' : 'have'} moved.`
  }
  return 'It is under way.'
}

const methods: Record<string, string> = { create: 'POST', delete: 'DELETE', move: 'PATCH', rename: 'PATCH' }

/** The request that it carries out, as ONTAP describes its jobs; other operations by their name. */
function descriptionOf(cluster: { name: string }, run: RunRecord): string {
  const [noun, verb = ''] = run.kind.split('.')
  const input = run.input as Record<string, unknown>
  const method = methods[verb]
  if (noun === 'flexvol' && method !== undefined) {
    return `${method} /api/storage/volumes/${String(input['flexvolId'])}`
  }
  const name = input['name'] ?? (input['aggregate'] as { name?: unknown } | undefined)?.name
  if (noun === 'aggregate' && method !== undefined && typeof name === 'string') {
    return `${method} /api/storage/aggregates/${uuidOf(cluster.name, 'aggregate', name)}`
  }
  const { type, id } = resourceOf(run)
  return `${run.kind} of ${type} ${id}`
}

/** Whether the operation is about the cluster: it names it, or one of its FlexVols. */
export function isJobOf(
  cluster: string,
  flexvolIds: ReadonlySet<string>,
  run: Pick<RunRecord, 'input' | 'keys'>,
): boolean {
  const input = run.input as Record<string, unknown>
  if (input['cluster'] === cluster) return true
  const ids = [input['flexvolId'], input['sourceFlexvolId'], input['targetFlexvolId']]
  return ids.some((id) => typeof id === 'string' && flexvolIds.has(id))
}
