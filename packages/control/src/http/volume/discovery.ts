import type { FastifyInstance } from 'fastify'
import { originOf } from '../origin.ts'
import { volumeRange } from './call.ts'

const versionOf = (base: string) => ({
  id: 'v3.0',
  status: 'CURRENT',
  version: volumeRange.max,
  min_version: volumeRange.min,
  updated: '2022-08-31T00:00:00Z',
  links: [
    { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/' },
    { rel: 'self', href: `${base}/v3/` },
  ],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.volume+json;version=3' }],
})

/** The versions of the service, to anybody: 300 at its root and 200 at `/v3`, as Cinder answers. */
export function discoveryRoutes(app: FastifyInstance): void {
  app.get('/', (request, reply) =>
    reply.code(300).send({ versions: [versionOf(`${originOf(request)}/volume`)] }),
  )
  app.get('/v3', (request, reply) =>
    reply.code(200).send({ versions: [versionOf(`${originOf(request)}/volume`)] }),
  )
}
