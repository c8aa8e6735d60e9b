import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ChangeOptions } from '../../app/ontap/changes.ts'
import { booleanField, fieldsOfBody } from '../../domain/ontap/body.ts'
import { OntapError, ontapCodes } from '../../domain/ontap/error.ts'
import { knownFields } from '../../domain/ontap/fields.ts'
import { select } from '../../domain/ontap/query.ts'
import { parseCall, paramsOf, refuseValidation, serveCollection, type OntapCall } from './call.ts'
import { notOffered } from './fault.ts'
import { sendBegun } from './job.ts'
import type { OntapParts } from './server.ts'

/** `/storage/aggregates` and `/storage/volumes` with what is in them. */
export function storageRoutes(app: FastifyInstance, parts: OntapParts): void {
  aggregateRoutes(app, parts)
  volumeRoutes(app, parts)
  snapshotRoutes(app, parts)
}

const uuidOf = (request: FastifyRequest): string => paramsOf(request)['uuid'] ?? ''

/** The body's fields, and what it and the query say about the request as a whole. */
function changeOf(
  request: FastifyRequest,
  call: OntapCall,
): { fields: Map<string, unknown>; options: ChangeOptions } {
  const fields = fieldsOfBody(request.body)
  const validateOnly = call.validateOnly ?? booleanField(fields, 'validate_only') ?? false
  const ignoreUnknown = call.ignoreUnknown || (booleanField(fields, 'ignore_unknown_fields') ?? false)
  fields.delete('validate_only')
  fields.delete('ignore_unknown_fields')
  return { fields, options: { validateOnly, ignoreUnknown } }
}

function aggregateRoutes(app: FastifyInstance, { cluster, changes, jobs }: OntapParts): void {
  const path = '/storage/aggregates'
  const known = knownFields.aggregates
  serveCollection(app, { path, noun: 'aggregate', known, records: () => cluster.aggregates() })
  app.post(path, async (request, reply) => {
    const call = parseCall(request, known)
    const { fields, options } = changeOf(request, call)
    refuseValidation(options.validateOnly)
    const begun = await changes.createAggregate(fields, options)
    return sendBegun(reply, jobs, begun, {
      waitSeconds: call.query.returnTimeoutSeconds,
      created: { path: `/api${path}` },
    })
  })
  app.delete(`${path}/:uuid`, async (request, reply) => {
    const { query, validateOnly } = parseCall(request, known)
    refuseValidation(validateOnly)
    const begun = await changes.deleteAggregate(uuidOf(request))
    return sendBegun(reply, jobs, begun, { waitSeconds: query.returnTimeoutSeconds })
  })
  app.patch(
    `${path}/:uuid`,
    notOffered('An aggregate cannot be modified: make another, and vacate this one.'),
  )
}

function volumeRoutes(app: FastifyInstance, parts: OntapParts): void {
  const { cluster, changes, jobs } = parts
  const path = '/storage/volumes'
  const known = knownFields.volumes
  serveCollection(app, {
    path,
    noun: 'volume',
    known,
    records: (query) => cluster.volumes(query),
    one: async (uuid, query) => (await cluster.volumes(query, uuid))[0],
  })
  app.post(path, async (request, reply) => {
    const call = parseCall(request, known)
    const { fields, options } = changeOf(request, call)
    refuseValidation(options.validateOnly)
    const begun = await changes.createVolume(fields, options)
    const { query } = call
    const record = async () => (await cluster.volumes({ ...query, fields: ['*'] }, begun.uuid ?? '')).at(0)
    const returnsRecords = /[?&]return_records=(true|1)(&|$)/.test(request.url)
    return sendBegun(reply, jobs, begun, {
      waitSeconds: query.returnTimeoutSeconds,
      created: { path: `/api${path}`, ...(returnsRecords && { record }) },
    })
  })
  app.patch(`${path}/:uuid`, async (request, reply) => {
    const call = parseCall(request, known)
    const { fields, options } = changeOf(request, call)
    const begun = await changes.modifyVolumes([uuidOf(request)], fields, options)
    return sendBegun(reply, jobs, begun, { waitSeconds: call.query.returnTimeoutSeconds })
  })
  app.patch(path, async (request, reply) => {
    const call = parseCall(request, known)
    const { fields, options } = changeOf(request, call)
    const uuids = await selectedVolumes(parts, call)
    const begun = await changes.modifyVolumes(uuids, fields, options)
    return sendBegun(reply, jobs, begun, { waitSeconds: call.query.returnTimeoutSeconds })
  })
  app.delete(`${path}/:uuid`, async (request, reply) => {
    const { query, validateOnly } = parseCall(request, known, ['force'])
    refuseValidation(validateOnly)
    const begun = await changes.deleteVolume(uuidOf(request))
    return sendBegun(reply, jobs, begun, { waitSeconds: query.returnTimeoutSeconds })
  })
}

/** What a request on the collection is about. One that names nothing would change all. */
async function selectedVolumes({ cluster }: OntapParts, { query }: OntapCall): Promise<string[]> {
  if (query.filters.length === 0) {
    throw new OntapError(
      400,
      ontapCodes.invalid,
      'A query must say which volumes are meant, such as name=NAME; or name one in the path.',
    )
  }
  const found = select(await cluster.volumes(query), query).page
  if (found.length === 0) throw OntapError.notFound('volume that the query selects')
  return found.map((record) => String(record['uuid']))
}

const snapshotsElsewhere =
  'Snapshots are of single volumes here, and belong to the Block Storage API: cinder snapshot-create, snapshot-delete.'

function snapshotRoutes(app: FastifyInstance, { cluster }: OntapParts): void {
  const path = '/storage/volumes/:volume/snapshots'
  serveCollection(app, {
    path,
    noun: 'snapshot',
    known: knownFields.snapshots,
    records: (_query, params) => cluster.snapshots(params['volume'] ?? ''),
  })
  const refuse = notOffered(snapshotsElsewhere)
  app.post(path, refuse)
  app.delete(path, refuse)
  app.patch(`${path}/:uuid`, refuse)
  app.delete(`${path}/:uuid`, refuse)
  serveCollection(app, {
    path: '/storage/volumes/:volume/files',
    noun: null,
    known: knownFields.files,
    records: (_query, params) => cluster.files(params['volume'] ?? ''),
  })
}
