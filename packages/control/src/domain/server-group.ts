import { DomainError } from '@volant/contract'

export const serverGroupPolicies = [
  'affinity',
  'anti-affinity',
  'soft-affinity',
  'soft-anti-affinity',
] as const
export type ServerGroupPolicy = (typeof serverGroupPolicies)[number]

export interface ServerGroupRules {
  /** Of an anti-affinity group; 1 where it is absent. */
  maxServerPerHost?: number
}

/** Servers that are to be together on one compute host, or apart. */
export interface ServerGroup {
  id: string
  projectId: string
  userId: string
  name: string
  policy: ServerGroupPolicy
  rules: ServerGroupRules
  createdAt: string
}

/** Throws `overQuota` with Nova's words. -1: no limit. */
export function requireGroupQuota(limit: number, existing: number): void {
  if (limit < 0 || existing < limit) return
  throw new DomainError('overQuota', 'Quota exceeded, too many server groups.', { httpStatus: 403 })
}

/** `more` servers join a group of one project that has `members`. */
export function requireMemberQuota(limit: number, members: number, more: number): void {
  if (limit < 0 || members + more <= limit) return
  throw new DomainError('overQuota', 'Quota exceeded, too many servers in group', { httpStatus: 403 })
}
