import { DomainError } from '@volant/contract'

/** `HOST@BACKEND#POOL`, as `os-vol-host-attr:host` shows it and `cinder migrate` takes it. */
export interface HostString {
  host: string
  backend: string
  pool: string
}

const form = /^([^@#\s]+)@([^@#\s]+)#([^@#\s]+)$/

export const formatHostString = (parts: HostString): string => `${parts.host}@${parts.backend}#${parts.pool}`

/** Throws `invalid`, saying what the form is. */
export function parseHostString(text: string): HostString {
  const match = form.exec(text)
  if (match === null) {
    const shown = text.length > 120 ? `${text.slice(0, 120)}…` : text
    throw new DomainError(
      'invalid',
      `Invalid host '${shown}': it must have the form HOST@BACKEND#POOL, for example ` +
        `stlrx300s7-107@cinder-lma#10.250.118.49:/cinder_flexvol_OSTK02. 'cinder get-pools' lists the pools.`,
    )
  }
  return { host: match[1] as string, backend: match[2] as string, pool: match[3] as string }
}
