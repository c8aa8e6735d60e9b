import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { OntapError, ontapCodes } from '../../domain/ontap/error.ts'
import {
  flag,
  parseOntapQuery,
  project,
  select,
  type OntapQuery,
  type OntapRecord,
} from '../../domain/ontap/query.ts'

/** A request's query, and what it says about the request as a whole. */
export interface OntapCall {
  query: OntapQuery
  /** Query parameters that ONTAP's query language has no part in, such as `action`. */
  own: ReadonlyMap<string, string>
  /** Null: nothing is said. */
  validateOnly: boolean | null
  ignoreUnknown: boolean
}

const parametersOf = (request: FastifyRequest): URLSearchParams =>
  new URL(request.url.replace(/^\/+/, '/'), 'http://cluster').searchParams

/** Throws `OntapError`. Changes wait for nothing unless they are asked to; reads have all at once. */
export function parseCall(
  request: FastifyRequest,
  known: ReadonlySet<string>,
  own: readonly string[] = [],
): OntapCall {
  const parameters = [...parametersOf(request)]
  const flagOf = (name: string): boolean | null => {
    const value = parameters.findLast(([key]) => key === name)?.[1]
    return value === undefined ? null : flag(name, value)
  }
  const ignoreUnknown = flagOf('ignore_unknown_fields') ?? false
  return {
    query: parseOntapQuery(
      parameters.filter(([name]) => !own.includes(name)),
      known,
      { ignoreUnknown, ...(request.method !== 'GET' && { returnTimeoutSeconds: 0 }) },
    ),
    own: new Map(parameters.filter(([name]) => own.includes(name))),
    validateOnly: flagOf('validate_only'),
    ignoreUnknown,
  }
}

/** For what cannot be tried out: it would be carried out. */
export function refuseValidation(validateOnly: boolean | null): void {
  if (validateOnly !== true) return
  throw new OntapError(
    400,
    ontapCodes.unexpectedArgument,
    'Unexpected argument "validate_only": only a volume\'s movement and size can be validated.',
    'validate_only',
  )
}

export interface Collection {
  /** Without `/api`. */
  path: string
  known: ReadonlySet<string>
  /** `id`: of the collection's parent, where the path has one. */
  records(query: OntapQuery, params: Record<string, string>): Promise<OntapRecord[]>
  /** One of them; absent: it is looked for in `records`. */
  one?(uuid: string, query: OntapQuery, params: Record<string, string>): Promise<OntapRecord | undefined>
  /** What one of them is called in messages; null: single records have no address. */
  noun: string | null
}

/** `GET path` and `GET path/{uuid}`. */
export function serveCollection(app: FastifyInstance, collection: Collection): void {
  app.get(collection.path, async (request, reply) => {
    const { query } = parseCall(request, collection.known)
    const records = await collection.records(query, paramsOf(request))
    return reply.type('application/hal+json').send(page(request, query, records))
  })
  if (collection.noun === null) return
  app.get(`${collection.path}/:uuid`, async (request, reply) => {
    const { query } = parseCall(request, collection.known)
    const params = paramsOf(request)
    const uuid = params['uuid'] ?? ''
    // A single record is whole unless fields are asked for.
    const wanted = query.fields.length === 0 ? { ...query, fields: ['*'] } : query
    const found =
      collection.one === undefined
        ? (await collection.records(wanted, params)).find((record) => record['uuid'] === uuid)
        : await collection.one(uuid, wanted, params)
    const [record] = found === undefined ? [] : select([found], wanted).page
    if (record === undefined) throw OntapError.notFound(`${collection.noun} ${uuid}`, 'uuid')
    return reply.type('application/hal+json').send(project(record, wanted))
  })
}

export const paramsOf = (request: FastifyRequest): Record<string, string> =>
  request.params as Record<string, string>

/** The records of a page, and where the next one is. */
export function page(
  request: FastifyRequest,
  query: OntapQuery,
  records: readonly OntapRecord[],
): OntapRecord {
  const { page: selected, matched, more } = select(records, query)
  const self = addressOf(request)
  if (!query.returnRecords) {
    return { num_records: matched, _links: { self: { href: self } } }
  }
  return {
    records: selected.map((record) => project(record, query)),
    num_records: selected.length,
    _links: {
      self: { href: self },
      ...(more && { next: { href: addressOf(request, { 'start.index': query.skip + selected.length }) } }),
    },
  }
}

/** The request's address without doubled slashes, with these parameters changed. */
function addressOf(request: FastifyRequest, changed: Record<string, string | number> = {}): string {
  const parameters = parametersOf(request)
  for (const [name, value] of Object.entries(changed)) parameters.set(name, String(value))
  const path = (request.url.split('?')[0] ?? '').replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
  const text = parameters.toString()
  return text === '' ? path : `${path}?${text}`
}

export const sendRecord = (reply: FastifyReply, record: OntapRecord): FastifyReply =>
  reply.type('application/hal+json').send(record)
