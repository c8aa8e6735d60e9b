/** What users and administrators ask of the Shared File Systems API, each until it is done. */
import { ApiError, type Session } from '@volant/client'
import { nextLook } from '../look.ts'

export type Manila = ReturnType<typeof manilaOf>

export interface SharePool {
  /** `HOST@BACKEND#AGGREGATE`. */
  name: string
}

export interface Progress {
  total_progress: number
  task_state: string
}

/** At this version migrations are still called experimental. */
const headers = {
  'X-OpenStack-Manila-API-Version': '2.75',
  'X-OpenStack-Manila-API-Experimental': 'true',
}
/** A request that takes longer than this is a fault of its own. */
const patienceMs = 120_000

export function manilaOf(session: () => Session) {
  const call = async (method: string, path: string, body?: unknown): Promise<Record<string, unknown>> =>
    ((await session().json(method, `/share/v2${path}`, {
      headers,
      ...(body === undefined ? {} : { body }),
    })) ?? {}) as Record<string, unknown>

  const field = async (path: string, key: string, name: string): Promise<string | null | undefined> => {
    try {
      const answer = (await call('GET', path)) as Record<string, Record<string, string | null>>
      return answer[key]?.[name]
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined
      throw error
    }
  }
  /** Undefined: gone. An error that is not waited for ends the wait. */
  const becomes = async (
    path: string,
    key: string,
    wanted: string | undefined,
    name = 'status',
  ): Promise<void> => {
    const began = performance.now()
    for (const end = began + patienceMs; ; await nextLook(began)) {
      const now = await field(path, key, name)
      if (now === wanted) return
      const isLate = performance.now() > end
      if (isLate || now?.includes('error') === true) {
        throw new Error(
          `${path} has ${name} ${now ?? 'gone'}, not ${wanted ?? 'gone'}${isLate ? ', too late' : ''}`,
        )
      }
    }
  }
  const action = (shareId: string, body: unknown) => call('POST', `/shares/${shareId}/action`, body)
  const taskState = (shareId: string, state: string) =>
    becomes(`/shares/${shareId}`, 'share', state, 'task_state')

  return {
    /** GiB. Of the default type. */
    async create(share: { name: string; size: number; snapshot_id?: string; availability_zone?: string }) {
      const { share: made } = (await call('POST', '/shares', {
        share: { share_proto: 'NFS', ...share },
      })) as {
        share: { id: string }
      }
      await becomes(`/shares/${made.id}`, 'share', 'available')
      return made.id
    },
    async remove(shareId: string) {
      await call('DELETE', `/shares/${shareId}`)
      await becomes(`/shares/${shareId}`, 'share', undefined)
    },
    async hostOf(shareId: string): Promise<string> {
      return String(await field(`/shares/${shareId}`, 'share', 'host'))
    },
    /** `LIF:/share_…`. */
    async exportPath(shareId: string): Promise<string> {
      const answer = (await call('GET', `/shares/${shareId}/export_locations`)) as {
        export_locations: { path: string }[]
      }
      return answer.export_locations[0]?.path ?? ''
    },
    async extend(shareId: string, size: number) {
      await action(shareId, { extend: { new_size: size } })
      await becomes(`/shares/${shareId}`, 'share', 'available')
    },
    /** Returns when the rule is applied; its id. */
    async allow(shareId: string, to: string, level: 'rw' | 'ro' = 'rw') {
      const { access } = (await action(shareId, {
        allow_access: { access_type: 'ip', access_to: to, access_level: level },
      })) as { access: { id: string } }
      await becomes(`/share-access-rules/${access.id}`, 'access', 'active', 'state')
      return access.id
    },
    async deny(shareId: string, accessId: string) {
      await action(shareId, { deny_access: { access_id: accessId } })
      await becomes(`/share-access-rules/${accessId}`, 'access', undefined, 'state')
    },
    async snapshot(shareId: string, name: string) {
      const { snapshot } = (await call('POST', '/snapshots', { snapshot: { share_id: shareId, name } })) as {
        snapshot: { id: string }
      }
      await becomes(`/snapshots/${snapshot.id}`, 'snapshot', 'available')
      return snapshot.id
    },
    async removeSnapshot(snapshotId: string) {
      await call('DELETE', `/snapshots/${snapshotId}`)
      await becomes(`/snapshots/${snapshotId}`, 'snapshot', undefined)
    },
    async pools(): Promise<SharePool[]> {
      const { pools } = (await call('GET', '/scheduler-stats/pools')) as { pools: SharePool[] }
      return pools
    },
    /** Starts it without waiting. */
    async startMigration(shareId: string, host: string) {
      await action(shareId, {
        migration_start: {
          host,
          force_host_assisted_migration: false,
          preserve_metadata: true,
          preserve_snapshots: true,
          writable: true,
          nondisruptive: true,
        },
      })
    },
    untilPhase1: (shareId: string) => taskState(shareId, 'migration_driver_phase1_done'),
    async progress(shareId: string): Promise<Progress> {
      return (await action(shareId, { migration_get_progress: null })) as unknown as Progress
    },
    /** The second phase; returns when the share has moved. */
    async completeMigration(shareId: string) {
      await action(shareId, { migration_complete: null })
      await taskState(shareId, 'migration_success')
      await becomes(`/shares/${shareId}`, 'share', 'available')
    },
    async cancelMigration(shareId: string) {
      await action(shareId, { migration_cancel: null })
      await taskState(shareId, 'migration_cancelled')
      await becomes(`/shares/${shareId}`, 'share', 'available')
    },
  }
}
