import { DomainError } from '@volant/contract'
import { Type, type Static } from 'typebox'
import type { CreateShareRequest } from '../../app/share-creation.ts'
import { longText, nameText, parser } from '../parse.ts'
import { flag } from './action.ts'
import { metadataSchema, nullable, parseSize, presentText, trimmed } from './body.ts'

const createSchema = Type.Object({
  share: Type.Object({
    size: Type.Optional(Type.Unknown()),
    share_proto: nameText({ minLength: 1 }),
    name: nullable(nameText()),
    display_name: nullable(nameText()),
    description: nullable(longText(255)),
    display_description: nullable(longText(255)),
    share_type: nullable(nameText()),
    volume_type: nullable(nameText()),
    availability_zone: nullable(nameText()),
    metadata: nullable(metadataSchema),
    snapshot_id: nullable(nameText()),
    is_public: Type.Optional(Type.Unknown()),
    share_network_id: nullable(nameText()),
    share_group_id: nullable(nameText()),
    scheduler_hints: nullable(Type.Record(Type.String(), Type.Unknown())),
    mount_point_name: nullable(nameText()),
    encryption_key_ref: nullable(nameText()),
  }),
})

const parseCreate = parser(createSchema)

/** What a new share cannot be made with here, and why. */
const unsupported = {
  share_network_id: {
    status: 404,
    reason: 'could not be found: there are no share networks, each backend serves at its own address.',
  },
  share_group_id: { status: 404, reason: 'could not be found: there are no share groups.' },
  mount_point_name: { status: 400, reason: 'cannot be chosen: it is /share_ and the id of the share.' },
  encryption_key_ref: { status: 400, reason: 'cannot be used: shares are not encrypted.' },
} as const

export function parseCreateShare(body: unknown, requestId: string): CreateShareRequest {
  const { share } = parseCreate(body)
  refuseUnsupported(share)
  if (share.share_type != null && share.volume_type != null) {
    throw new DomainError('invalid', 'Cannot specify both share_type and volume_type')
  }
  const { size } = share
  return {
    name: trimmed(share.name ?? share.display_name),
    description: trimmed(share.description ?? share.display_description),
    protocol: share.share_proto,
    sizeGib:
      size === undefined || size === null
        ? null
        : parseSize(
            size,
            `Invalid input received: Share size '${JSON.stringify(size).slice(0, 80)}' must be an integer and greater than 0.`,
          ),
    shareType: presentText(share.share_type ?? share.volume_type),
    snapshotId: presentText(share.snapshot_id),
    availabilityZone: presentText(share.availability_zone),
    isPublic: flag(share.is_public, 'is_public'),
    metadata: share.metadata ?? {},
    requestId,
  }
}

function refuseUnsupported(share: Static<typeof createSchema>['share']): void {
  for (const key of Object.keys(unsupported) as (keyof typeof unsupported)[]) {
    const value = presentText(share[key])
    if (value === null) continue
    const { status, reason } = unsupported[key]
    throw new DomainError('invalid', `${key} '${value.slice(0, 80)}' ${reason}`, { httpStatus: status })
  }
  const hints = Object.keys(share.scheduler_hints ?? {})
  if (hints.length > 0) {
    throw new DomainError(
      'invalid',
      `Scheduler hints are not supported (${hints.join(', ').slice(0, 120)}). A share type with pool_name or ` +
        'share_backend_name names a place.',
    )
  }
}

const parseUpdate = parser(
  Type.Object({
    share: Type.Object({
      name: nullable(nameText()),
      display_name: nullable(nameText()),
      description: nullable(longText(255)),
      display_description: nullable(longText(255)),
      is_public: Type.Optional(Type.Unknown()),
    }),
  }),
)

/** Manila takes only the keys with `display_`; the ones without are the clients' shorter way. */
export function parseUpdateShare(body: unknown) {
  const { share } = parseUpdate(body)
  const name = share.display_name ?? share.name
  const description = share.display_description ?? share.description
  const isPublic = share.is_public
  return {
    ...(name !== undefined && { name: trimmed(name) }),
    ...(description !== undefined && { description: trimmed(description) }),
    ...(isPublic !== undefined && isPublic !== null && { isPublic: flag(isPublic, 'is_public') }),
  }
}
