import type { Kysely, Selectable } from 'kysely'
import type { User } from '../../../domain/identity.ts'
import { defined, flag, isSet } from '../../columns.ts'
import type { Database } from '../../schema.ts'
import type { UserTable } from '../../tables/identity.ts'

export interface UserFilter {
  name?: string | undefined
  domainId?: string | undefined
  enabled?: boolean | undefined
}

/** What only authentication needs to know of a user. */
export interface UserSecret {
  passwordHash: string | null
  tokensValidFrom: string
}

const fromRow = (row: Selectable<UserTable>): User => ({
  id: row.id,
  domainId: row.domain_id,
  name: row.name,
  description: row.description,
  email: row.email,
  defaultProjectId: row.default_project_id,
  enabled: isSet(row.enabled),
})

export function userRecords(db: Kysely<Database>) {
  return {
    async find(id: string): Promise<User | undefined> {
      const row = await db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async byName(domainId: string, name: string): Promise<User | undefined> {
      const row = await db
        .selectFrom('users')
        .selectAll()
        .where('domain_id', '=', domainId)
        .where('name', '=', name)
        .executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async secret(id: string): Promise<UserSecret | undefined> {
      const row = await db
        .selectFrom('users')
        .select(['password_hash', 'tokens_valid_from'])
        .where('id', '=', id)
        .executeTakeFirst()
      return row === undefined
        ? undefined
        : { passwordHash: row.password_hash, tokensValidFrom: row.tokens_valid_from }
    },
    async list(filter: UserFilter = {}): Promise<User[]> {
      let query = db.selectFrom('users').selectAll().orderBy('name').orderBy('id')
      if (filter.name !== undefined) query = query.where('name', '=', filter.name)
      if (filter.domainId !== undefined) query = query.where('domain_id', '=', filter.domainId)
      if (filter.enabled !== undefined) query = query.where('enabled', '=', flag(filter.enabled))
      return (await query.execute()).map(fromRow)
    },
    async create(user: User, passwordHash: string | null, now: string): Promise<void> {
      await db
        .insertInto('users')
        .values({
          id: user.id,
          domain_id: user.domainId,
          name: user.name,
          description: user.description,
          email: user.email,
          default_project_id: user.defaultProjectId,
          enabled: flag(user.enabled),
          password_hash: passwordHash,
          tokens_valid_from: now,
          created_at: now,
        })
        .execute()
    },
    async update(
      id: string,
      fields: Partial<Omit<User, 'id' | 'domainId'>> & Partial<UserSecret>,
    ): Promise<void> {
      const set = defined({
        name: fields.name,
        description: fields.description,
        email: fields.email,
        default_project_id: fields.defaultProjectId,
        enabled: fields.enabled === undefined ? undefined : flag(fields.enabled),
        password_hash: fields.passwordHash,
        tokens_valid_from: fields.tokensValidFrom,
      })
      if (Object.keys(set).length === 0) return
      await db.updateTable('users').set(set).where('id', '=', id).execute()
    },
    /** With everything that is the user's own. */
    async remove(id: string): Promise<void> {
      await db.deleteFrom('role_assignments').where('actor_id', '=', id).execute()
      await db.deleteFrom('application_credentials').where('user_id', '=', id).execute()
      await db.deleteFrom('group_members').where('user_id', '=', id).execute()
      await db.deleteFrom('users').where('id', '=', id).execute()
    },
  }
}
