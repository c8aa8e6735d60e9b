import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Project } from '../../domain/identity.ts'
import { idText, longText, nameText, parser } from '../parse.ts'
import { pathId, queryFlag, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'

const nullable = <T extends ReturnType<typeof idText>>(type: T) =>
  Type.Optional(Type.Union([type, Type.Null()]))
const fields = {
  description: nullable(longText(4096)),
  enabled: Type.Optional(Type.Boolean()),
  tags: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 255, pattern: '^[^,/\\u0000-\\u001f]*$' }), {
      maxItems: 80,
    }),
  ),
}
const parseCreate = parser(
  Type.Object({
    project: Type.Object({
      name: nameText({ minLength: 1, maxLength: 64 }),
      domain_id: nullable(idText()),
      parent_id: nullable(idText()),
      is_domain: Type.Optional(Type.Boolean()),
      ...fields,
    }),
  }),
)
const parseUpdate = parser(
  Type.Object({
    project: Type.Object({ name: Type.Optional(nameText({ minLength: 1, maxLength: 64 })), ...fields }),
  }),
)
const text = Type.Optional(Type.String())
const parseQuery = parser(
  Type.Object({ name: text, domain_id: text, parent_id: text, enabled: text }),
  'query',
)

export const projectView = (request: FastifyRequest, project: Project) => ({
  id: project.id,
  name: project.name,
  domain_id: project.domainId,
  description: project.description,
  enabled: project.enabled,
  parent_id: project.parentId,
  is_domain: false,
  tags: project.tags,
  options: {},
  links: { self: linkTo(request, `/projects/${project.id}`) },
})

export function projectRoutes(app: FastifyInstance, { identity: { projects } }: IdentityRoutes): void {
  app.get('/v3/projects', async (request) => {
    const query = parseQuery(request.query)
    const list = await projects.list(request.principal, {
      name: query.name,
      domainId: query.domain_id,
      parentId: query.parent_id,
      enabled: queryFlag(query.enabled),
    })
    return { projects: list.map((project) => projectView(request, project)), links: listLinks(request) }
  })
  app.post('/v3/projects', async (request, reply) => {
    const { project } = parseCreate(request.body)
    if (project.is_domain === true) {
      throw new DomainError('invalid', 'is_domain must be false: domains are made with POST /v3/domains.')
    }
    const made = await projects.create(request.principal, {
      name: project.name,
      domainId: project.domain_id ?? undefined,
      parentId: project.parent_id ?? undefined,
      description: project.description ?? undefined,
      enabled: project.enabled,
      tags: project.tags,
    })
    return reply.status(201).send({ project: projectView(request, made) })
  })
  app.get('/v3/projects/:project', async (request) => ({
    project: projectView(request, await projects.show(request.principal, pathId(request, 'project'))),
  }))
  app.patch('/v3/projects/:project', async (request) => {
    const { name, description, enabled, tags } = parseUpdate(request.body).project
    const change = { name, enabled, tags, description: description === null ? '' : description }
    const project = await projects.update(request.principal, pathId(request, 'project'), change)
    return { project: projectView(request, project) }
  })
  app.delete('/v3/projects/:project', async (request, reply) => {
    await projects.remove(request.principal, pathId(request, 'project'))
    return reply.status(204).send()
  })
  app.get('/v3/users/:user/projects', async (request) => {
    const list = await projects.listOfUser(request.principal, pathId(request, 'user'))
    return { projects: list.map((project) => projectView(request, project)), links: listLinks(request) }
  })
}
