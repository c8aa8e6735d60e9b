import type { Kysely } from 'kysely'

/** What is wanted of the pace of an operation's copying, and how it stands beside others. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const column of ['pace', 'priority']) {
    await db.schema.alterTable('operations').addColumn(column, 'text').execute()
  }
}
