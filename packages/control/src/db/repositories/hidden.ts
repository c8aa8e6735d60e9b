import { sql, type RawBuilder, type SqlBool } from 'kysely'

/** What users see of a table; the other side of `isHidden`. */
export const isShown = (table: 'volumes' | 'attachments'): RawBuilder<SqlBool> =>
  sql<SqlBool>`${sql.ref(`${table}.share_id`)} is null and ${sql.ref(`${table}.root_of`)} is null`
