import type { Kysely } from 'kysely'
import type { Database } from '../../schema.ts'
import { applicationCredentialRecords } from './application-credential.ts'
import { assignmentRecords } from './assignment.ts'
import { domainRecords } from './domain.ts'
import { groupRecords } from './group.ts'
import { projectRecords } from './project.ts'
import { revokedTokenRecords } from './revoked-token.ts'
import { roleRecords } from './role.ts'
import { userRecords } from './user.ts'

/** Identity's records on one connection or in one transaction. */
function identityRecords(db: Kysely<Database>) {
  return {
    domains: domainRecords(db),
    projects: projectRecords(db),
    users: userRecords(db),
    roles: roleRecords(db),
    groups: groupRecords(db),
    assignments: assignmentRecords(db),
    applicationCredentials: applicationCredentialRecords(db),
    revokedTokens: revokedTokenRecords(db),
  }
}

export type IdentityRecords = ReturnType<typeof identityRecords>

/** Identity's records, and a way to change several of them at once. */
export interface IdentityStore extends IdentityRecords {
  transaction<T>(work: (records: IdentityRecords) => Promise<T>): Promise<T>
}

export const identityStore = (db: Kysely<Database>): IdentityStore => ({
  ...identityRecords(db),
  transaction: (work) => db.transaction().execute((trx) => work(identityRecords(trx))),
})
