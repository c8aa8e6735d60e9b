import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { NewSnapshot } from '../../app/snapshot-change.ts'
import { atLeast } from '../microversion.ts'
import { longText, nameText, parser } from '../parse.ts'
import { booleanOf, type VolumeCall } from './call.ts'
import { metadataSchema, nullable, trimmed } from './volume-body.ts'

const parseCreate = parser(
  Type.Object({
    snapshot: Type.Object({
      volume_id: Type.Union([Type.Null(), nameText()]),
      name: nullable(nameText()),
      display_name: nullable(nameText()),
      description: nullable(longText(255)),
      display_description: nullable(longText(255)),
      force: Type.Optional(Type.Unknown()),
      metadata: nullable(metadataSchema),
    }),
  }),
)

export function parseCreateSnapshot(call: VolumeCall): NewSnapshot {
  const { snapshot } = parseCreate(call.body)
  return {
    volumeId: snapshot.volume_id ?? 'None',
    name: trimmed(snapshot.name ?? snapshot.display_name),
    description: trimmed(snapshot.description ?? snapshot.display_description),
    metadata: snapshot.metadata ?? {},
    force: forceOf(call, snapshot.force),
    requestId: call.requestId,
  }
}

/** Since microversion 3.66 a volume that is in use is snapshotted without it, and saying no is refused. */
function forceOf(call: VolumeCall, value: unknown): boolean {
  const force = value === undefined ? undefined : booleanOf(value)
  if (atLeast(call.version, '3.66')) {
    if (value === undefined || force === true) return true
    throw new DomainError(
      'invalid',
      "Since microversion 3.66 the 'force' option is invalid for this request. For backward compatibility, " +
        "however, when the 'force' flag is passed with a value evaluating to True, it is silently ignored.",
    )
  }
  if (value !== undefined && force === undefined) {
    throw new DomainError(
      'invalid',
      `Invalid value '${JSON.stringify(value).slice(0, 80)}' for force: it must be true or false.`,
    )
  }
  return force ?? false
}

const parseUpdate = parser(
  Type.Object({
    snapshot: Type.Object(
      {
        name: nullable(nameText()),
        display_name: nullable(nameText()),
        description: nullable(longText(255)),
        display_description: nullable(longText(255)),
      },
      { minProperties: 1, additionalProperties: false },
    ),
  }),
)

export function parseUpdateSnapshot(body: unknown) {
  const { snapshot } = parseUpdate(body)
  const name = snapshot.name ?? snapshot.display_name
  const description = snapshot.description ?? snapshot.display_description
  return {
    ...(name !== undefined && { name: trimmed(name) }),
    ...(description !== undefined && { description: trimmed(description) }),
  }
}
