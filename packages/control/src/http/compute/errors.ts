import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { faultOf } from '../errors.ts'

/** Nova's names of the envelope (nova/api/openstack/wsgi.py, Fault). */
const names: Record<number, string> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  429: 'overLimit',
  501: 'notImplemented',
  503: 'serviceUnavailable',
}

export function setComputeErrors(app: FastifyInstance): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const fault = faultOf(error)
    // Nova answers an exhausted quota with 403.
    const status = fault.code === 'overQuota' ? 403 : fault.status
    if (status >= 500 && fault.code === 'internal') request.log.error({ err: error }, 'request failed')
    return answer(reply, status, fault.message)
  })
  app.setNotFoundHandler((_request, reply) => answer(reply, 404, 'The resource could not be found.'))
}

function answer(reply: FastifyReply, status: number, message: string): FastifyReply {
  if (status === 401) {
    return reply
      .code(401)
      .header('WWW-Authenticate', 'Keystone')
      .send({ error: { code: 401, title: 'Unauthorized', message } })
  }
  return reply.code(status).send({ [names[status] ?? 'computeFault']: { code: status, message } })
}
