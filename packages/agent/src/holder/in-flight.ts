import { DomainError } from '@volant/contract'

const inFlightLimits = { least: 64 * 1024, most: 64 * 1024 * 1024, granule: 4096 } as const

/** As an argument of the copy; nothing where nothing was asked for. Throws `invalid`. */
export function requireInFlight({ inFlightBytes: bytes }: { inFlightBytes?: number }): {
  inFlightBytes?: number
} {
  if (bytes === undefined) return {}
  const { least, most, granule } = inFlightLimits
  if (bytes >= least && bytes <= most && bytes % granule === 0) return { inFlightBytes: bytes }
  throw new DomainError(
    'invalid',
    `A copy can't have ${bytes} bytes in flight; it must be a multiple of ${granule}, from ${least} to ${most}.`,
  )
}
