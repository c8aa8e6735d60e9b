import { sql, type Kysely } from 'kysely'

/**
 * What is asked often costs the same however many volumes there are: sums are kept by triggers, in the transaction of
 * the row that changes them, and what is looked for now and then (copies to retire, volumes that migrate, heads to
 * restore) has indexes of those rows alone.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await usageOfProjects(db)
  await volumesOfFlexVols(db)
  await sumsOfCopies(db)
  await markChanges(db)
  await replaceListIndexes(db)
  await indexRareRows(db)
}

const run = (db: Kysely<unknown>, text: string): Promise<unknown> => sql.raw(text).execute(db)

/** Shown volumes and snapshots of each project: what quotas count. */
async function usageOfProjects(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('block_usage')
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('count', 'integer', (c) => c.notNull())
    .addColumn('size_gib', 'integer', (c) => c.notNull())
    .addPrimaryKeyConstraint('block_usage_pk', ['project_id', 'kind'])
    .execute()
  const counted = [
    {
      table: 'volumes',
      kind: 'volume',
      columns: 'project_id, size_gib, share_id, root_of',
      isShown: (row: string) => `${row}.share_id is null and ${row}.root_of is null`,
    },
    {
      table: 'snapshots',
      kind: 'snapshot',
      columns: 'project_id, size_gib, share_id',
      isShown: (row: string) => `${row}.share_id is null`,
    },
  ]
  for (const { table, kind, columns, isShown } of counted) {
    await run(
      db,
      `insert into block_usage (project_id, kind, count, size_gib)
       select project_id, '${kind}', count(*), sum(size_gib) from ${table} where ${isShown(table)} group by project_id`,
    )
    const add = `insert into block_usage (project_id, kind, count, size_gib)
      select new.project_id, '${kind}', 1, new.size_gib where ${isShown('new')}
      on conflict (project_id, kind) do update set count = count + 1, size_gib = size_gib + excluded.size_gib;`
    const take = `update block_usage set count = count - 1, size_gib = size_gib - old.size_gib
      where project_id = old.project_id and kind = '${kind}' and ${isShown('old')};`
    await keepBy(db, { name: 'usage', table, columns, add, take })
  }
}

/** How many volumes each FlexVol has: users' and servers' root disks, or a share's. */
async function volumesOfFlexVols(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('flexvol_sums')
    .addColumn('flexvol_id', 'text', (c) => c.notNull())
    .addColumn('of_share', 'integer', (c) => c.notNull())
    .addColumn('volumes', 'integer', (c) => c.notNull())
    .addPrimaryKeyConstraint('flexvol_sums_pk', ['flexvol_id', 'of_share'])
    .execute()
  await run(
    db,
    `insert into flexvol_sums (flexvol_id, of_share, volumes)
     select flexvol_id, share_id is not null as of_share, count(*) from volumes where flexvol_id is not null
     group by flexvol_id, of_share`,
  )
  const add = `insert into flexvol_sums (flexvol_id, of_share, volumes)
    select new.flexvol_id, new.share_id is not null, 1 where new.flexvol_id is not null
    on conflict (flexvol_id, of_share) do update set volumes = volumes + 1;`
  const itsRow = `flexvol_id = old.flexvol_id and of_share = (old.share_id is not null)`
  const take = `update flexvol_sums set volumes = volumes - 1 where ${itsRow};
    delete from flexvol_sums where ${itsRow} and volumes = 0;`
  await keepBy(db, { name: 'flexvol', table: 'volumes', columns: 'flexvol_id, share_id', add, take })
}

/** What FlexVols and aggregates hold: a row for each state of copies that a FlexVol has on an aggregate. */
async function sumsOfCopies(db: Kysely<unknown>): Promise<void> {
  const key = ['flexvol_id', 'node', 'aggregate', 'state', 'of_snapshot'] as const
  await db.schema
    .createTable('copy_sums')
    .addColumn('flexvol_id', 'text', (c) => c.notNull())
    .addColumn('node', 'text', (c) => c.notNull())
    .addColumn('aggregate', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('of_snapshot', 'integer', (c) => c.notNull())
    .addColumn('copies', 'integer', (c) => c.notNull())
    .addColumn('size_bytes', 'bigint', (c) => c.notNull())
    .addColumn('reserved_bytes', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('copy_sums_pk', [...key])
    .execute()
  const all = `${key.join(', ')}, copies, size_bytes, reserved_bytes`
  await run(
    db,
    `insert into copy_sums (${all})
     select flexvol_id, node, aggregate, state, snapshot_id is not null as of_snapshot, count(*), sum(size_bytes),
       sum(reserved_bytes) from copies group by flexvol_id, node, aggregate, state, of_snapshot`,
  )
  const add = `insert into copy_sums (${all})
    values (new.flexvol_id, new.node, new.aggregate, new.state, new.snapshot_id is not null, 1, new.size_bytes,
      new.reserved_bytes)
    on conflict (${key.join(', ')}) do update set copies = copies + 1, size_bytes = size_bytes + excluded.size_bytes,
      reserved_bytes = reserved_bytes + excluded.reserved_bytes;`
  const itsRow = `flexvol_id = old.flexvol_id and node = old.node and aggregate = old.aggregate and state = old.state
    and of_snapshot = (old.snapshot_id is not null)`
  const take = `update copy_sums set copies = copies - 1, size_bytes = size_bytes - old.size_bytes,
      reserved_bytes = reserved_bytes - old.reserved_bytes where ${itsRow};
    delete from copy_sums where ${itsRow} and copies = 0;`
  const columns = 'flexvol_id, node, aggregate, state, snapshot_id, size_bytes, reserved_bytes'
  await keepBy(db, { name: 'sum', table: 'copies', columns, add, take })
  // What they were made for is read from the sums now.
  await run(db, 'drop index copies_provisioned')
  await run(db, 'drop index copies_there')
}

interface Kept {
  /** Of the sum. */
  name: string
  table: string
  /** Those that a sum is made of. */
  columns: string
  add: string
  take: string
}

async function keepBy(db: Kysely<unknown>, { name, table, columns, add, take }: Kept): Promise<void> {
  await run(db, `create trigger ${table}_${name}_insert after insert on ${table} begin ${add} end`)
  await run(db, `create trigger ${table}_${name}_delete after delete on ${table} begin ${take} end`)
  await run(
    db,
    `create trigger ${table}_${name}_update after update of ${columns} on ${table} begin ${take} ${add} end`,
  )
}

/**
 * A number that every change of a volume's row or of its attachments makes another one: what was made of them before is
 * known by it to be old.
 */
async function markChanges(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('volumes')
    .addColumn('revision', 'integer', (c) => c.notNull().defaultTo(0))
    .execute()
  await run(
    db,
    `create trigger volumes_revision after update on volumes when new.revision = old.revision begin
     update volumes set revision = old.revision + 1 where rowid = new.rowid; end`,
  )
  const changes = { insert: 'new.volume_id', delete: 'old.volume_id', update: 'new.volume_id, old.volume_id' }
  for (const [change, volumes] of Object.entries(changes)) {
    await run(
      db,
      `create trigger attachments_revision_${change} after ${change} on attachments begin
       update volumes set revision = revision + 1 where id in (${volumes}); end`,
    )
  }
}

/** Lists page over what users see: hidden rows are not in their indexes, so that nothing is read to be left out. */
async function replaceListIndexes(db: Kysely<unknown>): Promise<void> {
  const shown = 'where share_id is null and root_of is null'
  await run(db, 'drop index volumes_usage')
  await run(db, 'drop index volumes_by_project')
  await run(db, 'drop index volumes_by_time')
  // The index by pool begins with the same column.
  await run(db, 'drop index volumes_by_flexvol')
  await run(db, `create index volumes_by_project on volumes (project_id, created_at, id) ${shown}`)
  await run(db, `create index volumes_by_time on volumes (created_at, id) ${shown}`)
  await run(
    db,
    `create index volumes_by_project_status on volumes (project_id, status, created_at, id) ${shown}`,
  )
  // By name as a list sorts, where null is the empty text; and the distinct metadata that a summary tells.
  const sortedName = "project_id, coalesce(name, ''), id"
  await run(db, `create index volumes_sorted_by_name on volumes (${sortedName}) ${shown}`)
  await run(
    db,
    `create index volumes_by_project_metadata on volumes (project_id, metadata) ${shown} and metadata <> '{}'`,
  )
  await run(db, `create index attachments_by_project on attachments (project_id, created_at, id) ${shown}`)
  await run(db, `create index attachments_by_time on attachments (created_at, id) ${shown}`)
  // A deleted server stays on record.
  const exists = 'where deleted_at is null'
  await run(db, `create index servers_there_by_project on servers (project_id, created_at, id) ${exists}`)
  await run(db, `create index servers_there_by_time on servers (created_at, id) ${exists}`)
}

/** A query finds these indexes by their conditions, which it must state in the same words. */
async function indexRareRows(db: Kysely<unknown>): Promise<void> {
  await run(
    db,
    'create index volumes_by_migration on volumes (migration_status) where migration_status is not null',
  )
  await run(db, 'create index volumes_by_type on volumes (volume_type_id) where volume_type_id is not null')
  await run(db, "create index copies_retained on copies (retained_until) where state = 'retained'")
  await run(db, "create index copies_targets on copies (image_id) where state = 'target'")
  await run(db, 'create index attachments_with_host on attachments (host) where host is not null')
}
