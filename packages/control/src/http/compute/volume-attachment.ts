import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { VolumeAttachments } from '../../app/volume-attachment.ts'
import type { Attachment } from '../../domain/volume.ts'
import { paramOf, since } from './request.ts'
import { maxLimit, Query } from './query.ts'
import { bodyOf, boolean, requireKnown, strict, tag, toBoolean, uuid } from './schema.ts'

const device = () =>
  Type.Union([Type.String({ maxLength: 255, pattern: '^/dev/x?[a-z]?d?[a-z]+[0-9]*$' }), Type.Null()])

const attachBody = bodyOf(
  strict({
    volumeAttachment: strict({
      volumeId: uuid(),
      device: Type.Optional(device()),
      tag: Type.Optional(tag()),
      delete_on_termination: Type.Optional(boolean()),
    }),
  }),
)
const updateBody = bodyOf(
  strict({
    volumeAttachment: strict({
      volumeId: uuid(),
      device: Type.Optional(device()),
      tag: Type.Optional(tag()),
      delete_on_termination: Type.Optional(boolean()),
      serverId: Type.Optional(uuid()),
      id: Type.Optional(uuid()),
    }),
  }),
)

const path = '/servers/:id/os-volume_attachments'

export function volumeAttachmentRoutes(app: FastifyInstance, attachments: VolumeAttachments): void {
  app.get(path, async (request) => {
    const query = new Query(request)
    query.requireKnown(request, ['limit', 'offset'])
    const offset = query.integer('offset') ?? 0
    const limit = Math.min(query.integer('limit') ?? maxLimit, maxLimit)
    const all = await attachments.list(request.principal, paramOf(request, 'id'))
    return { volumeAttachments: all.slice(offset, offset + limit).map((row) => view(request, row)) }
  })

  app.post(path, async (request) => {
    const body = attachBody(request.body).volumeAttachment
    requireKnown(request.computeVersion, body, { tag: '2.49', delete_on_termination: '2.79' })
    const doomed = body.delete_on_termination
    const row = await attachments.attach(
      request.principal,
      paramOf(request, 'id'),
      {
        volumeId: body.volumeId,
        deleteOnTermination: doomed !== undefined && toBoolean(doomed),
      },
      request.id,
    )
    // The answer keeps the form it had before 2.89.
    return {
      volumeAttachment: {
        id: row.volumeId,
        serverId: row.serverId,
        volumeId: row.volumeId,
        device: row.mountpoint,
        ...(since(request, '2.70') ? { tag: body.tag ?? null } : {}),
        ...(since(request, '2.79') ? { delete_on_termination: row.deleteOnTermination } : {}),
      },
    }
  })

  app.get(`${path}/:volumeId`, async (request) => {
    const row = await attachments.show(
      request.principal,
      paramOf(request, 'id'),
      paramOf(request, 'volumeId'),
    )
    return { volumeAttachment: view(request, row) }
  })

  app.put(`${path}/:volumeId`, async (request, reply) => {
    const body = updateBody(request.body).volumeAttachment
    const serverId = paramOf(request, 'id')
    const volumeId = paramOf(request, 'volumeId')
    requireKnown(request.computeVersion, body, {
      device: '2.85',
      tag: '2.85',
      delete_on_termination: '2.85',
      serverId: '2.85',
      id: '2.85',
    })
    if (!since(request, '2.85') || body.volumeId !== volumeId) {
      return attachments.swap(request.principal, serverId, volumeId)
    }
    await update(request, attachments, body)
    return reply.code(202).send()
  })

  app.delete(`${path}/:volumeId`, async (request, reply) => {
    const serverId = paramOf(request, 'id')
    await attachments.detach(request.principal, serverId, paramOf(request, 'volumeId'), request.id)
    return reply.code(202).send()
  })
}

async function update(
  request: FastifyRequest,
  attachments: VolumeAttachments,
  body: ReturnType<typeof updateBody>['volumeAttachment'],
): Promise<void> {
  const serverId = paramOf(request, 'id')
  const volumeId = paramOf(request, 'volumeId')
  const row = await attachments.show(request.principal, serverId, volumeId)
  const fixed = {
    id: volumeId,
    serverId,
    device: row.mountpoint ?? undefined,
  }
  for (const [field, value] of Object.entries(fixed)) {
    const asked = body[field as keyof typeof fixed]
    if (asked !== undefined && asked !== value) {
      throw new DomainError('invalid', `The ${field} property is not mutable`)
    }
  }
  if (body.delete_on_termination !== undefined) {
    const value = toBoolean(body.delete_on_termination)
    await attachments.setDeleteOnTermination(request.principal, serverId, volumeId, value)
  }
}

function view(request: FastifyRequest, row: Attachment) {
  const identified = since(request, '2.89')
  return {
    ...(identified ? {} : { id: row.volumeId }),
    volumeId: row.volumeId,
    serverId: row.serverId,
    ...(row.mountpoint === null ? {} : { device: row.mountpoint }),
    ...(since(request, '2.70') ? { tag: null } : {}),
    ...(since(request, '2.79') ? { delete_on_termination: row.deleteOnTermination } : {}),
    ...(identified ? { attachment_id: row.id, bdm_uuid: row.id } : {}),
  }
}
