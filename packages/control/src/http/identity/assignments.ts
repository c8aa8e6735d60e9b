import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type, type Static } from 'typebox'
import type { NamedAssignment } from '../../app/identity/assignments.ts'
import type { AssignmentFilter } from '../../db/repositories/identity/assignment.ts'
import { systemTarget, type Assignment } from '../../domain/identity.ts'
import { parser } from '../parse.ts'
import { pathId, queryFlag, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'
import { roleView } from './roles.ts'

const targets = [
  ['project', '/v3/projects/:target'],
  ['domain', '/v3/domains/:target'],
  ['system', '/v3/system'],
] as const
const actors = [
  ['user', 'users'],
  ['group', 'groups'],
] as const

/** `PUT|GET|HEAD|DELETE …/{users,groups}/ID/roles/ID` below projects, domains and the system. */
export function grantRoutes(app: FastifyInstance, { identity: { assignments } }: IdentityRoutes): void {
  for (const [targetType, target] of targets) {
    for (const [actorType, actor] of actors) {
      const grantOf = (request: FastifyRequest): Omit<Assignment, 'roleId'> => ({
        actorType,
        actorId: pathId(request, 'actor'),
        targetType,
        targetId: targetType === 'system' ? systemTarget : pathId(request, 'target'),
      })
      const assignmentOf = (request: FastifyRequest): Assignment => ({
        ...grantOf(request),
        roleId: pathId(request, 'role'),
      })
      const path = `${target}/${actor}/:actor/roles`
      app.get(path, async (request) => {
        const roles = await assignments.rolesOf(request.principal, grantOf(request))
        return { roles: roles.map((role) => roleView(request, role)), links: listLinks(request) }
      })
      app.put(`${path}/:role`, async (request, reply) => {
        await assignments.grant(request.principal, assignmentOf(request))
        return reply.status(204).send()
      })
      // GET brings HEAD with it.
      app.get(`${path}/:role`, async (request, reply) => {
        await assignments.check(request.principal, assignmentOf(request))
        return reply.status(204).send()
      })
      app.delete(`${path}/:role`, async (request, reply) => {
        await assignments.withdraw(request.principal, assignmentOf(request))
        return reply.status(204).send()
      })
    }
  }
}

const text = Type.Optional(Type.String())
const query = Type.Object({
  'user.id': text,
  'group.id': text,
  'role.id': text,
  'scope.project.id': text,
  'scope.domain.id': text,
  'scope.system': text,
  effective: text,
  include_names: text,
})
const parseQuery = parser(query, 'query')

export function assignmentRoutes(app: FastifyInstance, { identity: { assignments } }: IdentityRoutes): void {
  app.get('/v3/role_assignments', async (request) => {
    const asked = parseQuery(request.query)
    const names = queryFlag(asked.include_names) === true
    const list = await assignments.list(request.principal, readFilter(asked), {
      effective: queryFlag(asked.effective) === true,
    })
    return {
      role_assignments: list.map((each) => assignmentView(request, each, names)),
      links: listLinks(request),
    }
  })
}

function readFilter(asked: Static<typeof query>): AssignmentFilter {
  const scopes = [asked['scope.project.id'], asked['scope.domain.id'], asked['scope.system']]
  if (asked['user.id'] !== undefined && asked['group.id'] !== undefined) {
    throw new DomainError('invalid', 'Specify a user or a group, not both.')
  }
  if (scopes.filter((scope) => scope !== undefined).length > 1) {
    throw new DomainError('invalid', 'Specify a project, a domain or the system, not several of them.')
  }
  const filter: AssignmentFilter = { roleId: asked['role.id'] }
  if (asked['user.id'] !== undefined) Object.assign(filter, { actorType: 'user', actorId: asked['user.id'] })
  if (asked['group.id'] !== undefined)
    Object.assign(filter, { actorType: 'group', actorId: asked['group.id'] })
  if (asked['scope.project.id'] !== undefined) {
    return { ...filter, targetType: 'project', targetId: asked['scope.project.id'] }
  }
  if (asked['scope.domain.id'] !== undefined) {
    return { ...filter, targetType: 'domain', targetId: asked['scope.domain.id'] }
  }
  return asked['scope.system'] === undefined
    ? filter
    : { ...filter, targetType: 'system', targetId: systemTarget }
}

function assignmentView(request: FastifyRequest, each: NamedAssignment, names: boolean) {
  const actor = names
    ? {
        id: each.actorId,
        name: each.actor?.name,
        domain: { id: each.actor?.domainId, name: each.actor?.domainName },
      }
    : { id: each.actorId }
  const targetPath = each.targetType === 'system' ? 'system' : `${each.targetType}s/${each.targetId}`
  return {
    scope:
      each.targetType === 'system'
        ? { system: { all: true } }
        : { [each.targetType]: targetView(each, names) },
    [each.actorType]: actor,
    role: names ? { id: each.roleId, name: each.roleName } : { id: each.roleId },
    links: {
      assignment: linkTo(request, `/${targetPath}/${each.actorType}s/${each.actorId}/roles/${each.roleId}`),
    },
  }
}

function targetView(each: NamedAssignment, names: boolean) {
  if (!names) return { id: each.targetId }
  const { name, domainId, domainName } = each.target ?? { name: '' }
  const domain = domainId === undefined ? {} : { domain: { id: domainId, name: domainName } }
  return { id: each.targetId, name, ...domain }
}
