import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { SnapshotChanges } from '../../app/snapshot-change.ts'
import type { Snapshots } from '../../app/snapshot.ts'
import { enforce } from '../../domain/policy.ts'
import { settableSnapshotStatuses } from '../../domain/snapshot.ts'
import { atLeast } from '../microversion.ts'
import { nameText } from '../parse.ts'
import { argument, oneOf, registerActions } from './action.ts'
import {
  accepted,
  booleanOf,
  nextLink,
  ok,
  param,
  queryText,
  type Answer,
  type VolumeCall,
  type VolumeRoutes,
} from './call.ts'
import { registerMetadata } from './metadata.ts'
import { parseCreateSnapshot, parseUpdateSnapshot } from './snapshot-body.ts'
import { snapshotPage } from './snapshot-query.ts'
import { snapshotDetail, snapshotSummary } from './snapshot-view.ts'

export interface SnapshotRouteServices {
  snapshots: Snapshots
  snapshotChanges: SnapshotChanges
}

const id = (call: VolumeCall): string => param(call, 'snapshot_id')

export function registerSnapshots(routes: VolumeRoutes, services: SnapshotRouteServices): void {
  const { snapshots, snapshotChanges: changes } = services
  routes.get('/snapshots', (call) => list(snapshots, call, false))
  routes.get('/snapshots/detail', (call) => list(snapshots, call, true))
  routes.post('/snapshots', async (call) => {
    const snapshot = await changes.create(call.principal, parseCreateSnapshot(call))
    return accepted({ snapshot: snapshotDetail(call, snapshot) })
  })
  routes.get('/snapshots/:snapshot_id', async (call) =>
    ok({ snapshot: snapshotDetail(call, await snapshots.show(call.principal, id(call))) }),
  )
  routes.put('/snapshots/:snapshot_id', async (call) => {
    const fields = parseUpdateSnapshot(call.body)
    return ok({ snapshot: snapshotDetail(call, await snapshots.update(call.principal, id(call), fields)) })
  })
  routes.delete('/snapshots/:snapshot_id', async (call) => {
    await changes.remove(call.principal, id(call), { force: false, requestId: call.requestId })
    return accepted()
  })
  registerMetadata(routes, {
    path: '/snapshots/:snapshot_id',
    name: (call) => `Snapshot ${id(call)}`,
    async current(call) {
      const snapshot = await snapshots.show(call.principal, id(call))
      enforce(call.principal, 'volume:get_snapshot_metadata', 'reader', snapshot.projectId)
      return snapshot.metadata
    },
    set: (call, metadata, how) => snapshots.setMetadata(call.principal, id(call), metadata, how),
    remove: (call, key) => snapshots.removeMetadata(call.principal, id(call), key),
  })
  registerSnapshotActions(routes, services)
}

async function list(snapshots: Snapshots, call: VolumeCall, detail: boolean): Promise<Answer> {
  const request = snapshotPage(call)
  const found = await snapshots.list(call.principal, request)
  const counted =
    atLeast(call.version, '3.45') && booleanOf(queryText(call, 'with_count') ?? 'false') === true
  const next = nextLink(call, `/snapshots${detail ? '/detail' : ''}`, request.limit, found)
  return ok({
    snapshots: found.map((one) => (detail ? snapshotDetail(call, one) : snapshotSummary(one))),
    ...(next !== undefined && { snapshots_links: [next] }),
    ...(counted && { count: await snapshots.count(call.principal, request.filter) }),
  })
}

const parseReset = argument('os-reset_status', Type.Object({ status: nameText() }))

function registerSnapshotActions(routes: VolumeRoutes, services: SnapshotRouteServices): void {
  const { snapshots, snapshotChanges: changes } = services
  registerActions(routes, '/snapshots/:snapshot_id', {
    'os-reset_status': async (call, snapshotId, value) => {
      const status = oneOf('status', parseReset(value).status.toLowerCase(), settableSnapshotStatuses)
      await changes.resetStatus(call.principal, snapshotId, status)
      return accepted()
    },
    'os-force_delete': async (call, snapshotId) => {
      await changes.remove(call.principal, snapshotId, { force: true, requestId: call.requestId })
      return accepted()
    },
    'os-update_snapshot_status': async (call, snapshotId) => {
      const snapshot = await snapshots.show(call.principal, snapshotId)
      enforce(
        call.principal,
        'snapshot_extension:snapshot_actions:update_snapshot_status',
        'member',
        snapshot.projectId,
      )
      throw new DomainError(
        'invalid',
        'Snapshots complete themselves here: os-update_snapshot_status is a call from a compute host that took ' +
          'the snapshot. os-reset_status sets a status by hand.',
      )
    },
    'os-unmanage': async () => {
      throw new DomainError('invalid', 'Giving images up that Volant made is not supported.')
    },
  })
}
