import { DomainError } from '@volant/contract'

/** A microversion `major.minor`, compared by number. */
export interface Microversion {
  major: number
  minor: number
}

/** Those of this program's own texts, parsed once. */
const known = new Map<string, Microversion>()

function knownMicroversion(text: string): Microversion {
  const found = known.get(text) ?? parseMicroversion(text)
  if (found === undefined) throw new Error(`not a microversion: ${text}`)
  known.set(text, found)
  return found
}

export const parseMicroversion = (text: string): Microversion | undefined => {
  const match = /^(\d{1,4})\.(\d{1,4})$/.exec(text.trim())
  return match === null ? undefined : { major: Number(match[1]), minor: Number(match[2]) }
}

export const atLeast = (version: Microversion, text: string): boolean => {
  const other = knownMicroversion(text)
  return version.major > other.major || (version.major === other.major && version.minor >= other.minor)
}

const isAtMost = (version: Microversion, max: Microversion): boolean =>
  version.major < max.major || (version.major === max.major && version.minor <= max.minor)

export const formatMicroversion = (version: Microversion): string => `${version.major}.${version.minor}`

export interface MicroversionRange {
  /** As in the header: `OpenStack-API-Version: volume 3.70`. */
  service: string
  min: string
  max: string
  /** The older header that only carries the number, where the service has one. */
  legacyHeader?: string
}

/**
 * Reads the request's microversion. Absent: the minimum; `latest`: the maximum. A malformed one is `invalid`
 * (400), one outside the range `notAcceptable` (406), as the API reference's microversion page has it.
 */
export function negotiate(
  headers: Record<string, string | string[] | undefined>,
  range: MicroversionRange,
): Microversion {
  const asked = requested(headers, range)
  const min = knownMicroversion(range.min)
  const max = knownMicroversion(range.max)
  if (asked === undefined) return min
  if (asked === 'latest') return max
  const version = parseMicroversion(asked)
  if (version === undefined) {
    throw new DomainError(
      'invalid',
      `API Version String '${asked}' is of invalid format. It must be of the form MajorNum.MinorNum, or 'latest'.`,
    )
  }
  if (!atLeast(version, range.min) || !isAtMost(version, max)) {
    throw new DomainError(
      'notAcceptable',
      `Version ${asked} is not supported by the API. Minimum is ${range.min} and maximum is ${range.max}.`,
    )
  }
  return version
}

function requested(
  headers: Record<string, string | string[] | undefined>,
  range: MicroversionRange,
): string | undefined {
  const header = headers['openstack-api-version']
  const values = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',')
  for (const value of values) {
    const [service, version] = value.trim().split(/\s+/)
    if (service?.toLowerCase() === range.service) return version ?? ''
  }
  if (range.legacyHeader === undefined) return undefined
  const legacy = headers[range.legacyHeader.toLowerCase()]
  return Array.isArray(legacy) ? legacy[0] : legacy
}
