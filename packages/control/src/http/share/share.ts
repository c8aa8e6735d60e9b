import { DomainError } from '@volant/contract'
import type { ShareCreations } from '../../app/share-creation.ts'
import type { ShareDeletions } from '../../app/share-deletion.ts'
import type { ShareFacts } from '../../app/share-facts.ts'
import type { Shares } from '../../app/share.ts'
import { enforce } from '../../domain/policy.ts'
import { accepted, ok, type Answer } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { nextLink, param, type ShareCall, type ShareRoutes } from './call.ts'
import { queryFlag } from './list-query.ts'
import { registerMetadata } from './metadata.ts'
import { parseCreateShare, parseUpdateShare } from './share-body.ts'
import { sharePage, type Where } from './share-query.ts'
import { exportLocationView, shareDetail, shareInstanceView, shareSummary } from './share-view.ts'

export interface ShareRouteServices {
  shares: Shares
  creations: ShareCreations
  deletions: ShareDeletions
  where: Where
}

const id = (call: ShareCall): string => param(call, 'share_id')

export function registerShares(routes: ShareRoutes, services: ShareRouteServices): void {
  const { shares, creations, deletions } = services
  routes.get('/shares', (call) => list(services, call, false))
  routes.get('/shares/detail', (call) => list(services, call, true))
  routes.post('/shares', async (call) => {
    const facts = await creations.create(call.principal, parseCreateShare(call.body, call.requestId))
    return ok({ share: shareDetail(call, facts) })
  })
  routes.get('/shares/:share_id', async (call) =>
    ok({ share: shareDetail(call, await shares.show(call.principal, id(call))) }),
  )
  routes.put('/shares/:share_id', async (call) => {
    const fields = parseUpdateShare(call.body)
    return ok({ share: shareDetail(call, await shares.update(call.principal, id(call), fields)) })
  })
  routes.delete('/shares/:share_id', async (call) => {
    await deletions.remove(call.principal, id(call), { force: false, requestId: call.requestId })
    return accepted()
  })
  registerMetadata(routes, {
    path: '/shares/:share_id',
    current: async (call) =>
      (await shares.inside(call.principal, id(call), 'share:get_share_metadata')).share.metadata,
    set: (call, metadata, how) => shares.setMetadata(call.principal, id(call), metadata, how),
    remove: (call, key) => shares.removeMetadata(call.principal, id(call), key),
  })
  registerExportLocations(routes, shares)
  registerInstances(routes, services)
}

async function list(
  { shares, where }: ShareRouteServices,
  call: ShareCall,
  detail: boolean,
): Promise<Answer> {
  const request = await sharePage(call, where)
  const found = await shares.list(call.principal, request)
  const counted = atLeast(call.version, '2.42') && queryFlag(call, 'with_count') === true
  const next = nextLink(
    call,
    `/shares${detail ? '/detail' : ''}`,
    found.map(({ share }) => share),
  )
  return ok({
    shares: found.map((facts) => (detail ? shareDetail(call, facts) : shareSummary(call, facts))),
    ...(counted && { count: await shares.count(call.principal, request.filter) }),
    ...(next !== undefined && { shares_links: [next] }),
  })
}

const since29 = { since: '2.9' }

function registerExportLocations(routes: ShareRoutes, shares: Shares): void {
  const locations = async (call: ShareCall) => (await shares.show(call.principal, id(call))).exportLocations
  routes.get(
    '/shares/:share_id/export_locations',
    async (call) =>
      ok({
        export_locations: (await locations(call)).map((one) => exportLocationView(call, one, false)),
      }),
    since29,
  )
  routes.get(
    '/shares/:share_id/export_locations/:location_id',
    async (call) => {
      const found = (await locations(call)).find((one) => one.id === param(call, 'location_id'))
      if (found === undefined) throw noLocation(call)
      return ok({ export_location: exportLocationView(call, found, true) })
    },
    since29,
  )
}

const noLocation = (call: ShareCall): DomainError =>
  new DomainError('notFound', `Export location '${param(call, 'location_id')}' not found.`)

/** Each share has one instance: where it is. An administrator's view; to change it, change the share. */
function registerInstances(routes: ShareRoutes, { shares, deletions, where }: ShareRouteServices): void {
  const since = { since: '2.3' }
  const all = async (call: ShareCall): Promise<ShareFacts[]> => {
    enforce(call.principal, 'share_instance:index', 'admin')
    const request = await sharePage({ ...call, query: { ...call.query, all_tenants: '1' } }, where)
    return shares.list(call.principal, request)
  }
  const one = async (call: ShareCall): Promise<ShareFacts> => {
    enforce(call.principal, 'share_instance:show', 'admin')
    const instanceId = param(call, 'instance_id')
    // Its id follows from the share's: there is no other way back than by looking at all.
    const limit = { limit: 1_000_000, offset: 0, filter: {}, sort: [] }
    const found = (await shares.list(call.principal, limit)).find((facts) => facts.instanceId === instanceId)
    if (found !== undefined) return found
    throw new DomainError('notFound', `Share instance ${instanceId} could not be found.`)
  }
  routes.get(
    '/share_instances',
    async (call) => ok({ share_instances: (await all(call)).map((facts) => shareInstanceView(call, facts)) }),
    since,
  )
  routes.get(
    '/share_instances/:instance_id',
    async (call) => ok({ share_instance: shareInstanceView(call, await one(call)) }),
    since,
  )
  routes.get(
    '/shares/:share_id/instances',
    async (call) => {
      enforce(call.principal, 'share_instance:index', 'admin')
      const facts = await shares.show(call.principal, id(call))
      return ok({ share_instances: [shareInstanceView(call, facts)] })
    },
    since,
  )
  routes.get(
    '/share_instances/:instance_id/export_locations',
    async (call) =>
      ok({
        export_locations: (await one(call)).exportLocations.map((location) =>
          exportLocationView(call, location, false),
        ),
      }),
    since29,
  )
  routes.get(
    '/share_instances/:instance_id/export_locations/:location_id',
    async (call) => {
      const found = (await one(call)).exportLocations.find(
        (location) => location.id === param(call, 'location_id'),
      )
      if (found === undefined) throw noLocation(call)
      return ok({ export_location: exportLocationView(call, found, true) })
    },
    since29,
  )
  routes.post(
    '/share_instances/:instance_id/action',
    async (call) => {
      const { share } = await one(call)
      const body = call.body as Record<string, unknown> | null | undefined
      const name = Object.keys(typeof body === 'object' && body !== null ? body : {})[0] ?? ''
      if (name === 'force_delete' || name === 'os-force_delete') {
        await deletions.remove(call.principal, share.id, { force: true, requestId: call.requestId })
        return accepted()
      }
      throw new DomainError(
        'invalid',
        `There is no such action: '${name.slice(0, 80)}'. A share has one instance: act on share ${share.id} itself.`,
      )
    },
    since,
  )
}
