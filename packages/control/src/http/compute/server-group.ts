import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { ServerGroups } from '../../app/server-group.ts'
import { serverGroupPolicies, type ServerGroup } from '../../domain/server-group.ts'
import type { ServerGroupWithMembers } from '../../ports/server-groups.ts'
import { maxLimit, Query } from './query.ts'
import { paramOf, since } from './request.ts'
import { bodyOf, integer, name, strict, toInteger } from './schema.ts'

const hard = ['affinity', 'anti-affinity'] as const

const createWith = (policies: readonly string[]) =>
  bodyOf(
    strict({
      server_group: strict({
        name: name(),
        policies: Type.Array(Type.Enum([...policies]), { minItems: 1, maxItems: 1 }),
      }),
    }),
  )
const hardBody = createWith(hard)
const softBody = createWith(serverGroupPolicies)
const ruledBody = bodyOf(
  strict({
    server_group: strict({
      name: name(),
      policy: Type.Enum([...serverGroupPolicies]),
      rules: Type.Optional(strict({ max_server_per_host: Type.Optional(integer(1)) })),
    }),
  }),
)

export function serverGroupRoutes(app: FastifyInstance, groups: ServerGroups): void {
  app.get('/os-server-groups', async (request) => {
    const query = new Query(request)
    query.requireKnown(request, ['all_projects', 'limit', 'offset'])
    const limit = query.limit()
    const page = { limit: limit === 0 ? maxLimit : limit, offset: query.integer('offset') ?? 0 }
    // That it is there is enough, whatever its value.
    const allProjects = query.text('all_projects') !== undefined
    const found = await groups.list(request.principal, page, { allProjects })
    return { server_groups: found.map((group) => view(request, group)) }
  })
  app.post('/os-server-groups', async (request) => {
    const made = await groups.create(request.principal, parse(request))
    return { server_group: view(request, made) }
  })
  app.get('/os-server-groups/:id', async (request) => ({
    server_group: view(request, await groups.show(request.principal, paramOf(request, 'id'))),
  }))
  app.delete('/os-server-groups/:id', async (request, reply) => {
    await groups.remove(request.principal, paramOf(request, 'id'))
    return reply.code(204).send()
  })
}

/** One policy in a list; from 2.15 on also soft ones; from 2.64 on by itself, with rules. */
function parse(request: FastifyRequest): Pick<ServerGroup, 'name' | 'policy' | 'rules'> {
  if (!since(request, '2.64')) {
    const body = since(request, '2.15') ? softBody(request.body) : hardBody(request.body)
    const { name: called, policies } = body.server_group
    return { name: called, policy: policies[0] as ServerGroup['policy'], rules: {} }
  }
  const { name: called, policy, rules } = ruledBody(request.body).server_group
  const most = rules?.max_server_per_host
  if (rules !== undefined && policy !== 'anti-affinity') {
    throw new DomainError('invalid', 'Only anti-affinity policy supports rules.')
  }
  return {
    name: called,
    policy: policy as ServerGroup['policy'],
    rules: most === undefined ? {} : { maxServerPerHost: toInteger(most, 'max_server_per_host', 1) },
  }
}

const view = (request: FastifyRequest, group: ServerGroupWithMembers) => ({
  id: group.id,
  name: group.name,
  ...(since(request, '2.64')
    ? {
        policy: group.policy,
        rules:
          group.rules.maxServerPerHost === undefined
            ? {}
            : { max_server_per_host: group.rules.maxServerPerHost },
      }
    : { policies: [group.policy], metadata: {} }),
  members: group.members,
  ...(since(request, '2.13') ? { project_id: group.projectId, user_id: group.userId } : {}),
})
