import type { FastifyReply } from 'fastify'
import type { Begun } from '../../app/ontap/changes.ts'
import { OntapError } from '../../domain/ontap/error.ts'
import { codeOf } from '../../domain/ontap/fault.ts'
import { jobLink } from '../../domain/ontap/job.ts'
import type { OntapRecord } from '../../domain/ontap/query.ts'
import type { OperationEngine } from '../../ports/operations.ts'

/** Tells when the operation behind a job has ended, or needs attention. */
export type JobWaiting = Pick<OperationEngine, 'settled'>

/**
 * Answers a request that began jobs: 202 with them, or, where all ended well within the time that the caller gives, as if
 * there had been none. Where one failed, with its error.
 */
export async function sendBegun(
  reply: FastifyReply,
  jobs: JobWaiting,
  begun: Begun,
  options: {
    waitSeconds: number
    created?: { path: string; record?: () => Promise<OntapRecord | undefined> }
  },
): Promise<FastifyReply> {
  const { created } = options
  const at = created !== undefined && begun.uuid !== undefined ? `${created.path}/${begun.uuid}` : undefined
  if (at !== undefined) void reply.header('location', at)
  const done = begun.jobs.length === 0 || (await allEnded(jobs, begun.jobs, options.waitSeconds))
  void reply.type('application/hal+json')
  const links = begun.jobs.map(jobLink)
  const body: OntapRecord =
    links.length === 1 ? { job: links[0] ?? null } : links.length === 0 ? {} : { jobs: links }
  if (!done) return reply.code(202).send(body)
  const record = await created?.record?.()
  return reply
    .code(at === undefined ? 200 : 201)
    .send(record === undefined ? body : { ...body, num_records: 1, records: [record] })
}

/** Throws the first failure. */
async function allEnded(jobs: JobWaiting, ids: readonly string[], seconds: number): Promise<boolean> {
  if (seconds === 0) return false
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), seconds * 1000)
    timer.unref()
  })
  try {
    const runs = await Promise.race([Promise.all(ids.map((id) => jobs.settled(id))), late])
    if (runs === undefined || runs.some(({ endedAt }) => endedAt === null)) return false
    const failed = runs.find(({ state }) => state !== 'succeeded')
    if (failed === undefined) return true
    const message = failed.failure?.message ?? 'The job was cancelled, and what it did was undone.'
    throw new OntapError(409, codeOf(failed.failure?.code ?? 'conflict'), message)
  } finally {
    clearTimeout(timer)
  }
}
