import { STATUS_CODES } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { originOf } from '../origin.ts'
import { faultOf } from '../errors.ts'

/** Keystone's: `{"error": {"code", "message", "title"}}`. */
export function keystoneErrors(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const fault = faultOf(error)
    if (fault.status >= 500) request.log.error({ err: error, reqId: request.id }, 'identity request failed')
    if (fault.status === 401) void reply.header('www-authenticate', `Keystone uri="${identityUri(request)}"`)
    return sendError(reply, fault.status, fault.message)
  })
  app.setNotFoundHandler((_request, reply) => sendError(reply, 404, 'The resource could not be found.'))
}

function identityUri(request: FastifyRequest): string {
  try {
    return `${originOf(request)}/identity/v3`
  } catch {
    return '/identity/v3'
  }
}

function sendError(reply: FastifyReply, status: number, message: string): FastifyReply {
  const title = STATUS_CODES[status] ?? 'Error'
  return reply.status(status).send({ error: { code: status, message, title } })
}

/** `http://HOST/identity/v3` + path. */
export const linkTo = (request: FastifyRequest, path: string): string =>
  `${originOf(request)}/identity/v3${path}`

/** The `links` of a whole list; lists are not paged, as in Keystone. */
export const listLinks = (request: FastifyRequest) => ({
  next: null,
  self: originOf(request) + request.url,
  previous: null,
})

/** Keystone's times carry microseconds. */
export const keystoneTime = (time: number | string | Date): string =>
  new Date(time).toISOString().replace('Z', '000Z')
