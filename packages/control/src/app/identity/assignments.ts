import type { AssignmentFilter } from '../../db/repositories/identity/assignment.ts'
import type { IdentityRecords, IdentityStore } from '../../db/repositories/identity/index.ts'
import { withImplied, type Assignment, type Role } from '../../domain/identity.ts'
import { isAdmin, type Principal } from '../../domain/principal.ts'
import { forbidden, notFound, requireAdmin } from './errors.ts'

/** An assignment with the names of what it names, for lists. */
export interface NamedAssignment extends Assignment {
  roleName: string
  actor: { name: string; domainId: string; domainName: string } | undefined
  /** undefined for the system. */
  target: { name: string; domainId?: string; domainName?: string } | undefined
}

/** Who has which role where. Changes need an administrator and take effect on tokens already issued. */
export function createAssignments(deps: { store: IdentityStore; forget: () => void }) {
  const { store, forget } = deps
  return {
    async grant(principal: Principal, assignment: Assignment): Promise<void> {
      requireAdmin(principal, 'identity:create_grant')
      await store.transaction(async (records) => {
        await requireAll(records, assignment)
        await records.assignments.grant(assignment)
      })
      forget()
    },
    async withdraw(principal: Principal, assignment: Assignment): Promise<void> {
      requireAdmin(principal, 'identity:revoke_grant')
      await requireAll(store, assignment)
      if (!(await store.assignments.withdraw(assignment))) throw missing(assignment)
      forget()
    },
    /** Throws `notFound` unless the role was given, by itself and not by implication. */
    async check(principal: Principal, assignment: Assignment): Promise<void> {
      requireAdmin(principal, 'identity:check_grant')
      await requireAll(store, assignment)
      if ((await store.assignments.list(assignment)).length === 0) throw missing(assignment)
    },
    async rolesOf(principal: Principal, grant: Omit<Assignment, 'roleId'>): Promise<Role[]> {
      requireAdmin(principal, 'identity:list_grants')
      await requireActor(store, grant)
      await requireTarget(store, grant)
      const ids = new Set((await store.assignments.list(grant)).map((each) => each.roleId))
      return (await store.roles.list()).filter((role) => ids.has(role.id))
    },
    /** `effective`: groups become their members, and implied roles are listed too. Users may list their own. */
    async list(
      principal: Principal,
      filter: AssignmentFilter,
      options: { effective: boolean },
    ): Promise<NamedAssignment[]> {
      const own = filter.actorType === 'user' && filter.actorId === principal.userId
      if (!isAdmin(principal) && !own) throw forbidden('identity:list_role_assignments')
      const found = options.effective ? await effective(store, filter) : await store.assignments.list(filter)
      return withNames(store, found)
    },
  }
}

const missing = (assignment: Assignment): Error =>
  notFound(
    'role assignment with role',
    `${assignment.roleId}, ${assignment.actorType} ${assignment.actorId}, ` +
      `${assignment.targetType} ${assignment.targetId}`,
  )

async function requireAll(records: IdentityRecords, assignment: Assignment): Promise<void> {
  await requireActor(records, assignment)
  await requireTarget(records, assignment)
  if ((await records.roles.find(assignment.roleId)) === undefined) throw notFound('role', assignment.roleId)
}

async function requireActor(records: IdentityRecords, grant: Omit<Assignment, 'roleId'>): Promise<void> {
  const actors = grant.actorType === 'user' ? records.users : records.groups
  if ((await actors.find(grant.actorId)) === undefined) throw notFound(grant.actorType, grant.actorId)
}

async function requireTarget(records: IdentityRecords, grant: Omit<Assignment, 'roleId'>): Promise<void> {
  if (grant.targetType === 'system') return
  const targets = grant.targetType === 'project' ? records.projects : records.domains
  if ((await targets.find(grant.targetId)) === undefined) throw notFound(grant.targetType, grant.targetId)
}

async function effective(records: IdentityRecords, filter: AssignmentFilter): Promise<Assignment[]> {
  const given =
    filter.actorType === 'user' && filter.actorId !== undefined
      ? await records.assignments.ofUser(filter.actorId)
      : await records.assignments.list({ targetType: filter.targetType, targetId: filter.targetId })
  const implied = await records.roles.implied()
  const found = new Map<string, Assignment>()
  for (const each of given) {
    if (filter.targetType !== undefined && each.targetType !== filter.targetType) continue
    if (filter.targetId !== undefined && each.targetId !== filter.targetId) continue
    const users =
      each.actorType === 'user'
        ? [each.actorId]
        : filter.actorId === undefined
          ? await records.groups.memberIds(each.actorId)
          : [filter.actorId]
    for (const actorId of users) {
      for (const roleId of withImplied([each.roleId], implied)) {
        if (filter.roleId !== undefined && filter.roleId !== roleId) continue
        const one: Assignment = { ...each, roleId, actorType: 'user', actorId }
        found.set(`${roleId} ${actorId} ${each.targetType} ${each.targetId}`, one)
      }
    }
  }
  return [...found.values()]
}

const byId = <T extends { id: string }>(list: T[]): Map<string, T> =>
  new Map(list.map((each) => [each.id, each]))

async function withNames(
  records: IdentityRecords,
  assignments: readonly Assignment[],
): Promise<NamedAssignment[]> {
  if (assignments.length === 0) return []
  const roles = byId(await records.roles.list())
  const domains = byId(await records.domains.list())
  const projects = byId(await records.projects.list())
  const users = byId(await records.users.list())
  const groups = byId(await records.groups.list())
  const inDomain = (thing: { name: string; domainId: string } | undefined) =>
    thing === undefined
      ? undefined
      : { name: thing.name, domainId: thing.domainId, domainName: domains.get(thing.domainId)?.name ?? '' }
  return assignments.map((each) => ({
    ...each,
    roleName: roles.get(each.roleId)?.name ?? '',
    actor: inDomain((each.actorType === 'user' ? users : groups).get(each.actorId)),
    target:
      each.targetType === 'project' ? inDomain(projects.get(each.targetId)) : domains.get(each.targetId),
  }))
}
