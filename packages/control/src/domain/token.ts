import type { Scope } from './identity.ts'

export type AuthMethod = 'password' | 'token' | 'application_credential'

/** What a signed token says. Whom and what it names may have changed since: verification looks. */
export interface TokenClaims {
  /** Unique for each token; what revocation names. */
  auditId: string
  /** The token this one was made from, if any. */
  parentAuditId: string | null
  userId: string
  methods: AuthMethod[]
  scope: Scope
  applicationCredentialId: string | null
  /** Milliseconds since the epoch. */
  issuedAt: number
  expiresAt: number
}
