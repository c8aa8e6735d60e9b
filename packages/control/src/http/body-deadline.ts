import type { FastifyInstance } from 'fastify'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route's body is a stream of any length, and takes what time it takes. */
    streams?: boolean
  }
}

/**
 * Ends connections whose request body has not arrived whole after `ms`. Node's own `requestTimeout` knows no
 * exceptions, and an image takes longer than 30 s to send.
 */
export function limitBodyTime(app: FastifyInstance, ms: number): void {
  app.addHook('onRequest', async (request) => {
    const { raw } = request
    const hasBody =
      Number(raw.headers['content-length'] ?? 0) > 0 || raw.headers['transfer-encoding'] !== undefined
    if (!hasBody || request.routeOptions.config.streams === true) return
    const timer = setTimeout(() => raw.destroy(new Error(`the body did not arrive within ${ms} ms`)), ms)
    // A refused request's body may never be read: that keeps no process from its end.
    timer.unref()
    const stop = (): void => clearTimeout(timer)
    raw.once('end', stop).once('close', stop)
  })
}
