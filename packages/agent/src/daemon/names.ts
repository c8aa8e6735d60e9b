import { createHash } from 'node:crypto'
import { DomainError } from '@volant/contract'

/** An id that may stand in a path, a QEMU job id or an export's name. Throws `invalid` for any other text. */
export function requireSafeId(kind: string, id: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(id)) return id
  throw new DomainError('invalid', `"${id}" is no valid ${kind}; use letters, digits, ".", "_" and "-".`)
}

export function requireUuid(kind: string, id: string): string {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) return id
  throw new DomainError('invalid', `"${id}" is no ${kind}; it must be a UUID.`)
}

/** A size that every part of the data plane can represent. Throws `invalid` for any other. */
export function requireSize(sizeBytes: number): number {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % 4096 === 0) return sizeBytes
  throw new DomainError('invalid', `${sizeBytes} bytes is no valid size; use a positive multiple of 4096.`)
}

/** Throws `invalid` where a socket in this folder could not have a name of 40 characters. */
export function requireShortRunDir(runDir: string): string {
  if (runDir.length <= 60) return runDir
  throw new DomainError(
    'invalid',
    `The run folder ${runDir} is longer than 60 characters; choose a shorter one.`,
  )
}

/** Unix socket paths end at 107 bytes, so long ids are shortened to a digest. */
export const shortName = (id: string): string =>
  id.length <= 40 ? id : createHash('sha256').update(id).digest('hex').slice(0, 32)
