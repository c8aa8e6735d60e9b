import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Principal } from '../../domain/principal.ts'
import type { Answer } from '../answer.ts'
import { atLeast, formatMicroversion, negotiate, type Microversion } from '../microversion.ts'
import { originOf } from '../origin.ts'

export { maxPage, pageOf, param, queryText } from '../call-query.ts'
export { accepted, booleanOf, noContent, ok, type Answer } from '../answer.ts'

export const volumeRange = { service: 'volume', min: '3.0', max: '3.70' }

/** One request, as the handlers see it. */
export interface VolumeCall {
  principal: Principal
  version: Microversion
  params: Record<string, string>
  /** As it came: each value a text, or texts where the name came more than once. */
  query: Record<string, string | string[]>
  body: unknown
  requestId: string
  /** `http://HOST:PORT/volume`. */
  base: string
  /** The project in the URL, or the token's. */
  projectId: string
}

type Handler = (call: VolumeCall) => Promise<Answer> | Answer
export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

export interface VolumeRoutes {
  get(path: string, handler: Handler, since?: string): void
  post(path: string, handler: Handler, since?: string): void
  put(path: string, handler: Handler, since?: string): void
  delete(path: string, handler: Handler, since?: string): void
}

/**
 * Routes below `/v3/{project_id}` and, since the project is in the token too (microversion 3.67), below `/v3`.
 * `since` is the first microversion that has the route.
 */
export function volumeRoutes(app: FastifyInstance): VolumeRoutes {
  const add = (method: Method) => (path: string, handler: Handler, since?: string) => {
    const run = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
      const call = callOf(request)
      if (since !== undefined && !atLeast(call.version, since)) {
        throw new DomainError(
          'notFound',
          `API version ${formatMicroversion(call.version)} is not supported on this method. It needs ${since}.`,
        )
      }
      return send(reply, await handler(call))
    }
    app.route({ method, url: `/v3/:project_id(^[0-9a-f-]{32,36}$)${path}`, handler: run })
    app.route({ method, url: `/v3${path}`, handler: run })
  }
  return { get: add('GET'), post: add('POST'), put: add('PUT'), delete: add('DELETE') }
}

function callOf(request: FastifyRequest): VolumeCall {
  const params = request.params as Record<string, string>
  return {
    principal: request.principal,
    version: negotiate(request.headers, volumeRange),
    params,
    query: request.query as Record<string, string | string[]>,
    body: request.body,
    requestId: String(request.id),
    base: `${originOf(request)}/volume`,
    projectId: params['project_id'] ?? request.principal.projectId ?? '',
  }
}

function send(reply: FastifyReply, answer: Answer): unknown {
  void reply.code(answer.status)
  if (answer.headers !== undefined) void reply.headers(answer.headers)
  return reply.send(answer.body)
}

/** Cinder gives the link that goes on with each page that is full, though nothing may follow. */
export function nextLink(
  call: VolumeCall,
  path: string,
  limit: number,
  page: readonly { id: string }[],
): { rel: 'next'; href: string } | undefined {
  const last = page.at(-1)
  if (page.length < limit || last === undefined) return undefined
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(call.query)) {
    if (name === 'marker' || name === 'offset' || name === 'limit') continue
    for (const text of [value].flat()) query.append(name, text)
  }
  query.set('limit', String(limit))
  query.set('marker', last.id)
  return { rel: 'next', href: `${call.base}/v3/${call.projectId}${path}?${query.toString()}` }
}
