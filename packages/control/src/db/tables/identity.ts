/** Times are UTC in ISO 8601 with milliseconds and `Z`; JSON columns hold text; booleans are 0 or 1. */
export interface DomainTable {
  /** `default`, or 32 hex digits as all ids here. */
  id: string
  name: string
  description: string
  enabled: number
  created_at: string
}

export interface ProjectTable {
  id: string
  domain_id: string
  /** The domain's id for a project at the top. */
  parent_id: string
  /** Unique in its domain. */
  name: string
  description: string
  enabled: number
  /** JSON array of text. */
  tags: string
  created_at: string
}

export interface UserTable {
  id: string
  domain_id: string
  /** Unique in its domain. */
  name: string
  description: string | null
  email: string | null
  default_project_id: string | null
  enabled: number
  /** `scrypt$N$r$p$salt$key`; null: no password, so no authentication with one. */
  password_hash: string | null
  /** Tokens issued before are void: set when the password changes. */
  tokens_valid_from: string
  created_at: string
}

export interface RoleTable {
  id: string
  name: string
  description: string | null
  created_at: string
}

/** Whoever has the first role has the second too. */
export interface ImpliedRoleTable {
  prior_role_id: string
  implied_role_id: string
}

export interface GroupTable {
  id: string
  domain_id: string
  name: string
  description: string
  created_at: string
}

export interface GroupMemberTable {
  group_id: string
  user_id: string
}

export interface AssignmentTable {
  role_id: string
  actor_type: 'user' | 'group'
  actor_id: string
  target_type: 'project' | 'domain' | 'system'
  /** `all` for the system. */
  target_id: string
}

export interface ApplicationCredentialTable {
  id: string
  user_id: string
  project_id: string
  /** Unique for its user. */
  name: string
  description: string | null
  secret_hash: string
  /** JSON array of role ids. */
  role_ids: string
  expires_at: string | null
  /** 1: may make and delete application credentials itself. */
  unrestricted: number
  created_at: string
}

export interface RevokedTokenTable {
  audit_id: string
  /** When the row may go, because the token is void anyway. */
  expires_at: string
}

export interface IdentityTables {
  domains: DomainTable
  projects: ProjectTable
  users: UserTable
  roles: RoleTable
  implied_roles: ImpliedRoleTable
  user_groups: GroupTable
  group_members: GroupMemberTable
  role_assignments: AssignmentTable
  application_credentials: ApplicationCredentialTable
  revoked_tokens: RevokedTokenTable
}
