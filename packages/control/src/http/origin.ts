import { DomainError } from '@volant/contract'
import type { FastifyRequest } from 'fastify'

const form = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?$/

/** `http://HOST:PORT` as the client reached this server: links and the catalogue are built from it. */
export function originOf(request: FastifyRequest): string {
  const host = request.headers.host ?? ''
  if (!form.test(host))
    throw new DomainError('invalid', 'The Host header is not of the form HOST or HOST:PORT.')
  return `${request.protocol}://${host}`
}
