import type { ErrorCode } from '@volant/contract'
import { ontapCodes } from './error.ts'

/** ONTAP's common codes for errors of ours that have none of their own. */
const codes: Record<ErrorCode, string> = {
  invalid: ontapCodes.invalid,
  unauthenticated: ontapCodes.badLogin,
  forbidden: ontapCodes.notAuthorized,
  notFound: ontapCodes.noSuchEntry,
  notAcceptable: ontapCodes.invalid,
  conflict: ontapCodes.inUse,
  overQuota: ontapCodes.inUse,
  tooLarge: ontapCodes.invalid,
  noCapacity: ontapCodes.inUse,
  unavailable: ontapCodes.other,
  staleFence: ontapCodes.other,
  notImplemented: ontapCodes.noSuchApi,
  internal: ontapCodes.other,
}

/** Null: it had no class. */
export const codeOf = (code: ErrorCode | null): string => codes[code ?? 'internal']
