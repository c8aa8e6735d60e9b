import { STATUS_CODES } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { faultOf } from '../errors.ts'

/**
 * Glance's errors are a small HTML page, or where the client asks for it `{"message", "code", "title"}`: the
 * stock clients read either.
 */
export function glanceErrors(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const fault = faultOf(error)
    if (fault.status >= 500) request.log.error({ err: error, reqId: request.id }, 'image request failed')
    return sendError(request, reply, fault.status, fault.message)
  })
  app.setNotFoundHandler((request, reply) =>
    sendError(request, reply, 404, 'The resource could not be found.'),
  )
}

function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  message: string,
): FastifyReply {
  const title = STATUS_CODES[status] ?? 'Error'
  reply.status(status)
  if (wantsJson(request)) return reply.send({ message, code: `${status} ${title}`, title })
  return reply
    .type('text/html; charset=UTF-8')
    .send(
      `<html>\n <head>\n  <title>${status} ${title}</title>\n </head>\n <body>\n  <h1>${status} ${title}</h1>\n` +
        `  ${escapeHtml(message)}<br /><br />\n\n\n\n </body>\n</html>`,
    )
}

const wantsJson = (request: FastifyRequest): boolean => {
  const accept = request.headers.accept ?? ''
  return accept.includes('application/json') && !accept.includes('text/html')
}

const entities: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (each) => entities[each] ?? '')
