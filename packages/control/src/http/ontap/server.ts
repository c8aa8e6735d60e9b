import Fastify, { LogController, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { OntapChanges } from '../../app/ontap/changes.ts'
import type { OntapCluster } from '../../app/ontap/cluster.ts'
import type { OntapNfs } from '../../app/ontap/nfs.ts'
import { limitBodyTime } from '../body-deadline.ts'
import { acceptJson } from '../parse.ts'
import { basicAuthentication, type Credentials } from './authenticate.ts'
import { noSuchApi, sendOntapFault } from './fault.ts'
import type { JobWaiting } from './job.ts'
import { clusterRoutes } from './routes-cluster.ts'
import { storageRoutes } from './routes-storage.ts'

export interface OntapParts {
  log: Logger
  cluster: OntapCluster
  nfs: OntapNfs
  changes: OntapChanges
  jobs: JobWaiting
  credentials: Credentials
  /** Of the management interface, as it is shown. */
  address: string
}

/**
 * ONTAP's REST API of one cluster, below `/api`. Requests are bounded: 1 MiB of body, 30 s to send it. Clients double
 * slashes in paths, and end them with one.
 */
export async function buildOntapServer(parts: OntapParts): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: parts.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: 1024 * 1024,
    requestTimeout: 0,
    http: { headersTimeout: 30_000 },
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: 300 },
    forceCloseConnections: true,
    // Addresses that no router takes, such as `%zz`.
    frameworkErrors: (error, request, reply) => {
      sendOntapFault(error, request as unknown as FastifyRequest, reply as unknown as FastifyReply)
    },
  }) as unknown as FastifyInstance
  limitBodyTime(app, 30_000)
  acceptJson(app)
  app.setErrorHandler(sendOntapFault)
  app.addHook('onRequest', basicAuthentication(parts.credentials))
  app.addHook('onRequest', async (request) => {
    const name = request.headers['x-dot-svm-name']
    const uuid = request.headers['x-dot-svm-uuid']
    const isNamed = typeof name === 'string' && name !== ''
    if (isNamed || (typeof uuid === 'string' && uuid !== '')) {
      parts.cluster.requireSvm({ ...(isNamed && { name }), ...(typeof uuid === 'string' && { uuid }) })
    }
  })
  app.setNotFoundHandler(noSuchApi)
  await app.register(
    async (api) => {
      clusterRoutes(api, parts)
      storageRoutes(api, parts)
    },
    { prefix: '/api' },
  )
  return app
}
