import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { MicroversionRange } from '../microversion.ts'
import { originOf } from '../origin.ts'

export const computeVersions: MicroversionRange = {
  service: 'compute',
  min: '2.1',
  max: '2.93',
  legacyHeader: 'X-OpenStack-Nova-API-Version',
}

const description = (request: FastifyRequest) => ({
  id: 'v2.1',
  status: 'CURRENT',
  version: computeVersions.max,
  min_version: computeVersions.min,
  updated: '2013-07-23T11:33:21Z',
  links: [{ rel: 'self', href: `${originOf(request)}/compute/v2.1/` }],
})

/** Discovery needs no token. */
export function versionRoutes(app: FastifyInstance): void {
  app.get('/', (request) => ({ versions: [description(request)] }))
  app.get('/v2.1', (request) => {
    const version = description(request)
    return {
      version: {
        ...version,
        links: [
          ...version.links,
          { rel: 'describedby', type: 'text/html', href: 'http://docs.openstack.org/' },
        ],
        'media-types': [
          { base: 'application/json', type: 'application/vnd.openstack.compute+json;version=2.1' },
        ],
      },
    }
  })
}
