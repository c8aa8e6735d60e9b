import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { faultOf } from './errors.ts'
import { originOf } from './origin.ts'

/** Cinder's and Manila's names of the faults (`api/openstack/wsgi.py` of either). */
const names: Record<number, string> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  501: 'notImplemented',
  503: 'serviceUnavailable',
}

export const faultSender =
  (service: 'volume' | 'share') =>
  (error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void => {
    const fault = faultOf(error)
    if (fault.status >= 500) request.log.error({ err: error }, `a ${service} request failed`)
    if (fault.status === 401) {
      void reply
        .code(401)
        .header('www-authenticate', `Keystone uri="${identityUrl(request)}"`)
        .send({ error: { code: 401, title: 'Unauthorized', message: fault.message } })
      return
    }
    const name = names[fault.status] ?? 'computeFault'
    const body = { code: fault.status, message: fault.message }
    if (fault.status !== 413) {
      void reply.code(fault.status).send({ [name]: body })
      return
    }
    void reply
      .code(413)
      .header('retry-after', '0')
      .send({ [name]: { ...body, retryAfter: '0' } })
  }

function identityUrl(request: FastifyRequest): string {
  try {
    return `${originOf(request)}/identity`
  } catch {
    return '/identity'
  }
}

export function sendNotFound(request: FastifyRequest, reply: FastifyReply): void {
  request.log.debug({ url: request.url }, 'no such route')
  void reply.code(404).send({
    itemNotFound: { code: 404, message: 'The resource could not be found.' },
  })
}
