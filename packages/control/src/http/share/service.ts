import type { FastifyPluginAsync } from 'fastify'
import { DomainError } from '@volant/contract'
import type { ShareMessages } from '../../app/share-message.ts'
import type { SharePools } from '../../app/share-pool.ts'
import type { ShareQuotas } from '../../app/share-quota.ts'
import type { ShareServices } from '../../app/share-service.ts'
import type { ShareSnapshotAccess } from '../../app/share-snapshot-access.ts'
import type { ShareTypes } from '../../app/share-type.ts'
import { authenticate, type TokenVerifier } from '../authenticate.ts'
import { faultSender, sendNotFound } from '../fault-envelope.ts'
import { formatMicroversion, negotiate } from '../microversion.ts'
import { acceptJson } from '../parse.ts'
import type { HttpService } from '../server.ts'
import { registerAccessRules } from './access-rule.ts'
import { experimentalHeader, shareRange, shareRoutes } from './call.ts'
import { discoveryRoutes } from './discovery.ts'
import { registerMessages } from './message.ts'
import { registerPools } from './pool.ts'
import { registerQuotas } from './quota.ts'
import { registerShareActions, type ShareActionServices } from './share-action.ts'
import { registerShareServices } from './share-service.ts'
import { registerShareTypes } from './share-type.ts'
import { registerShares, type ShareRouteServices } from './share.ts'
import { registerSnapshots } from './snapshot.ts'
import { registerUnsupported } from './unsupported.ts'

export interface ShareServiceParts extends ShareRouteServices, ShareActionServices {
  types: ShareTypes
  quotas: ShareQuotas
  pools: SharePools
  services: ShareServices
  messages: ShareMessages
  snapshotAccess: ShareSnapshotAccess
  tokens: TokenVerifier
  zone: { name: string; id: string; createdAt: string }
  now: () => Date
}

/** Shared File Systems v2, below `/share`. */
export const shareService = (parts: ShareServiceParts): HttpService => ({
  prefix: '/share',
  plugin: sharePlugin(parts),
})

const sharePlugin =
  (parts: ShareServiceParts): FastifyPluginAsync =>
  async (app) => {
    acceptJson(app)
    app.setErrorHandler(faultSender('share'))
    app.setNotFoundHandler(sendNotFound)
    discoveryRoutes(app)
    await app.register(async (v2) => {
      v2.addHook('onRequest', async (request, reply) => {
        void reply.header('vary', shareRange.legacyHeader)
        const version = negotiate(request.headers, shareRange)
        void reply.header(shareRange.legacyHeader, formatMicroversion(version))
        const experimental = request.headers[experimentalHeader]
        if (String(experimental ?? '').toLowerCase() === 'true') {
          void reply.header('X-OpenStack-Manila-API-Experimental', 'True')
        }
      })
      v2.addHook('onRequest', authenticate(parts.tokens))
      v2.addHook('onRequest', async (request) => {
        const { project_id: asked } = request.params as { project_id?: string }
        if (asked !== undefined && asked !== request.principal.projectId) {
          throw new DomainError('invalid', 'Malformed request url: its project is not the one of the token.')
        }
      })
      // A client that forgot an id asks for `shares/`: that is no list.
      v2.addHook('onRequest', async (request, reply) => {
        const path = request.url.split('?')[0] ?? ''
        if (path.endsWith('/') && path.split('/').length > 4) return sendNotFound(request, reply)
        return undefined
      })
      const routes = shareRoutes(v2)
      registerShares(routes, parts)
      registerShareActions(routes, parts)
      registerAccessRules(routes, parts.rules)
      registerSnapshots(routes, parts.shareSnapshots, parts.snapshotAccess)
      registerShareTypes(routes, parts.types)
      registerQuotas(routes, parts.quotas)
      registerPools(routes, parts)
      registerShareServices(routes, parts)
      registerMessages(routes, parts.messages)
      registerUnsupported(routes)
    })
  }
