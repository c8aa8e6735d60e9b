import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Principal } from '../../domain/principal.ts'
import type { Answer } from '../answer.ts'
import { atLeast, formatMicroversion, negotiate, type Microversion } from '../microversion.ts'
import { originOf } from '../origin.ts'
import { wholeNumber } from '../call-query.ts'

export { maxPage, pageOf, param, queryText } from '../call-query.ts'

export const shareRange = {
  service: 'shared-file-system',
  min: '2.0',
  max: '2.98',
  legacyHeader: 'X-OpenStack-Manila-API-Version',
}

export const experimentalHeader = 'x-openstack-manila-api-experimental'

/** One request, as the handlers see it. */
export interface ShareCall {
  principal: Principal
  version: Microversion
  /** The client says that it knows an API as experimental. */
  experimental: boolean
  params: Record<string, string>
  /** As it came: each value a text, or texts where the name came more than once. */
  query: Record<string, string | string[]>
  body: unknown
  requestId: string
  /** `http://HOST:PORT/share`. */
  base: string
  /** The project in the URL, or the token's. */
  projectId: string
  /** `/PROJECT` where the URL has it. */
  projectPath: string
}

/** The microversions that have a thing. */
export interface Versions {
  since?: string
  until?: string
  /** Up to here it is only for clients that say that they know it as experimental. */
  experimentalUntil?: string
}

type Handler = (call: ShareCall) => Promise<Answer> | Answer
type Add = (path: string, handler: Handler, versions?: Versions) => void

export interface ShareRoutes {
  get: Add
  post: Add
  put: Add
  delete: Add
}

/** Throws `notFound`, as Manila for a method that the microversion does not have. */
export function requireVersion(call: ShareCall, versions: Versions): void {
  const { since, until, experimentalUntil } = versions
  const version = formatMicroversion(call.version)
  const isAfter = (text: string): boolean => atLeast(call.version, text) && version !== text
  const missing = (hint: string) =>
    new DomainError('notFound', `API version ${version} is not supported on this method. ${hint}`)
  if (since !== undefined && !atLeast(call.version, since)) throw missing(`It needs ${since}.`)
  if (until !== undefined && isAfter(until)) throw missing(`It was there until ${until}.`)
  if (experimentalUntil !== undefined && !isAfter(experimentalUntil) && !call.experimental) {
    throw missing(
      `Until ${experimentalUntil} it is experimental: send the header X-OpenStack-Manila-API-Experimental: true.`,
    )
  }
}

/** Routes below `/v2/{project_id}` and, since the project is in the token too (2.60), below `/v2`. */
export function shareRoutes(app: FastifyInstance): ShareRoutes {
  const add =
    (method: 'GET' | 'POST' | 'PUT' | 'DELETE'): Add =>
    (path, handler, versions) => {
      const run = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
        const call = callOf(request)
        if (versions !== undefined) requireVersion(call, versions)
        return send(reply, await handler(call))
      }
      app.route({ method, url: `/v2/:project_id(^[0-9a-f-]{32,36}$)${path}`, handler: run })
      app.route({ method, url: `/v2${path}`, handler: run })
    }
  return { get: add('GET'), post: add('POST'), put: add('PUT'), delete: add('DELETE') }
}

function callOf(request: FastifyRequest): ShareCall {
  const params = request.params as Record<string, string>
  const inPath = params['project_id']
  return {
    principal: request.principal,
    version: negotiate(request.headers, shareRange),
    experimental: String(request.headers[experimentalHeader] ?? '').toLowerCase() === 'true',
    params,
    query: request.query as Record<string, string | string[]>,
    body: request.body,
    requestId: String(request.id),
    base: `${originOf(request)}/share`,
    projectId: inPath ?? request.principal.projectId ?? '',
    projectPath: inPath === undefined ? '' : `/${inPath}`,
  }
}

function send(reply: FastifyReply, answer: Answer): unknown {
  void reply.code(answer.status)
  if (answer.headers !== undefined) void reply.headers(answer.headers)
  return reply.send(answer.body)
}

/** Manila gives the link that goes on with each page that a limit has filled, though nothing may follow. */
export function nextLink(
  call: ShareCall,
  path: string,
  page: readonly { id: string }[],
): { rel: 'next'; href: string } | undefined {
  const limit = wholeNumber(call, 'limit')
  const last = page.at(-1)
  if (limit === undefined || page.length < limit || last === undefined) return undefined
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(call.query)) {
    if (name === 'marker' || name === 'offset' || name === 'limit') continue
    for (const text of [value].flat()) query.append(name, text)
  }
  query.set('limit', String(limit))
  query.set('marker', last.id)
  return { rel: 'next', href: `${call.base}/v2${call.projectPath}${path}?${query.toString()}` }
}

/** `self` and `bookmark`, as every resource has. */
export const linksOf = (call: ShareCall, collection: string, id: string) => [
  { rel: 'self', href: `${call.base}/v2${call.projectPath}/${collection}/${id}` },
  { rel: 'bookmark', href: `${call.base}${call.projectPath}/${collection}/${id}` },
]

/** Python's form of a time in JSON, with microseconds. */
export const manilaTime = (iso: string | null): string | null =>
  iso === null ? null : `${iso.slice(0, 23)}000`
