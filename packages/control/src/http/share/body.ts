import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import { nameText, parser } from '../parse.ts'

export const nullable = <T extends Type.TSchema>(schema: T) =>
  Type.Optional(Type.Union([Type.Null(), schema]))

/** Keys of 1 to 255 and values of 1 to 1023 characters. */
export const metadataSchema = Type.Record(
  Type.String({ pattern: '^[^\\u0000-\\u001f\\u007f]{1,255}$' }),
  nameText({ minLength: 1, maxLength: 1023 }),
  { additionalProperties: false, maxProperties: 128 },
)

/** A whole number of GiB, also as text, as Manila takes it. */
export function parseSize(value: unknown, message: string): number {
  const text = typeof value === 'number' || typeof value === 'string' ? String(value).trim() : ''
  const size = /^\d{1,12}$/.test(text) ? Number(text) : 0
  if (size < 1) throw new DomainError('invalid', message)
  return size
}

/** Null, and the texts that clients send for it, are none. */
export const presentText = (value: string | null | undefined): string | null =>
  value === undefined || value === null || value === '' ? null : value

export const trimmed = (value: string | null | undefined): string | null => value?.trim() ?? null

export const parseMetadata = parser(Type.Object({ metadata: metadataSchema }))
export const parseMetadataItem = parser(Type.Object({ meta: metadataSchema }))
