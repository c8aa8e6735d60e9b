import { DomainError } from '@volant/contract'
import { HistoryQuery } from '@volant/contract/ndo/history.ts'
import { MigrationRequest } from '@volant/contract/ndo/migration.ts'
import {
  DecideRequest,
  isSettled,
  OperationListQuery,
  SetPaceRequest,
  SetRateRequest,
  type Operation,
} from '@volant/contract/ndo/operation.ts'
import { UndoRequest } from '@volant/contract/ndo/undo.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { HostPlans } from '../../app/host-plan.ts'
import type { Migrations } from '../../app/migration.ts'
import type { Principal } from '../../domain/principal.ts'
import type { Operations } from '../../app/operation.ts'
import type { SystemStatusReader } from '../../app/status.ts'
import type { Sweeps } from '../../app/sweep.ts'
import type { Undos } from '../../app/undo.ts'
import { authenticate, type TokenVerifier } from '../authenticate.ts'
import { faultOf } from '../errors.ts'
import { acceptJson, parser } from '../parse.ts'
import type { HttpService } from '../server.ts'
import { planRoutes } from './plans.ts'
import { storageRoutes, type StorageParts } from './storage.ts'
import { sweepRoutes } from './sweep.ts'

/** A comment at least this often keeps the stream's connection alive. */
const keepAliveMs = 15_000

const parseId = parser(
  Type.Object({ id: Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9-]+$' }) }),
  'id',
)
const parseMigration = parser(MigrationRequest)
const parseUndo = parser(UndoRequest)
const parseDecision = parser(DecideRequest)
const parseRate = parser(SetRateRequest)
const parsePaceWishes = parser(SetPaceRequest)
const parseHistoryQuery = parser(HistoryQuery, 'query')
const parseListQuery = parser(OperationListQuery, 'query')

/**
 * Volant's own API: what OpenStack's has no place for. Operations with their progress as a stream, pause, resume,
 * cancel, skip, decide, rate, undo; migrations with a dry run; where a volume is; aggregates, FlexVols and their moves;
 * compute hosts, their drain and restore.
 */
export function ndoService(options: {
  tokens: TokenVerifier
  operations: Operations
  migrations: Migrations
  undos: Undos
  status: SystemStatusReader
  sweeps: Sweeps
  storage: Omit<StorageParts, 'operations'>
  plans: HostPlans
}): HttpService {
  return {
    prefix: '/ndo',
    plugin: async (app) => {
      acceptJson(app)
      app.setErrorHandler((error, request, reply) => {
        const fault = faultOf(error)
        if (fault.status >= 500) request.log.error({ err: error }, fault.message)
        return reply
          .code(fault.status)
          .send({ error: { code: fault.code, status: fault.status, message: fault.message } })
      })
      app.setNotFoundHandler((_request, reply) =>
        reply
          .code(404)
          .send({ error: { code: 'notFound', status: 404, message: 'There is no such resource.' } }),
      )
      app.addHook('onRequest', authenticate(options.tokens))
      operationRoutes(app, options.operations)
      migrationRoutes(app, options.migrations, options.operations)
      undoRoutes(app, options.undos, options.operations)
      statusRoutes(app, options.status)
      sweepRoutes(app, options.sweeps)
      planRoutes(app, options.plans, options.operations)
      storageRoutes(app, { ...options.storage, operations: options.operations })
    },
  }
}

function operationRoutes(app: FastifyInstance, operations: Operations): void {
  app.get('/v1/operations', (request) => {
    return operations.list(request.principal, parseListQuery(withLimit(request)))
  })
  app.get('/v1/history', (request) =>
    operations.histories(request.principal, parseHistoryQuery(withLimit(request))),
  )
  app.get('/v1/operations/:id/history', (request) => operations.history(request.principal, idOf(request)))
  app.get('/v1/operations/:id', async (request) => ({
    operation: await operations.show(request.principal, idOf(request)),
  }))
  for (const wish of ['pause', 'resume', 'cancel', 'skip'] as const) {
    app.post(`/v1/operations/:id/${wish}`, async (request, reply) => {
      const operation = await operations[wish](request.principal, idOf(request))
      return reply.code(202).send({ operation })
    })
  }
  app.post('/v1/operations/:id/decide', async (request, reply) => {
    const { happened } = parseDecision(request.body)
    const operation = await operations.decide(request.principal, idOf(request), happened)
    return reply.code(202).send({ operation })
  })
  app.put('/v1/operations/:id/rate', async (request, reply) => {
    const { bytes_per_second } = parseRate(request.body)
    const operation = await operations.setRate(request.principal, idOf(request), bytes_per_second)
    return reply.code(202).send({ operation })
  })
  app.put('/v1/operations/:id/pace', async (request, reply) => {
    const operation = await operations.setPace(
      request.principal,
      idOf(request),
      parsePaceWishes(request.body),
    )
    return reply.code(202).send({ operation })
  })
  app.get('/v1/operations/:id/events', (request, reply) => streamEvents(operations, request, reply))
}

/** The query, its limit as a number. */
function withLimit(request: FastifyRequest): Record<string, unknown> {
  const query = request.query as Record<string, unknown>
  return query['limit'] === undefined ? query : { ...query, limit: Number(query['limit']) }
}

/**
 * Server-sent events. `progress` carries an `Operation` as JSON: one at once, then one for each change. `end` carries
 * the last one, when it is settled; then the stream closes. A comment line at least every 15 s keeps connections alive.
 */
async function streamEvents(
  operations: Operations,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const id = idOf(request)
  const first = await operations.show(request.principal, id)
  reply.hijack()
  const stream = reply.raw
  stream.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-openstack-request-id': request.id,
  })
  const send = (name: 'progress' | 'end', operation: Operation): void => {
    stream.write(`event: ${name}\ndata: ${JSON.stringify(operation)}\n\n`)
  }
  const keepAlive = setInterval(() => stream.write(': alive\n\n'), keepAliveMs)
  let stop: () => void = () => {}
  const close = (): void => {
    clearInterval(keepAlive)
    stop()
    stream.end()
  }
  stream.on('close', close)
  const show = (operation: Operation): void => {
    send('progress', operation)
    if (!isSettled(operation.state)) return
    send('end', operation)
    close()
  }
  if (!isSettled(first.state)) stop = operations.watch(id, show)
  // Read again: it may have changed between the first look and the subscription.
  show(isSettled(first.state) ? first : await operations.show(request.principal, id))
}

function migrationRoutes(app: FastifyInstance, migrations: Migrations, operations: Operations): void {
  app.post('/v1/migrations', async (request, reply) => {
    const body = parseMigration(request.body)
    const { principal } = request
    const wanted = {
      principal,
      volumeId: await volumeOf(migrations, principal, body),
      host: body.host,
      lockVolume: false,
      ...(body.rate === undefined ? {} : { rate: body.rate }),
      ...(body.pace === undefined ? {} : { pace: body.pace }),
      ...(body.priority === undefined ? {} : { priority: body.priority }),
    }
    if (body.dry_run === true) return { plan: await migrations.plan(wanted) }
    const { operationId } = await migrations.start(wanted)
    return reply.code(202).send({ operation: await operations.show(request.principal, operationId) })
  })
}

async function volumeOf(
  migrations: Pick<Migrations, 'rootDiskOf'>,
  principal: Principal,
  { volume, server }: MigrationRequest,
): Promise<string> {
  if (volume !== undefined && server === undefined) return volume
  if (server !== undefined && volume === undefined) return migrations.rootDiskOf(principal, server)
  throw new DomainError('invalid', "Give 'volume', or 'server' for a server's root disk, and not both.")
}

function undoRoutes(app: FastifyInstance, undos: Undos, operations: Operations): void {
  app.post('/v1/operations/:id/undo', async (request, reply) => {
    const id = idOf(request)
    const { dry_run, ...wishes } = parseUndo(request.body ?? {})
    if (dry_run === true) return { plan: await undos.plan(request.principal, id) }
    const { operationId, plan } = await undos.undo(request.principal, id, wishes)
    return reply.code(202).send({ operation: await operations.show(request.principal, operationId), plan })
  })
}

function statusRoutes(app: FastifyInstance, status: SystemStatusReader): void {
  app.get('/v1/status', async (request) => ({ status: await status.system(request.principal) }))
  app.get('/v1/volumes/:id/placement', async (request) => ({
    placement: await status.placement(request.principal, idOf(request)),
  }))
}

const idOf = (request: FastifyRequest): string => parseId(request.params).id
