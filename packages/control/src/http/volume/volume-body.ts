import { DomainError } from '@volant/contract'
import { Type, type Static } from 'typebox'
import type { CreateVolumeRequest } from '../../app/volume-creation.ts'
import { longText, nameText, parser } from '../parse.ts'
import { booleanOf } from './call.ts'

export const nullable = <T extends Type.TSchema>(schema: T) =>
  Type.Optional(Type.Union([Type.Null(), schema]))

/** Keys of 1 to 255 and values of at most 255 characters. */
export const metadataSchema = Type.Record(
  Type.String({ pattern: '^[a-zA-Z0-9\\-_:. ]{1,255}$' }),
  nameText(),
  { additionalProperties: false, maxProperties: 128 },
)

const createSchema = Type.Object({
  volume: Type.Object({
    size: Type.Optional(Type.Unknown()),
    name: nullable(nameText()),
    display_name: nullable(nameText()),
    description: nullable(longText(255)),
    display_description: nullable(longText(255)),
    volume_type: nullable(nameText()),
    availability_zone: nullable(nameText()),
    metadata: nullable(metadataSchema),
    imageRef: nullable(nameText()),
    image_id: nullable(nameText()),
    source_volid: nullable(nameText()),
    snapshot_id: nullable(nameText()),
    backup_id: nullable(nameText()),
    source_replica: nullable(nameText()),
    group_id: nullable(nameText()),
    consistencygroup_id: nullable(nameText()),
    multiattach: Type.Optional(Type.Unknown()),
  }),
})

const parseCreate = parser(createSchema)

/** What a new volume cannot be made from here, and why. */
const unsupported = {
  backup_id: 'Backups are not supported: create the volume from source_volid or imageRef.',
  source_replica: 'Volume replication is not supported.',
  group_id: 'Volume groups are not supported.',
  consistencygroup_id: 'Consistency groups are not supported.',
} as const

/** A whole number of GiB, also as text, as Cinder takes it. */
export function parseSize(value: unknown, what = 'Volume size'): number {
  const text = typeof value === 'number' || typeof value === 'string' ? String(value) : JSON.stringify(value)
  const size = /^\d{1,12}$/.test(text) ? Number(text) : 0
  if (size < 1) {
    throw new DomainError(
      'invalid',
      `Invalid input received: ${what} '${text.slice(0, 80)}' must be an integer and greater than 0`,
    )
  }
  return size
}

const presentText = (value: string | null | undefined): string | null =>
  value === undefined || value === null || value === '' ? null : value

export function parseCreateVolume(body: unknown, requestId: string): CreateVolumeRequest {
  const { volume } = parseCreate(body)
  refuseUnsupported(volume)
  return {
    name: trimmed(volume.name ?? volume.display_name),
    description: trimmed(volume.description ?? volume.display_description),
    sizeGib: volume.size === undefined || volume.size === null ? null : parseSize(volume.size),
    volumeType: presentText(volume.volume_type),
    availabilityZone: presentText(volume.availability_zone),
    metadata: volume.metadata ?? {},
    imageId: presentText(volume.imageRef ?? volume.image_id),
    sourceVolid: presentText(volume.source_volid),
    snapshotId: presentText(volume.snapshot_id),
    requestId,
  }
}

export const trimmed = (value: string | null | undefined): string | null => value?.trim() ?? null

function refuseUnsupported(volume: Static<typeof createSchema>['volume']): void {
  for (const key of Object.keys(unsupported) as (keyof typeof unsupported)[]) {
    if (presentText(volume[key]) === null) continue
    throw new DomainError('invalid', unsupported[key])
  }
  const multiattach = volume.multiattach
  if (multiattach === undefined || multiattach === null) return
  const wanted = booleanOf(multiattach)
  if (wanted === undefined) throw new DomainError('invalid', 'multiattach must be true or false.')
  if (wanted) {
    throw new DomainError(
      'invalid',
      'Multiattach volumes are not supported: create it with multiattach false.',
    )
  }
}

const parseUpdate = parser(
  Type.Object({
    volume: Type.Object(
      {
        name: nullable(nameText()),
        display_name: nullable(nameText()),
        description: nullable(longText(255)),
        display_description: nullable(longText(255)),
        metadata: nullable(metadataSchema),
      },
      { minProperties: 1, additionalProperties: false },
    ),
  }),
)

export function parseUpdateVolume(body: unknown) {
  const { volume } = parseUpdate(body)
  const name = volume.name ?? volume.display_name
  const description = volume.description ?? volume.display_description
  return {
    ...(name !== undefined && { name: trimmed(name) }),
    ...(description !== undefined && { description: trimmed(description) }),
    ...(volume.metadata !== undefined && volume.metadata !== null && { metadata: volume.metadata }),
  }
}

export const parseMetadata = parser(Type.Object({ metadata: metadataSchema }))
export const parseMetadataItem = parser(Type.Object({ meta: metadataSchema }))
