import { randomBytes } from 'node:crypto'
import type { IdentityRecords, IdentityStore } from '../../db/repositories/identity/index.ts'
import { defaultDomainId, newId, systemTarget, type Project, type Role } from '../../domain/identity.ts'
import type { Clock } from '../../ports/clock.ts'
import type { Passwords } from './password.ts'
import { ensureSecretFile } from './secret-files.ts'

/** What `openrc` and `clouds.yaml` need. */
export interface AdminAccess {
  userName: string
  userId: string
  password: string
  projectName: string
  projectId: string
  userDomainName: string
  projectDomainName: string
  userDomainId: string
  projectDomainId: string
}

/** Each implies the next. */
const chain = ['admin', 'manager', 'member', 'reader'] as const

/**
 * Makes the domain `default`, the projects `admin` and `service`, the roles and the user `admin`, wherever one
 * of them is missing. Its password stands in `stateDir/admin-password`; without that file a new one is made and
 * set, which is how a lost password is recovered.
 */
export async function bootstrapIdentity(deps: {
  store: IdentityStore
  passwords: Passwords
  clock: Clock
  stateDir: string
}): Promise<AdminAccess> {
  const { store, passwords, clock } = deps
  const { secret: password, made } = await ensureSecretFile(deps.stateDir, 'admin-password', () =>
    randomBytes(18).toString('base64url'),
  )
  const present = await store.users.byName(defaultDomainId, 'admin')
  const hash = present === undefined || made ? await passwords.hash(password) : undefined
  return store.transaction(async (records) => {
    const now = clock.now().toISOString()
    await ensureDomain(records, now)
    const project = await ensureProject(records, 'admin', 'Bootstrap project of the administrator', now)
    await ensureProject(records, 'service', 'Project of the services', now)
    const roles = await ensureRoles(records, now)
    const userId = await ensureAdmin(records, project, hash, now)
    const roleId = (roles.get('admin') as Role).id
    const given = { roleId, actorType: 'user', actorId: userId } as const
    await records.assignments.grant({ ...given, targetType: 'project', targetId: project.id })
    await records.assignments.grant({ ...given, targetType: 'system', targetId: systemTarget })
    return {
      userName: 'admin',
      userId,
      password,
      projectName: 'admin',
      projectId: project.id,
      userDomainName: 'Default',
      projectDomainName: 'Default',
      userDomainId: defaultDomainId,
      projectDomainId: defaultDomainId,
    }
  })
}

async function ensureDomain(records: IdentityRecords, now: string): Promise<void> {
  if ((await records.domains.find(defaultDomainId)) !== undefined) return
  const domain = { id: defaultDomainId, name: 'Default', description: 'The default domain', enabled: true }
  await records.domains.create(domain, now)
}

async function ensureProject(
  records: IdentityRecords,
  name: string,
  description: string,
  now: string,
): Promise<Project> {
  const present = await records.projects.byName(defaultDomainId, name)
  if (present !== undefined) return present
  const project: Project = {
    id: newId(),
    domainId: defaultDomainId,
    parentId: defaultDomainId,
    name,
    description,
    enabled: true,
    tags: [],
  }
  await records.projects.create(project, now)
  return project
}

async function ensureRoles(records: IdentityRecords, now: string): Promise<Map<string, Role>> {
  const roles = new Map<string, Role>()
  for (const name of [...chain, 'service']) {
    let role = await records.roles.byName(name)
    if (role === undefined) {
      role = { id: newId(), name, description: null }
      await records.roles.create(role, now)
    }
    roles.set(name, role)
  }
  for (const [index, name] of chain.entries()) {
    const next = chain[index + 1]
    if (next === undefined) break
    const rule = {
      priorRoleId: (roles.get(name) as Role).id,
      impliedRoleId: (roles.get(next) as Role).id,
    }
    await records.roles.imply(rule)
  }
  return roles
}

async function ensureAdmin(
  records: IdentityRecords,
  project: Project,
  hash: string | undefined,
  now: string,
): Promise<string> {
  const present = await records.users.byName(defaultDomainId, 'admin')
  if (present !== undefined) {
    if (hash !== undefined) {
      await records.users.update(present.id, { passwordHash: hash, tokensValidFrom: now, enabled: true })
    }
    return present.id
  }
  const user = {
    id: newId(),
    domainId: defaultDomainId,
    name: 'admin',
    description: 'The administrator',
    email: null,
    defaultProjectId: project.id,
    enabled: true,
  }
  await records.users.create(user, hash ?? null, now)
  return user.id
}
