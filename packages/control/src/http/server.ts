import Fastify, { LogController, type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import type { Logger } from 'pino'
import { limitBodyTime } from './body-deadline.ts'

/** One OpenStack service: a plugin that owns everything below its prefix, its error envelope included. */
export interface HttpService {
  /** `/volume`, `/compute`, … */
  prefix: string
  plugin: FastifyPluginAsync
}

/**
 * The one HTTP server. Requests are bounded: 1 MiB of body, 30 s to send it (images' data has its own limits).
 */
export async function buildServer(options: {
  log: Logger
  services: HttpService[]
}): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: options.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: 1024 * 1024,
    // Bodies have their own deadline, because images are exempt from it.
    requestTimeout: 0,
    http: { headersTimeout: 30_000 },
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: 300 },
    genReqId: () => `req-${crypto.randomUUID()}`,
    forceCloseConnections: true,
  })
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-openstack-request-id', request.id)
  })
  limitBodyTime(app as unknown as FastifyInstance, 30_000)
  for (const service of options.services) await app.register(service.plugin, { prefix: service.prefix })
  return app as unknown as FastifyInstance
}
