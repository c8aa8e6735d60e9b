import { sql, type Kysely } from 'kysely'

/** Volumes that are servers' root disks: hidden, as those of shares are. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const table of ['volumes', 'attachments']) {
    await db.schema.alterTable(table).addColumn('root_of', 'text').execute()
    await sql`create index ${sql.ref(`${table}_by_root_of`)} on ${sql.table(table)} (root_of) where root_of is not null`.execute(
      db,
    )
  }
}
