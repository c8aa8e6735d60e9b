import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ComputeServices } from '../../app/compute-service.ts'
import type { ComputeLimits } from '../../app/compute-quota.ts'
import type { ServerEvacuations } from '../../app/evacuation.ts'
import type { Flavors } from '../../app/flavor.ts'
import type { Hypervisors } from '../../app/hypervisor.ts'
import type { Keypairs } from '../../app/keypair.ts'
import type { ServerLiveMigrations } from '../../app/live-migration.ts'
import type { ServerGroups } from '../../app/server-group.ts'
import type { ServerMigrations } from '../../app/server-migration.ts'
import type { ServerResizes } from '../../app/server-resize.ts'
import type { VolumeAttachments } from '../../app/volume-attachment.ts'
import type { Topology } from '../../domain/topology.ts'
import { authenticate, type TokenVerifier } from '../authenticate.ts'
import { formatMicroversion, negotiate, parseMicroversion, type Microversion } from '../microversion.ts'
import { acceptJson } from '../parse.ts'
import type { HttpService } from '../server.ts'
import { computeServiceRoutes } from './compute-service.ts'
import { setComputeErrors } from './errors.ts'
import { flavorRoutes } from './flavor.ts'
import { hostRoutes } from './host.ts'
import { hypervisorRoutes } from './hypervisor.ts'
import { keypairRoutes } from './keypair.ts'
import { liveMigrationRoutes } from './live-migration.ts'
import { quotaRoutes } from './quota.ts'
import { serverActionRoutes } from './server-action.ts'
import { serverMigrationRoutes } from './server-migration.ts'
import { serverGroupRoutes } from './server-group.ts'
import { serverPartRoutes } from './server-part.ts'
import { serverRoutes, type ServerRoutes } from './server.ts'
import { surroundingRoutes } from './surroundings.ts'
import { computeVersions, versionRoutes } from './versions.ts'
import { volumeAttachmentRoutes } from './volume-attachment.ts'

export interface ComputeServiceOptions extends ServerRoutes {
  liveMigrations: ServerLiveMigrations
  flavors: Flavors
  evacuations: ServerEvacuations
  attachments: VolumeAttachments
  resizes: ServerResizes
  migrations: ServerMigrations
  hypervisors: Hypervisors
  groups: ServerGroups
  services: ComputeServices
  keypairs: Keypairs
  limits: ComputeLimits
  tokens: TokenVerifier
  topology: Topology
}

/** Compute v2.1, microversions 2.1 to 2.93, under `/compute`. */
export const computeService = (options: ComputeServiceOptions): HttpService => ({
  prefix: '/compute',
  plugin: async (app) => {
    acceptJson(app)
    setComputeErrors(app)
    app.decorateRequest('computeVersion', null as unknown as Microversion)
    versionRoutes(app)
    await app.register(async (api) => authenticatedRoutes(api, options), { prefix: '/v2.1' })
  },
})

function authenticatedRoutes(app: FastifyInstance, options: ComputeServiceOptions): void {
  setComputeErrors(app)
  app.addHook('onRequest', authenticate(options.tokens))
  app.addHook('onRequest', async (request, reply) => {
    // What is answered when the version is refused names the lowest.
    announce(reply, parseMicroversion(computeVersions.min) as Microversion)
    request.computeVersion = negotiate(request.headers, computeVersions)
    announce(reply, request.computeVersion)
  })
  app.addHook('preHandler', requirePlainParameters)
  serverRoutes(app, options)
  serverActionRoutes(app, options)
  liveMigrationRoutes(app, options.liveMigrations)
  serverMigrationRoutes(app, options)
  volumeAttachmentRoutes(app, options.attachments)
  serverPartRoutes(app, options.servers)
  flavorRoutes(app, options.flavors)
  hypervisorRoutes(app, options.hypervisors)
  hostRoutes(app, options.hypervisors)
  serverGroupRoutes(app, options.groups)
  computeServiceRoutes(app, options.services)
  quotaRoutes(app, options.limits)
  keypairRoutes(app, options.keypairs)
  surroundingRoutes(app, options)
}

/** Answers say in which version they are, and caches that it matters. */
function announce(reply: FastifyReply, version: Microversion): void {
  const text = formatMicroversion(version)
  void reply.header('openstack-api-version', `${computeVersions.service} ${text}`)
  void reply.header('x-openstack-nova-api-version', text)
  void reply.header('vary', 'OpenStack-API-Version, X-OpenStack-Nova-API-Version')
}

/** No id holds control characters, and none is longer than the columns. */
async function requirePlainParameters(request: FastifyRequest): Promise<void> {
  for (const value of Object.values((request.params ?? {}) as Record<string, string>)) {
    // oxlint-disable-next-line no-control-regex
    if (value.length > 255 || /[\u0000-\u001f\u007f]/.test(value)) {
      throw new DomainError('notFound', 'The resource could not be found.')
    }
  }
}
