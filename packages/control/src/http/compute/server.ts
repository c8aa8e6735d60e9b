import type { FastifyInstance } from 'fastify'
import type { ServerActions } from '../../app/server-action.ts'
import type { ServerCreation } from '../../app/server-create.ts'
import type { ServerFacts, Servers } from '../../app/server.ts'
import { linksOf, nextLink, paramOf } from './request.ts'
import { parseServerRequest, parseServerUpdate } from './server-body.ts'
import { parseServerList } from './server-query.ts'
import { basicView, serverView, updatedView } from './server-view.ts'
import type { FastifyRequest } from 'fastify'
import { since } from './request.ts'

export interface ServerRoutes {
  servers: Servers
  creation: ServerCreation
  actions: ServerActions
}

export function serverRoutes(app: FastifyInstance, { servers, creation, actions }: ServerRoutes): void {
  const list = async (request: FastifyRequest, detail: boolean) => {
    const { filter, page, allProjects, zone, isEmpty } = parseServerList(request)
    const found = await servers.list(request.principal, isEmpty ? { ids: [] } : filter, page, {
      allProjects,
      detail,
      ...(zone === undefined ? {} : { zone }),
    })
    const view = detail ? serverView : basicView
    const last = found.servers.at(-1)
    return {
      servers: found.servers.map((facts) => view(request, facts)),
      ...(found.hasMore && last !== undefined ? { servers_links: [nextLink(request, last.server.id)] } : {}),
    }
  }
  app.get('/servers', (request) => list(request, false))
  app.get('/servers/detail', (request) => list(request, true))

  app.post('/servers', async (request, reply) => {
    const parsed = parseServerRequest(request)
    const made = await creation.create(request.principal, parsed.request, request.id)
    const [first] = made
    reply.code(202)
    if (parsed.returnsReservation) return { reservation_id: first?.reservationId }
    const id = first?.id ?? ''
    const links = linksOf(request, `servers/${id}`)
    reply.header('location', links[0]?.href)
    return {
      server: {
        id,
        links,
        'OS-DCF:diskConfig': 'MANUAL',
        security_groups: parsed.securityGroups,
        adminPass: parsed.adminPass,
      },
    }
  })

  const groupsOf = (request: FastifyRequest, { groupId }: ServerFacts) =>
    since(request, '2.71') ? { server_groups: groupId === undefined ? [] : [groupId] } : {}
  const shown = (request: FastifyRequest, facts: ServerFacts) => ({
    ...serverView(request, facts),
    ...groupsOf(request, facts),
  })
  app.get('/servers/:id', async (request) => ({
    server: shown(request, await servers.show(request.principal, paramOf(request, 'id'))),
  }))
  app.put('/servers/:id', async (request) => {
    const fields = parseServerUpdate(request)
    const facts = await servers.update(request.principal, paramOf(request, 'id'), fields)
    return { server: { ...updatedView(request, facts), ...groupsOf(request, facts) } }
  })
  app.delete('/servers/:id', async (request, reply) => {
    await actions.remove(request.principal, paramOf(request, 'id'), request.id)
    return reply.code(204).send()
  })
}
