/** Identity's nouns as the application sees them. Field meanings: `db/tables/identity.ts`. */
export interface Domain {
  id: string
  name: string
  description: string
  enabled: boolean
}

export interface Project {
  id: string
  domainId: string
  parentId: string
  name: string
  description: string
  enabled: boolean
  tags: string[]
}

export interface User {
  id: string
  domainId: string
  name: string
  description: string | null
  email: string | null
  defaultProjectId: string | null
  enabled: boolean
}

export interface Role {
  id: string
  name: string
  description: string | null
}

export interface Group {
  id: string
  domainId: string
  name: string
  description: string
}

export interface Assignment {
  roleId: string
  actorType: 'user' | 'group'
  actorId: string
  targetType: 'project' | 'domain' | 'system'
  targetId: string
}

export interface ApplicationCredential {
  id: string
  userId: string
  projectId: string
  name: string
  description: string | null
  roleIds: string[]
  expiresAt: string | null
  unrestricted: boolean
}

export interface ImpliedRole {
  priorRoleId: string
  impliedRoleId: string
}

/** What a token is for. */
export type Scope =
  | { kind: 'unscoped' }
  | { kind: 'project'; id: string }
  | { kind: 'domain'; id: string }
  | { kind: 'system' }

export const defaultDomainId = 'default'
/** The target id of roles on the system as a whole. */
export const systemTarget = 'all'

/** 32 hex digits, as Keystone's ids. */
export const newId = (): string => crypto.randomUUID().replaceAll('-', '')

/** The roles, and all that they imply, however far. */
export function withImplied(roleIds: Iterable<string>, implied: readonly ImpliedRole[]): Set<string> {
  const all = new Set(roleIds)
  for (const id of all) {
    // A Set's iteration reaches what is added while it runs.
    for (const rule of implied) if (rule.priorRoleId === id) all.add(rule.impliedRoleId)
  }
  return all
}
