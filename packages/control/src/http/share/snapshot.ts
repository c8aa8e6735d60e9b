import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { ShareSnapshotFacts, ShareSnapshots } from '../../app/share-snapshot.ts'
import type { ShareSnapshotAccess } from '../../app/share-snapshot-access.ts'
import { enforce } from '../../domain/policy.ts'
import { isAdmin } from '../../domain/principal.ts'
import {
  shareSnapshotSortKeys,
  type ShareSnapshotFilter,
  type ShareSnapshotPageRequest,
} from '../../domain/share-query.ts'
import { settableSnapshotStatuses } from '../../domain/snapshot.ts'
import { accepted, ok, type Answer } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { longText, nameText, parser } from '../parse.ts'
import { argument, oneOf, registerActions, renamed } from './action.ts'
import { metadataSchema, nullable, trimmed } from './body.ts'
import {
  linksOf,
  manilaTime,
  nextLink,
  pageOf,
  param,
  queryText,
  type ShareCall,
  type ShareRoutes,
} from './call.ts'
import { projectFilter, queryFlag, queryPairs, sortOf, textFilter } from './list-query.ts'
import { registerMetadata } from './metadata.ts'
import { registerSnapshotAccess, snapshotAccessActions } from './snapshot-access.ts'

const id = (call: ShareCall): string => param(call, 'snapshot_id')

const summary = (call: ShareCall, { snapshot }: ShareSnapshotFacts) => ({
  id: snapshot.id,
  name: snapshot.name,
  links: linksOf(call, 'snapshots', snapshot.id),
})

function detail(call: ShareCall, { snapshot, shareSizeGib }: ShareSnapshotFacts): Record<string, unknown> {
  const since = (version: string): boolean => atLeast(call.version, version)
  return {
    id: snapshot.id,
    share_id: snapshot.shareId,
    share_size: shareSizeGib,
    created_at: manilaTime(snapshot.createdAt),
    status: snapshot.status,
    name: snapshot.name,
    description: snapshot.description,
    size: snapshot.sizeGib,
    share_proto: 'NFS',
    links: linksOf(call, 'snapshots', snapshot.id),
    ...(since('2.12') && isAdmin(call.principal) && { provider_location: snapshot.imageId }),
    ...(since('2.17') && { user_id: snapshot.userId, project_id: snapshot.projectId }),
    ...(since('2.73') && { metadata: snapshot.metadata }),
  }
}

const createSchema = Type.Object({
  snapshot: Type.Object({
    share_id: nameText({ minLength: 1 }),
    name: nullable(nameText()),
    display_name: nullable(nameText()),
    description: nullable(longText(255)),
    display_description: nullable(longText(255)),
    force: Type.Optional(Type.Unknown()),
    metadata: nullable(metadataSchema),
  }),
})
const parseCreate = parser(createSchema)
const parseUpdate = parser(
  Type.Object({
    snapshot: Type.Object({
      name: nullable(nameText()),
      display_name: nullable(nameText()),
      description: nullable(longText(255)),
      display_description: nullable(longText(255)),
    }),
  }),
)

export function registerSnapshots(
  routes: ShareRoutes,
  snapshots: ShareSnapshots,
  access: ShareSnapshotAccess,
): void {
  routes.get('/snapshots', (call) => list(snapshots, call, false))
  routes.get('/snapshots/detail', (call) => list(snapshots, call, true))
  routes.post('/snapshots', async (call) => {
    const { snapshot } = parseCreate(call.body)
    const made = await snapshots.create(call.principal, {
      shareId: snapshot.share_id,
      name: trimmed(snapshot.name ?? snapshot.display_name),
      description: trimmed(snapshot.description ?? snapshot.display_description),
      metadata: atLeast(call.version, '2.73') ? (snapshot.metadata ?? {}) : {},
      requestId: call.requestId,
    })
    return accepted({ snapshot: detail(call, made) })
  })
  routes.post(
    '/snapshots/manage',
    (call) => {
      enforce(call.principal, 'share_snapshot:manage_snapshot', 'admin')
      throw new DomainError('invalid', 'Taking over snapshots that Volant did not make is not supported.')
    },
    { since: '2.12' },
  )
  routes.get('/snapshots/:snapshot_id', async (call) =>
    ok({ snapshot: detail(call, await snapshots.show(call.principal, id(call))) }),
  )
  routes.put('/snapshots/:snapshot_id', async (call) => {
    const { snapshot } = parseUpdate(call.body)
    const name = snapshot.display_name ?? snapshot.name
    const description = snapshot.display_description ?? snapshot.description
    const changed = await snapshots.update(call.principal, id(call), {
      ...(name !== undefined && { name: trimmed(name) }),
      ...(description !== undefined && { description: trimmed(description) }),
    })
    return ok({ snapshot: detail(call, changed) })
  })
  routes.delete('/snapshots/:snapshot_id', async (call) => {
    await snapshots.remove(call.principal, id(call), { force: false, requestId: call.requestId })
    return accepted()
  })
  registerMetadata(
    routes,
    {
      path: '/snapshots/:snapshot_id',
      current: async (call) => (await snapshots.show(call.principal, id(call))).snapshot.metadata,
      set: (call, metadata, how) => snapshots.setMetadata(call.principal, id(call), metadata, how),
      remove: (call, key) => snapshots.removeMetadata(call.principal, id(call), key),
    },
    { since: '2.73' },
  )
  registerSnapshotAccess(routes, access)
  registerSnapshotActions(routes, snapshots, access)
}

const parseReset = argument('reset_status', Type.Object({ status: nameText() }))

function registerSnapshotActions(
  routes: ShareRoutes,
  snapshots: ShareSnapshots,
  access: ShareSnapshotAccess,
): void {
  registerActions(routes, '/snapshots/:snapshot_id', {
    ...renamed('reset_status', async (call, snapshotId, value) => {
      const status = oneOf('state', parseReset(value).status.toLowerCase(), settableSnapshotStatuses)
      await snapshots.resetStatus(call.principal, snapshotId, status)
      return accepted()
    }),
    ...renamed('force_delete', async (call, snapshotId) => {
      await snapshots.remove(call.principal, snapshotId, { force: true, requestId: call.requestId })
      return accepted()
    }),
    ...snapshotAccessActions(access),
    unmanage: {
      since: '2.12',
      run: async (call) => {
        enforce(call.principal, 'share_snapshot:unmanage_snapshot', 'admin')
        throw new DomainError('invalid', 'Giving snapshots up that Volant made is not supported.')
      },
    },
  })
}

async function list(snapshots: ShareSnapshots, call: ShareCall, full: boolean): Promise<Answer> {
  const request = snapshotPage(call)
  const found = await snapshots.list(call.principal, request)
  const counted = atLeast(call.version, '2.79') && queryFlag(call, 'with_count') === true
  const next = nextLink(
    call,
    `/snapshots${full ? '/detail' : ''}`,
    found.map(({ snapshot }) => snapshot),
  )
  return ok({
    snapshots: found.map((facts) => (full ? detail(call, facts) : summary(call, facts))),
    ...(counted && { count: await snapshots.count(call.principal, request.filter) }),
    ...(next !== undefined && { share_snapshots_links: [next] }),
  })
}

function snapshotFilter(call: ShareCall): ShareSnapshotFilter {
  const size = queryText(call, 'size')
  const metadata = atLeast(call.version, '2.73') ? queryPairs(call, 'metadata') : undefined
  return {
    ...projectFilter(call),
    ...textFilter(call, 'display_name', 'name'),
    ...textFilter(call, 'name', 'name'),
    ...(atLeast(call.version, '2.36') && {
      ...textFilter(call, 'name~', 'nameContains'),
      ...textFilter(call, 'description~', 'descriptionContains'),
      ...textFilter(call, 'description', 'description'),
    }),
    ...textFilter(call, 'status', 'status'),
    ...textFilter(call, 'share_id', 'shareId'),
    ...(isAdmin(call.principal) && textFilter(call, 'user_id', 'userId')),
    ...(size !== undefined && size !== '' && { size: /^\d{1,9}$/.test(size) ? Number(size) : -1 }),
    ...(metadata !== undefined && { metadata }),
  }
}

const olderKeys = { display_name: 'name', aggregate_status: 'status', share: 'share_id' } as const

const snapshotPage = (call: ShareCall): ShareSnapshotPageRequest => ({
  filter: snapshotFilter(call),
  sort: sortOf(call, shareSnapshotSortKeys, olderKeys),
  ...pageOf(call),
})
