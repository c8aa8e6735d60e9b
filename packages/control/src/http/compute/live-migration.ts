import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { ServerLiveMigrations } from '../../app/live-migration.ts'
import { paramOf, since } from './request.ts'
import { bodyOf, boolean, hostName, strict, toBoolean } from './schema.ts'

const host = () => Type.Union([hostName(), Type.Null()])
const automatic = () => Type.Union([boolean(), Type.Literal('auto')])

/** The action, newest microversion first: each changed what it is asked with. */
const bodies = {
  '2.68': bodyOf(strict({ 'os-migrateLive': strict({ host: host(), block_migration: automatic() }) })),
  '2.30': bodyOf(
    strict({
      'os-migrateLive': strict({
        host: host(),
        block_migration: automatic(),
        force: Type.Optional(boolean()),
      }),
    }),
  ),
  '2.25': bodyOf(strict({ 'os-migrateLive': strict({ host: host(), block_migration: automatic() }) })),
  '2.1': bodyOf(
    strict({
      'os-migrateLive': strict({
        host: host(),
        block_migration: boolean(),
        disk_over_commit: boolean(),
      }),
    }),
  ),
}
const forceBody = bodyOf(strict({ force_complete: Type.Null() }))

/** `POST /servers/{id}/action` with `os-migrateLive`. */
export async function migrateLive(
  liveMigrations: ServerLiveMigrations,
  request: FastifyRequest,
  serverId: string,
): Promise<void> {
  const version = (Object.keys(bodies) as (keyof typeof bodies)[]).find((one) => since(request, one)) ?? '2.1'
  const asked: { host: string | null; block_migration: boolean | string; force?: boolean | string } = bodies[
    version
  ](request.body)['os-migrateLive']
  const { block_migration: block, force = false } = asked
  await liveMigrations.migrateLive(
    request.principal,
    serverId,
    {
      host: asked.host,
      blockMigration: block === 'auto' ? 'auto' : toBoolean(block),
      force: toBoolean(force),
    },
    request.id,
  )
}

/** What steers a live migration that is under way. */
export function liveMigrationRoutes(app: FastifyInstance, liveMigrations: ServerLiveMigrations): void {
  const path = '/servers/:id/migrations/:number'
  app.delete(path, async (request, reply) => {
    requireSince(request, '2.24')
    const which = { ...whichOf(request), queued: since(request, '2.65') }
    await liveMigrations.abort(request.principal, which, request.id)
    return accepted(reply)
  })
  app.post(`${path}/action`, async (request, reply) => {
    requireSince(request, '2.22')
    forceBody(request.body)
    await liveMigrations.forceComplete(request.principal, whichOf(request), request.id)
    return accepted(reply)
  })
}

const accepted = (reply: FastifyReply) => reply.code(202).send()

function requireSince(request: FastifyRequest, version: string): void {
  if (!since(request, version)) throw new DomainError('notFound', 'The resource could not be found.')
}

function whichOf(request: FastifyRequest): { serverId: string; number: number } {
  const serverId = paramOf(request, 'id')
  const text = paramOf(request, 'number')
  if (/^\d{1,15}$/.test(text)) return { serverId, number: Number(text) }
  throw new DomainError('notFound', `Migration ${text} not found for instance ${serverId}`)
}
