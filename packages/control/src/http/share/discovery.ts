import type { FastifyInstance } from 'fastify'
import { originOf } from '../origin.ts'
import { shareRange } from './call.ts'

const describedBy = { rel: 'describedby', type: 'text/html', href: 'http://docs.openstack.org/' }
const common = (base: string, path: string) => ({
  updated: '2015-08-27T11:33:21Z',
  links: [describedBy, { rel: 'self', href: `${base}/${path}/` }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.share+json;version=1' }],
})

const current = (base: string) => ({
  id: 'v2.0',
  status: 'CURRENT',
  version: shareRange.max,
  min_version: shareRange.min,
  ...common(base, 'v2'),
})

const deprecated = (base: string) => ({
  id: 'v1.0',
  status: 'DEPRECATED',
  version: '',
  min_version: '',
  ...common(base, 'v1'),
})

/** The versions of the service, to anybody: 300 at its root and 200 at `/v2`, as Manila answers. */
export function discoveryRoutes(app: FastifyInstance): void {
  app.get('/', (request, reply) => {
    const base = `${originOf(request)}/share`
    return reply.code(300).send({ versions: [deprecated(base), current(base)] })
  })
  app.get('/v2', (request, reply) =>
    reply.code(200).send({ versions: [current(`${originOf(request)}/share`)] }),
  )
}
