import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { ShareAccessRules } from '../../app/share-access-rule.ts'
import type { ShareChanges } from '../../app/share-change.ts'
import type { ShareDeletions } from '../../app/share-deletion.ts'
import type { ShareMigrations } from '../../app/share-migration.ts'
import type { ShareSnapshots } from '../../app/share-snapshot.ts'
import { enforce } from '../../domain/policy.ts'
import type { Share, ShareTaskState } from '../../domain/share.ts'
import { accepted, ok, type Answer } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { nameText } from '../parse.ts'
import { accessRuleView, parseAllow, parseDeny } from './access-rule.ts'
import { argument, flag, oneOf, registerActions, renamed, type Action } from './action.ts'
import { nullable, parseSize } from './body.ts'
import { param, type ShareCall, type ShareRoutes } from './call.ts'

export interface ShareActionServices {
  changes: ShareChanges
  deletions: ShareDeletions
  rules: ShareAccessRules
  shareSnapshots: ShareSnapshots
  migrations: ShareMigrations
}

export function registerShareActions(routes: ShareRoutes, services: ShareActionServices): void {
  registerActions(routes, '/shares/:share_id', {
    ...recordActions(services),
    ...accessActions(services.rules),
    ...migrationActions(services.migrations),
    ...refusedActions,
  })
  routes.get(
    '/shares/:share_id/migration-progress',
    (call) => progress(services.migrations, call, param(call, 'share_id')),
    { since: '2.98' },
  )
}

const parsers = {
  size: argument('extend', Type.Object({ new_size: Type.Unknown(), force: Type.Optional(Type.Unknown()) })),
  shrink: argument('shrink', Type.Object({ new_size: Type.Unknown() })),
  reset: argument('reset_status', Type.Object({ status: nameText() })),
  resetTask: argument('reset_task_state', Type.Object({ task_state: Type.Union([Type.Null(), nameText()]) })),
  revert: argument('revert', Type.Object({ snapshot_id: nameText({ minLength: 1 }) })),
  migrate: argument(
    'migration_start',
    Type.Object({
      host: nameText({ maxLength: 1024 }),
      force_host_assisted_migration: Type.Optional(Type.Unknown()),
      preserve_metadata: Type.Unknown(),
      preserve_snapshots: Type.Unknown(),
      writable: Type.Unknown(),
      nondisruptive: Type.Unknown(),
      new_share_network_id: nullable(nameText()),
      new_share_type_id: nullable(nameText()),
    }),
  ),
}

/** What an administrator may set by hand. */
const statuses: readonly Share['status'][] = [
  'available',
  'creating',
  'deleting',
  'error',
  'error_deleting',
  'migrating',
]

const taskStates: readonly ShareTaskState[] = [
  'migration_starting',
  'migration_driver_starting',
  'migration_driver_in_progress',
  'migration_driver_phase1_done',
  'migration_completing',
  'migration_success',
  'migration_cancelled',
  'migration_error',
]

const wholeSize = 'New share size must be specified as an integer.'

function recordActions({ changes, deletions, shareSnapshots }: ShareActionServices): Record<string, Action> {
  return {
    ...renamed('extend', async (call, id, value) => {
      const asked = parsers.size(value)
      const newSizeGib = parseSize(asked.new_size, wholeSize)
      const force = atLeast(call.version, '2.64') && flag(asked.force, 'force')
      await changes.extend(call.principal, id, { newSizeGib, force, requestId: call.requestId })
      return accepted()
    }),
    ...renamed('shrink', async (call, id, value) => {
      await changes.shrink(call.principal, id, parseSize(parsers.shrink(value).new_size, wholeSize))
      return accepted()
    }),
    ...renamed('reset_status', async (call, id, value) => {
      const status = oneOf('state', parsers.reset(value).status.toLowerCase(), statuses)
      await changes.resetStatus(call.principal, id, status)
      return accepted()
    }),
    ...renamed('force_delete', async (call, id) => {
      await deletions.remove(call.principal, id, { force: true, requestId: call.requestId })
      return accepted()
    }),
    revert: {
      since: '2.27',
      run: async (call, id, value) => {
        const { snapshot_id: snapshotId } = parsers.revert(value)
        await shareSnapshots.revert(call.principal, id, { snapshotId, requestId: call.requestId })
        return accepted()
      },
    },
    reset_task_state: {
      since: '2.22',
      experimentalUntil: '2.95',
      run: async (call, id, value) => {
        const text = parsers.resetTask(value).task_state?.toLowerCase() ?? 'none'
        const state = text === 'none' || text === '' ? null : oneOf('task state', text, taskStates)
        await changes.resetTaskState(call.principal, id, state)
        return accepted()
      },
    },
  }
}

function accessActions(rules: ShareAccessRules): Record<string, Action> {
  const list: Action['run'] = async (call, id) =>
    ok({ access_list: (await rules.list(call.principal, id)).map((rule) => accessRuleView(call, rule)) })
  return {
    ...renamed('allow_access', async (call, id, value) => {
      const rule = await rules.allow(call.principal, id, parseAllow(call, value))
      return ok({ access: accessRuleView(call, rule) })
    }),
    ...renamed('deny_access', async (call, id, value) => {
      await rules.deny(call.principal, id, parseDeny(value).access_id)
      return accepted()
    }),
    'os-access_list': { run: list, until: '2.6' },
    // Since 2.45 it is GET /share-access-rules.
    access_list: { run: list, since: '2.7', until: '2.44' },
  }
}

function migrationActions(migrations: ShareMigrations): Record<string, Action> {
  const experimental = { since: '2.22', experimentalUntil: '2.95' }
  return {
    migration_start: {
      since: '2.29',
      experimentalUntil: '2.95',
      run: async (call, id, value) => {
        const request = migrationRequest(call, value)
        const outcome = await migrations.start(call.principal, id, request)
        return outcome === 'started' ? accepted() : ok(undefined)
      },
    },
    migration_complete: {
      ...experimental,
      run: async (call, id) => {
        await migrations.complete(call.principal, id)
        return accepted()
      },
    },
    migration_cancel: {
      ...experimental,
      run: async (call, id) => {
        await migrations.cancel(call.principal, id)
        return accepted()
      },
    },
    migration_get_progress: {
      ...experimental,
      until: '2.97',
      run: (call, id) => progress(migrations, call, id),
    },
  }
}

function migrationRequest(call: ShareCall, value: unknown) {
  const asked = parsers.migrate(value)
  const word = (key: 'preserve_metadata' | 'preserve_snapshots' | 'writable' | 'nondisruptive') => {
    if (asked[key] === null) {
      throw new DomainError('invalid', `Invalid input received: ${key} must be true or false.`)
    }
    return flag(asked[key], key)
  }
  return {
    host: asked.host,
    forceHostAssisted: flag(asked.force_host_assisted_migration, 'force_host_assisted_migration'),
    preserveMetadata: word('preserve_metadata'),
    preserveSnapshots: word('preserve_snapshots'),
    writable: word('writable'),
    nondisruptive: word('nondisruptive'),
    newShareNetworkId: asked.new_share_network_id ?? null,
    newShareTypeId: asked.new_share_type_id ?? null,
    requestId: call.requestId,
  }
}

async function progress(migrations: ShareMigrations, call: ShareCall, id: string): Promise<Answer> {
  const found = await migrations.progress(call.principal, id)
  return ok({
    total_progress: found.totalProgress,
    task_state: found.taskState,
    ...(atLeast(call.version, '2.59') && { details: found.details }),
  })
}

const refuse = (reason: string, since: string, policy?: string): Action => ({
  since,
  run: async (call) => {
    if (policy !== undefined) enforce(call.principal, policy, 'admin')
    throw new DomainError('invalid', reason)
  },
})

const refusedActions: Record<string, Action> = {
  unmanage: refuse(
    'Giving shares up that Volant made is not supported: their bytes are in an image. Copy the files elsewhere.',
    '2.7',
    'share:unmanage',
  ),
  soft_delete: refuse('There is no recycle bin. Make a snapshot, or delete the share.', '2.69'),
  restore: refuse('There is no recycle bin: a share that was deleted is gone.', '2.69'),
}
