import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { notFound, requireAdmin } from '../../app/identity/errors.ts'
import { catalogFor, catalogId, regionName } from '../../domain/catalog.ts'
import { originOf } from '../origin.ts'
import { parser } from '../parse.ts'
import { pathId, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'

const text = Type.Optional(Type.String())
const parseQuery = parser(
  Type.Object({ type: text, name: text, service_id: text, interface: text, region_id: text }),
  'query',
)

const region = (request: FastifyRequest) => ({
  id: regionName,
  description: '',
  parent_region_id: null,
  links: { self: linkTo(request, `/regions/${regionName}`) },
})

/** Services, endpoints and regions, to be read: they are the installation's own and follow from where it runs. */
export function catalogRoutes(app: FastifyInstance, routes: IdentityRoutes): void {
  const services = (request: FastifyRequest) =>
    routes.catalog.map(({ type, name }) => {
      const id = catalogId(type)
      return { id, type, name, enabled: true, links: { self: linkTo(request, `/services/${id}`) } }
    })
  const endpoints = (request: FastifyRequest) =>
    catalogFor(routes.catalog, originOf(request), '$(project_id)s').flatMap((service) =>
      service.endpoints.map((endpoint) => ({
        ...endpoint,
        service_id: service.id,
        enabled: true,
        links: { self: linkTo(request, `/endpoints/${endpoint.id}`) },
      })),
    )
  app.get('/v3/services', (request) => {
    requireAdmin(request.principal, 'identity:list_services')
    const { type, name } = parseQuery(request.query)
    const list = services(request).filter((s) => s.type === (type ?? s.type) && s.name === (name ?? s.name))
    return { services: list, links: listLinks(request) }
  })
  app.get('/v3/services/:service', (request) => {
    requireAdmin(request.principal, 'identity:get_service')
    return { service: pick('service', services(request), pathId(request, 'service')) }
  })
  app.get('/v3/endpoints', (request) => {
    requireAdmin(request.principal, 'identity:list_endpoints')
    const query = parseQuery(request.query)
    const list = endpoints(request).filter(
      (each) =>
        each.service_id === (query.service_id ?? each.service_id) &&
        each.interface === (query.interface ?? each.interface) &&
        each.region_id === (query.region_id ?? each.region_id),
    )
    return { endpoints: list, links: listLinks(request) }
  })
  app.get('/v3/endpoints/:endpoint', (request) => {
    requireAdmin(request.principal, 'identity:get_endpoint')
    return { endpoint: pick('endpoint', endpoints(request), pathId(request, 'endpoint')) }
  })
  app.get('/v3/regions', (request) => ({ regions: [region(request)], links: listLinks(request) }))
  app.get('/v3/regions/:region', (request) => ({
    region: pick('region', [region(request)], pathId(request, 'region')),
  }))
}

function pick<T extends { id: string }>(kind: string, list: T[], id: string): T {
  const found = list.find((each) => each.id === id)
  if (found === undefined) throw notFound(kind, id)
  return found
}
