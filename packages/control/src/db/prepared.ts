import { sql, type CompiledQuery, type Kysely, type QueryResult, type RawBuilder } from 'kysely'
import type { SqliteReader } from './dialects/sqlite-reader.ts'
import type { Database } from './schema.ts'

/** Of the databases that have one: those in files. */
const readers = new WeakMap<Kysely<Database>, SqliteReader>()

export const useReader = (db: Kysely<Database>, reader: SqliteReader): void => void readers.set(db, reader)

type Arguments = Record<string, string | number | null>
/** What stands for an argument in a query that is prepared. */
export type Given<A extends Arguments> = <Name extends keyof A & string>(name: Name) => RawBuilder<A[Name]>

/** The values of these columns, as a row of a prepared query has them. */
export type Tuple<Table, Columns extends readonly (keyof Table)[]> = {
  [Index in keyof Columns]: Table[Columns[Index]]
}

/** A whole row's values of these columns, in their order. */
export const tupleOf = <Table, const Columns extends readonly (keyof Table)[]>(
  row: Table,
  columns: Columns,
): Tuple<Table, Columns> => columns.map((column) => row[column]) as unknown as Tuple<Table, Columns>

class Placeholder {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/**
 * A query that is built and compiled once and run with other arguments each time; for what is read so often that
 * building it costs more than running it. Rows are the values of the selected columns, in their order: no two may
 * have the same name. In a transaction it sees what the transaction has done, else what is committed.
 */
export function prepared<A extends Arguments, Row extends readonly unknown[]>(
  db: Kysely<Database>,
  build: (given: Given<A>) => { compile(): CompiledQuery },
): (given: A) => Promise<Row[]> {
  const compiled = compiledOnce(build)
  return async (given) => {
    const query = compiled(given)
    const reader = readers.get(db)
    if (reader !== undefined) return reader.rows(query.sql, query.parameters) as unknown[] as Row[]
    const { rows } = await db.executeQuery<object>(query)
    return rows.map((row) => Object.values(row) as unknown as Row)
  }
}

/**
 * A statement that changes rows, likewise built once, for all databases of the process: they speak the same SQL. It is
 * carried out in the transaction that it is given.
 */
export function preparedChange<A extends Arguments>(
  build: (db: Kysely<Database>, given: Given<A>) => { compile(): CompiledQuery },
): (trx: Kysely<Database>, given: A) => Promise<QueryResult<unknown>> {
  let compiled: ((given: A) => CompiledQuery) | undefined
  return (trx, given) => {
    compiled ??= compiledOnce((name) => build(trx, name))
    return trx.executeQuery(compiled(given))
  }
}

/** What stands for the values of these columns, each by its name. */
export const givenValues = <A extends Arguments, Column extends keyof A & string>(
  columns: readonly Column[],
  given: Given<A>,
): { [Name in Column]: RawBuilder<A[Name]> } =>
  Object.fromEntries(columns.map((column) => [column, given(column)])) as {
    [Name in Column]: RawBuilder<A[Name]>
  }

function compiledOnce<A extends Arguments>(
  build: (given: Given<A>) => { compile(): CompiledQuery },
): (given: A) => CompiledQuery {
  let query: CompiledQuery | undefined
  return (given) => {
    query ??= build((name) => sql`${new Placeholder(name)}`).compile()
    const parameters = query.parameters.map((value) =>
      value instanceof Placeholder ? given[value.name] : value,
    )
    return { ...query, parameters }
  }
}

/**
 * What `load` returned, for as long as nothing at all was committed: what it read is as it was. For little that is
 * read with each request. Nobody may change what it returns.
 */
export function whileUnchanged<T>(db: Kysely<Database>, load: () => Promise<T>): () => Promise<T> {
  let last: { version: number; value: T } | undefined
  return async () => {
    const reader = readers.get(db)
    if (reader === undefined) return load()
    // Before it is read: what is committed meanwhile makes it old at once, never new too early.
    const version = reader.version()
    if (last?.version !== version) last = { version, value: await load() }
    return last.value
  }
}
