import type { Kysely, Selectable } from 'kysely'
import type { ApplicationCredential } from '../../../domain/identity.ts'
import { flag, isSet } from '../../columns.ts'
import type { Database } from '../../schema.ts'
import type { ApplicationCredentialTable } from '../../tables/identity.ts'

const fromRow = (row: Selectable<ApplicationCredentialTable>): ApplicationCredential => ({
  id: row.id,
  userId: row.user_id,
  projectId: row.project_id,
  name: row.name,
  description: row.description,
  roleIds: JSON.parse(row.role_ids) as string[],
  expiresAt: row.expires_at,
  unrestricted: isSet(row.unrestricted),
})

export function applicationCredentialRecords(db: Kysely<Database>) {
  return {
    async find(id: string): Promise<ApplicationCredential | undefined> {
      const row = await db
        .selectFrom('application_credentials')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async secretHash(id: string): Promise<string | undefined> {
      const row = await db
        .selectFrom('application_credentials')
        .select('secret_hash')
        .where('id', '=', id)
        .executeTakeFirst()
      return row?.secret_hash
    },
    async ofUser(userId: string, name?: string): Promise<ApplicationCredential[]> {
      let query = db
        .selectFrom('application_credentials')
        .selectAll()
        .where('user_id', '=', userId)
        .orderBy('name')
      if (name !== undefined) query = query.where('name', '=', name)
      return (await query.execute()).map(fromRow)
    },
    async create(credential: ApplicationCredential, secretHash: string, now: string): Promise<void> {
      await db
        .insertInto('application_credentials')
        .values({
          id: credential.id,
          user_id: credential.userId,
          project_id: credential.projectId,
          name: credential.name,
          description: credential.description,
          secret_hash: secretHash,
          role_ids: JSON.stringify(credential.roleIds),
          expires_at: credential.expiresAt,
          unrestricted: flag(credential.unrestricted),
          created_at: now,
        })
        .execute()
    },
    async remove(id: string): Promise<void> {
      await db.deleteFrom('application_credentials').where('id', '=', id).execute()
    },
  }
}
