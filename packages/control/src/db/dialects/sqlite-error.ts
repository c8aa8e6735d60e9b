import { DomainError } from '@volant/contract'

/** SQLite's primary result codes that say something about the file and its disk, not about a statement. */
const reasons: Record<number, string> = {
  5: 'another process keeps it locked',
  6: 'another process keeps it locked',
  8: 'its file or file system is read-only',
  10: 'its disk has an I/O error',
  11: 'it is damaged',
  13: 'its disk is full; free some space there',
  14: 'its files cannot be opened',
  26: 'it is damaged or no database',
}

/** What keeps the database from answering; undefined: the error is about something else. */
export function reasonOf(error: unknown): string | undefined {
  const { code, errcode } = error as { code?: unknown; errcode?: unknown }
  if (code !== 'ERR_SQLITE_ERROR' || typeof errcode !== 'number') return undefined
  return reasons[errcode & 0xff]
}

/** Errors of the file and its disk as `unavailable`, so that a request may be tried again; all others as they are. */
export function asUnavailable(error: unknown): unknown {
  const reason = reasonOf(error)
  if (reason === undefined) return error
  return new DomainError('unavailable', `The database cannot be used now: ${reason}.`, { cause: error })
}
