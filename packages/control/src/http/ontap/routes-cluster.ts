import type { FastifyInstance } from 'fastify'
import { fieldsOfBody, textField } from '../../domain/ontap/body.ts'
import { OntapError } from '../../domain/ontap/error.ts'
import { knownFields } from '../../domain/ontap/fields.ts'
import { project, select, type OntapRecord } from '../../domain/ontap/query.ts'
import { parseCall, paramsOf, refuseValidation, sendRecord, serveCollection } from './call.ts'
import { notOffered } from './fault.ts'
import type { OntapParts } from './server.ts'

/** `/cluster`, its nodes and jobs, SVMs, interfaces, NFS, and what a cluster of this kind has none of. */
export function clusterRoutes(app: FastifyInstance, parts: OntapParts): void {
  const { cluster, nfs } = parts
  app.get('/cluster', async (request, reply) => {
    const { query } = parseCall(request, knownFields.cluster)
    const wanted = query.fields.length === 0 ? { ...query, fields: ['*'] } : query
    const [record] = select([cluster.cluster(parts.address)], wanted).page
    if (record === undefined) throw OntapError.notFound('cluster')
    return sendRecord(reply, project(record, wanted))
  })
  serveCollection(app, {
    path: '/cluster/nodes',
    noun: 'node',
    known: knownFields.nodes,
    records: (query) => cluster.nodes(query),
  })
  jobRoutes(app, parts)
  serveCollection(app, {
    path: '/svm/svms',
    noun: 'SVM',
    known: knownFields.svms,
    records: () => cluster.svms(),
  })
  serveCollection(app, {
    path: '/network/ip/interfaces',
    noun: 'interface',
    known: knownFields.interfaces,
    records: () => cluster.interfaces(),
  })
  serveCollection(app, {
    path: '/protocols/nfs/services',
    noun: 'NFS service',
    known: knownFields.nfsServices,
    records: () => nfs.services(),
    one: async (uuid) => (await nfs.services()).find((one) => (one['svm'] as OntapRecord)['uuid'] === uuid),
  })
  serveCollection(app, {
    path: '/protocols/nfs/connected-clients',
    noun: null,
    known: knownFields.nfsClients,
    records: () => nfs.clients(),
  })
  const none = [
    ['/storage/disks', knownFields.disks],
    ['/storage/qos/policies', knownFields.qosPolicies],
    ['/snapmirror/relationships', knownFields.relationships],
    ['/svm/peers', knownFields.peers],
    ['/cluster/peers', knownFields.peers],
  ] as const
  for (const [path, known] of none) {
    serveCollection(app, { path, noun: 'entry', known, records: async () => [] })
  }
  for (const path of ['/cluster/nodes', '/svm/svms', '/network/ip/interfaces', ...none.map(([one]) => one)]) {
    const refuse = notOffered(`${path} can only be read here: nothing is made, changed or removed by it.`)
    app.route({ method: ['POST', 'PATCH', 'DELETE'], url: path, handler: refuse })
    app.route({ method: ['PATCH', 'DELETE'], url: `${path}/:uuid`, handler: refuse })
  }
  app.patch(
    '/cluster',
    notOffered('The cluster is what the configuration file says: it cannot be changed here.'),
  )
  // What drivers report about themselves: kept in the log.
  app.post('/support/ems/application-logs', async (request, reply) => {
    const fields = fieldsOfBody(request.body)
    const said = [...fields.keys()].slice(0, 20).map((name) => [name, textOf(fields.get(name))])
    request.log.info({ cluster: cluster.name, report: Object.fromEntries(said) }, 'a client reports')
    return reply.code(201).type('application/hal+json').send({})
  })
}

const textOf = (value: unknown): string => String(value).slice(0, 500)

function jobRoutes(app: FastifyInstance, { cluster, changes }: OntapParts): void {
  serveCollection(app, {
    path: '/cluster/jobs',
    noun: 'job',
    known: knownFields.jobs,
    records: () => cluster.jobs(),
    one: async (uuid) => cluster.jobView(await cluster.job(uuid)),
  })
  app.patch('/cluster/jobs/:uuid', async (request, reply) => {
    const { own, validateOnly } = parseCall(request, knownFields.jobs, ['action'])
    refuseValidation(validateOnly)
    const fields = fieldsOfBody(request.body)
    const action = own.get('action') ?? textField(fields, 'action')
    if (action === undefined) throw OntapError.missingField('action', 'cancel, pause or resume')
    await changes.steerJob(paramsOf(request)['uuid'] ?? '', action)
    return reply.type('application/hal+json').send({})
  })
}
