import { DomainError } from '@volant/contract'
import { isAdmin, type Principal } from './principal.ts'

/**
 * Who may do what, under the names that OpenStack's services give the same rules.
 * admin: the role `admin`. member, reader: that role in the project that owns the thing, or an administrator.
 */
export type Rule = 'admin' | 'member' | 'reader'

const allowed = (principal: Principal, rule: Rule, ownerProjectId: string | null): boolean => {
  if (isAdmin(principal)) return true
  if (rule === 'admin') return false
  return principal.roles.includes(rule) && (ownerProjectId === null || ownerProjectId === principal.projectId)
}

/** Throws `forbidden`, naming the policy as OpenStack does. `ownerProjectId` null: nobody's in particular. */
export function enforce(
  principal: Principal,
  policy: string,
  rule: Rule,
  ownerProjectId: string | null = null,
): void {
  if (allowed(principal, rule, ownerProjectId)) return
  throw new DomainError('forbidden', `Policy doesn't allow ${policy} to be performed.`, {
    detail: { userId: principal.userId, projectId: principal.projectId, rule },
  })
}
