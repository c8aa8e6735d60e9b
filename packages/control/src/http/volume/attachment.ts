import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { AttachmentFacts, Attachments } from '../../app/attachment.ts'
import { isAdmin } from '../../domain/principal.ts'
import type { Attachment } from '../../domain/volume.ts'
import { atLeast } from '../microversion.ts'
import { nameText, parser } from '../parse.ts'
import {
  booleanOf,
  noContent,
  ok,
  pageOf,
  param,
  queryText,
  type Answer,
  type VolumeCall,
  type VolumeRoutes,
} from './call.ts'
import { cinderTime } from './volume-view.ts'

const connectorSchema = Type.Record(Type.String({ maxLength: 255 }), Type.Unknown(), { maxProperties: 64 })

const modeSchema = Type.Optional(Type.Union([Type.Literal('rw'), Type.Literal('ro'), Type.Null()]))

const parseCreate = parser(
  Type.Object({
    attachment: Type.Object({
      volume_uuid: nameText({ minLength: 1 }),
      instance_uuid: Type.Optional(Type.Union([nameText(), Type.Null()])),
      connector: Type.Optional(Type.Union([connectorSchema, Type.Null()])),
      mode: modeSchema,
    }),
  }),
)
const parseUpdate = parser(
  Type.Object({ attachment: Type.Object({ connector: connectorSchema, mode: modeSchema }) }),
)

const summaryView = (attachment: Attachment) => ({
  id: attachment.id,
  instance: attachment.serverId,
  volume_id: attachment.volumeId,
  status: attachment.status,
})

/** Cinder prints these times as ISO 8601 with a zone-less second part. */
const detailView = ({ attachment, connection }: AttachmentFacts) => ({
  ...summaryView(attachment),
  attached_at: cinderTime(attachment.attachedAt) ?? '',
  detached_at: '',
  attach_mode: attachment.attachMode,
  connection_info: connection,
})

/** The attachments API, since microversion 3.27. */
export function registerAttachments(routes: VolumeRoutes, attachments: Attachments): void {
  const id = (call: VolumeCall): string => param(call, 'attachment_id')
  routes.get('/attachments', (call) => list(attachments, call, false), '3.27')
  routes.get('/attachments/detail', (call) => list(attachments, call, true), '3.27')
  routes.get(
    '/attachments/:attachment_id',
    async (call) => ok({ attachment: detailView(await attachments.show(call.principal, id(call))) }),
    '3.27',
  )
  routes.post(
    '/attachments',
    async (call) => {
      const { attachment } = parseCreate(call.body)
      const facts = await attachments.create(call.principal, {
        volumeId: attachment.volume_uuid,
        serverId: attachment.instance_uuid ?? null,
        connector: connectorOf(attachment.connector),
        mode: (atLeast(call.version, '3.54') ? attachment.mode : null) ?? 'rw',
      })
      return ok({ attachment: detailView(facts) })
    },
    '3.27',
  )
  routes.put('/attachments/:attachment_id', (call) => update(attachments, call, id(call)), '3.27')
  routes.post(
    '/attachments/:attachment_id/action',
    async (call) => {
      const { body } = call
      if (body === null || typeof body !== 'object' || !Object.hasOwn(body, 'os-complete')) {
        throw new DomainError('invalid', 'The one action of an attachment is os-complete.')
      }
      await attachments.complete(call.principal, id(call))
      return noContent()
    },
    '3.44',
  )
  routes.delete(
    '/attachments/:attachment_id',
    async (call) => {
      const left = await attachments.remove(call.principal, id(call))
      return ok({ attachments: left.map(summaryView) })
    },
    '3.27',
  )
}

async function list(attachments: Attachments, call: VolumeCall, detail: boolean): Promise<Answer> {
  const page = pageOf(call)
  const found = await attachments.list(call.principal, { ...filterOf(call), ...page })
  const last = found.attachments.at(-1)
  const link = `${call.base}/v3/${call.projectId}/attachments?limit=${page.limit}&marker=${last?.id ?? ''}`
  return ok({
    attachments: found.attachments.map((attachment) =>
      detail ? detailView({ attachment, connection: {} }) : summaryView(attachment),
    ),
    ...(found.hasMore && { attachments_links: [{ rel: 'next', href: link }] }),
  })
}

async function update(attachments: Attachments, call: VolumeCall, id: string): Promise<Answer> {
  const { attachment } = parseUpdate(call.body)
  const connector = connectorOf(attachment.connector)
  if (connector === null) {
    throw new DomainError('invalid', 'Invalid input received: Must specify connector.')
  }
  const mode = attachment.mode ?? null
  return ok({ attachment: detailView(await attachments.update(call.principal, id, connector, mode)) })
}

/** An empty connector is none. */
const connectorOf = (connector: Record<string, unknown> | null | undefined): Record<string, unknown> | null =>
  connector === undefined || connector === null || Object.keys(connector).length === 0 ? null : connector

function filterOf(call: VolumeCall) {
  const all = isAdmin(call.principal) && booleanOf(queryText(call, 'all_tenants') ?? '0') === true
  const projectId = all
    ? (queryText(call, 'project_id') ?? queryText(call, 'tenant_id'))
    : (call.principal.projectId ?? '')
  const volumeId = queryText(call, 'volume_id')
  const serverId = queryText(call, 'instance_id') ?? queryText(call, 'instance_uuid')
  const status = queryText(call, 'status') ?? queryText(call, 'attach_status')
  return {
    ...(projectId !== undefined && { projectId }),
    ...(volumeId !== undefined && { volumeId }),
    ...(serverId !== undefined && { serverId }),
    ...(status !== undefined && { statuses: [status] }),
  }
}
