import type { Kysely } from 'kysely'
import { identityStore } from '../../db/repositories/identity/index.ts'
import type { Database } from '../../db/schema.ts'
import type { Clock } from '../../ports/clock.ts'
import { createApplicationCredentials } from './application-credentials.ts'
import { createAssignments } from './assignments.ts'
import { createAuthentication } from './authentication.ts'
import { bootstrapIdentity, type AdminAccess } from './bootstrap.ts'
import { createDomains } from './domains.ts'
import { createGroups } from './groups.ts'
import { createPasswords } from './password.ts'
import { createProjects } from './projects.ts'
import { createRoles } from './roles.ts'
import { ensureTokenKey } from './secret-files.ts'
import { tokenSigner } from './token-signer.ts'
import { createTokens } from './tokens.ts'
import { createUsers } from './users.ts'

export interface IdentityOptions {
  db: Kysely<Database>
  /** Holds `token-key` and `admin-password`. */
  stateDir: string
  clock: Clock
  /** How long a token is valid; default one hour. */
  tokenLifetimeSeconds?: number
}

/** Everything identity does, without HTTP. */
export async function createIdentityApp(options: IdentityOptions) {
  const { clock, stateDir } = options
  const store = identityStore(options.db)
  const passwords = createPasswords()
  const tokens = createTokens({
    store,
    clock,
    signer: tokenSigner(await ensureTokenKey(stateDir)),
    lifetimeSeconds: options.tokenLifetimeSeconds ?? 3600,
  })
  const deps = { store, passwords, clock, tokens, forget: tokens.forget }
  return {
    tokens,
    authentication: createAuthentication(deps),
    domains: createDomains(deps),
    projects: createProjects(deps),
    users: createUsers(deps),
    roles: createRoles(deps),
    groups: createGroups(deps),
    assignments: createAssignments(deps),
    applicationCredentials: createApplicationCredentials(deps),
    /** Idempotent; before the first request. */
    async bootstrap(): Promise<AdminAccess> {
      const access = await bootstrapIdentity({ ...deps, stateDir })
      tokens.forget()
      return access
    },
  }
}

export type IdentityApp = Awaited<ReturnType<typeof createIdentityApp>>
