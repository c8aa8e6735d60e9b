import type { FastifyPluginAsync } from 'fastify'
import { DomainError } from '@volant/contract'
import type { BlockServices } from '../../app/block-service.ts'
import type { PoolListing } from '../../app/pool.ts'
import type { Attachments } from '../../app/attachment.ts'
import type { Quotas } from '../../app/quota.ts'
import type { VolumeMessages } from '../../app/volume-message.ts'
import type { VolumeTypes } from '../../app/volume-type.ts'
import { authenticate, type TokenVerifier } from '../authenticate.ts'
import { faultSender, sendNotFound } from '../fault-envelope.ts'
import { formatMicroversion, negotiate } from '../microversion.ts'
import { acceptJson } from '../parse.ts'
import type { HttpService } from '../server.ts'
import { registerAttachments } from './attachment.ts'
import { registerBlockServices } from './block-service.ts'
import { volumeRange, volumeRoutes } from './call.ts'
import { discoveryRoutes } from './discovery.ts'
import { registerExtensions } from './extension.ts'
import { registerMessages } from './message.ts'
import { registerPools } from './pool.ts'
import { registerQuotas } from './quota.ts'
import { registerSnapshots, type SnapshotRouteServices } from './snapshot.ts'
import { registerUnsupported } from './unsupported.ts'
import { registerVolumeActions, type VolumeActionServices } from './volume-action.ts'
import { registerVolumeTypes } from './volume-type.ts'
import { registerVolumes, type VolumeRouteServices } from './volume.ts'

export interface VolumeServiceParts extends VolumeRouteServices, VolumeActionServices, SnapshotRouteServices {
  attachments: Attachments
  types: VolumeTypes
  quotas: Quotas
  pools: PoolListing
  services: BlockServices
  messages: VolumeMessages
  tokens: TokenVerifier
  availabilityZone: string
  now: () => Date
}

/** Block Storage v3, below `/volume`. */
export const volumeService = (parts: VolumeServiceParts): HttpService => ({
  prefix: '/volume',
  plugin: volumePlugin(parts),
})

const volumePlugin =
  (parts: VolumeServiceParts): FastifyPluginAsync =>
  async (app) => {
    acceptJson(app)
    app.setErrorHandler(faultSender('volume'))
    app.setNotFoundHandler(sendNotFound)
    discoveryRoutes(app)
    await app.register(async (v3) => {
      v3.addHook('onRequest', async (request, reply) => {
        void reply.header('vary', 'OpenStack-API-Version')
        const version = negotiate(request.headers, volumeRange)
        void reply.header('openstack-api-version', `volume ${formatMicroversion(version)}`)
      })
      v3.addHook('onRequest', authenticate(parts.tokens))
      v3.addHook('onRequest', async (request) => {
        const { project_id: asked } = request.params as { project_id?: string }
        if (asked !== undefined && asked !== request.principal.projectId) {
          throw new DomainError('invalid', 'Malformed request url: its project is not the one of the token.')
        }
      })
      // A client that forgot an id asks for `volumes/`: that is no list.
      v3.addHook('onRequest', async (request, reply) => {
        const path = request.url.split('?')[0] ?? ''
        if (path.endsWith('/') && path.split('/').length > 4) return sendNotFound(request, reply)
        return undefined
      })
      const routes = volumeRoutes(v3)
      registerVolumes(routes, parts)
      registerVolumeActions(routes, parts)
      registerSnapshots(routes, parts)
      registerAttachments(routes, parts.attachments)
      registerVolumeTypes(routes, parts.types)
      registerQuotas(routes, parts.quotas)
      registerPools(routes, parts.pools, parts.now)
      registerBlockServices(routes, { ...parts, zone: parts.availabilityZone })
      registerMessages(routes, parts.messages)
      registerExtensions(routes)
      registerUnsupported(routes)
    })
  }
