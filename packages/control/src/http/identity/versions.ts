import type { FastifyInstance, FastifyRequest } from 'fastify'
import { linkTo } from './envelope.ts'

const version = (request: FastifyRequest) => ({
  id: 'v3.14',
  status: 'stable',
  updated: '2020-04-07T00:00:00Z',
  links: [{ rel: 'self', href: linkTo(request, '/') }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
})

/** Version discovery, without a token. */
export function versionRoutes(app: FastifyInstance): void {
  app.get('/', (request, reply) => reply.status(300).send({ versions: { values: [version(request)] } }))
  app.get('/v3', (request) => ({ version: version(request) }))
}
