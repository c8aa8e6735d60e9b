import { AggregateRequest } from '@volant/contract/ndo/aggregate.ts'
import { FlexVolRequest, FlexVolResizeRequest } from '@volant/contract/ndo/flexvol.ts'
import { VacateRequest } from '@volant/contract/ndo/vacate.ts'
import { MoveChange, MoveListQuery, MoveRequest } from '@volant/contract/ndo/move.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { AggregateAdministration } from '../../app/aggregate-administration.ts'
import type { FlexVolAdministration } from '../../app/flexvol-administration.ts'
import type { MoveAdministration } from '../../app/move-administration.ts'
import type { Operations } from '../../app/operation.ts'
import type { ShareAdministration } from '../../app/share-administration.ts'
import type { Vacates } from '../../app/vacate.ts'
import { idText, nameText, parser } from '../parse.ts'

const parseAggregate = parser(AggregateRequest)
const parseAggregateName = parser(
  Type.Object({ cluster: nameText({ minLength: 1 }), name: nameText({ minLength: 1 }) }),
  'address',
)
const parseFlexVol = parser(FlexVolRequest)
const parseResize = parser(FlexVolResizeRequest)
const parseMove = parser(MoveRequest)
const parseMoveChange = parser(MoveChange)
const parseMoveQuery = parser(MoveListQuery, 'query')
const parseVacate = parser(VacateRequest)
const parseId = parser(Type.Object({ id: idText() }), 'id')

export interface StorageParts {
  operations: Operations
  aggregates: AggregateAdministration
  flexvols: FlexVolAdministration
  moves: MoveAdministration
  vacates: Vacates
  shares: ShareAdministration
}

/** Aggregates, FlexVols, and moves of FlexVols between aggregates; shares, which are FlexVols of their own. */
export function storageRoutes(app: FastifyInstance, parts: StorageParts): void {
  aggregateRoutes(app, parts)
  flexvolRoutes(app, parts)
  moveRoutes(app, parts)
  vacateRoutes(app, parts)
  shareRoutes(app, parts)
}

function shareRoutes(app: FastifyInstance, { shares }: StorageParts): void {
  app.get('/v1/shares', async (request) => ({ shares: await shares.list(request.principal) }))
  app.get('/v1/shares/:id', (request) => shares.show(request.principal, idOf(request)))
}

function aggregateRoutes(app: FastifyInstance, { aggregates, operations }: StorageParts): void {
  app.get('/v1/aggregates', async (request) => ({ aggregates: await aggregates.list(request.principal) }))
  app.post('/v1/aggregates', async (request, reply) => {
    const { operationId } = await aggregates.create(request.principal, parseAggregate(request.body))
    return started(operations, operationId, request, reply)
  })
  app.delete('/v1/aggregates/:cluster/:name', async (request, reply) => {
    const { cluster, name } = parseAggregateName(request.params)
    const { operationId } = await aggregates.remove(request.principal, cluster, name)
    return started(operations, operationId, request, reply)
  })
}

function flexvolRoutes(app: FastifyInstance, { flexvols, operations }: StorageParts): void {
  app.get('/v1/flexvols', async (request) => ({ flexvols: await flexvols.list(request.principal) }))
  app.get('/v1/flexvols/:id', async (request) => ({
    flexvol: await flexvols.show(request.principal, idOf(request)),
  }))
  app.post('/v1/flexvols', async (request, reply) => {
    const { operationId } = await flexvols.create(request.principal, parseFlexVol(request.body))
    return started(operations, operationId, request, reply)
  })
  app.post('/v1/flexvols/:id/resize', async (request) => ({
    flexvol: await flexvols.resize(request.principal, idOf(request), parseResize(request.body)),
  }))
  app.delete('/v1/flexvols/:id', async (request, reply) => {
    const { operationId } = await flexvols.remove(request.principal, idOf(request))
    return started(operations, operationId, request, reply)
  })
}

function moveRoutes(app: FastifyInstance, { moves, operations }: StorageParts): void {
  app.get('/v1/moves', async (request) => {
    const query = request.query as Record<string, unknown>
    const limit = query['limit'] === undefined ? {} : { limit: Number(query['limit']) }
    return { moves: await moves.list(request.principal, parseMoveQuery({ ...query, ...limit })) }
  })
  app.post('/v1/moves', async (request, reply) => {
    const wish = parseMove(request.body) as MoveRequest
    if (wish.dry_run === true) return { plan: await moves.plan(request.principal, wish) }
    const { operationId } = await moves.start(request.principal, wish)
    return started(operations, operationId, request, reply)
  })
  app.get('/v1/moves/:id', (request) => moves.show(request.principal, idOf(request)))
  app.post('/v1/moves/:id/modify', async (request, reply) => {
    const change = parseMoveChange(request.body) as MoveChange
    return reply.code(202).send({ move: await moves.modify(request.principal, idOf(request), change) })
  })
  for (const wish of ['trigger', 'hold', 'pause', 'resume', 'cancel'] as const) {
    app.post(`/v1/moves/:id/${wish}`, async (request, reply) =>
      reply.code(202).send({ move: await moves.wish(request.principal, idOf(request), wish) }),
    )
  }
}

function vacateRoutes(app: FastifyInstance, { vacates, operations }: StorageParts): void {
  app.post('/v1/vacates', async (request, reply) => {
    const wish = parseVacate(request.body)
    if (wish.dry_run === true) return { plan: await vacates.plan(request.principal, wish) }
    const { operationId, plan } = await vacates.start(request.principal, wish)
    const operation = await operations.show(request.principal, operationId)
    return reply.code(202).send({ operation, plan })
  })
}

/** Answers with the operation that the request has begun. */
async function started(
  operations: Operations,
  operationId: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  return reply.code(202).send({ operation: await operations.show(request.principal, operationId) })
}

const idOf = (request: FastifyRequest): string => parseId(request.params).id
