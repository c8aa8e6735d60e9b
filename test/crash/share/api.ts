/** What is asked of the Shared File Systems API, and what the records say of what came of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from '@volant/client'
import type { Plane } from '../../migration/plane.ts'
import { rowsOf } from '../../move/place.ts'

const headers = {
  'X-OpenStack-Manila-API-Version': '2.75',
  'X-OpenStack-Manila-API-Experimental': 'true',
}
/** A control plane that was killed is back by then. Milliseconds. */
const backMs = 120_000

type Answer = Record<string, Record<string, string>>

const call = async (plane: Plane, method: string, path: string, body?: unknown): Promise<Answer> =>
  ((await plane.client.session.json(method, `/share/v2${path}`, {
    headers,
    ...(body === undefined ? {} : { body }),
  })) ?? {}) as Answer

/** Once the control plane answers; what it refuses is thrown. */
async function whenBack<T>(ask: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + backMs; ; await sleep(100)) {
    try {
      return await ask()
    } catch (error) {
      const isAway = error instanceof ApiError && (error.status === 0 || error.status === 503)
      if (!isAway || performance.now() > end) throw error
    }
  }
}

const idOf = (answer: Answer, key: string): string => String(answer[key]?.['id'])

export const api = {
  async create(plane: Plane, name: string): Promise<string> {
    const share = { share_proto: 'NFS', name, size: 1 }
    return idOf(await call(plane, 'POST', '/shares', { share }), 'share')
  },
  remove: (plane: Plane, shareId: string) => whenBack(() => call(plane, 'DELETE', `/shares/${shareId}`)),
  action: (plane: Plane, shareId: string, body: unknown) =>
    call(plane, 'POST', `/shares/${shareId}/action`, body),
  async allow(plane: Plane, shareId: string, to: string): Promise<string> {
    const allow_access = { access_type: 'ip', access_to: to, access_level: 'rw' }
    return idOf(await api.action(plane, shareId, { allow_access }), 'access')
  },
  deny: (plane: Plane, shareId: string, ruleId: string) =>
    whenBack(() => api.action(plane, shareId, { deny_access: { access_id: ruleId } })),
  async snapshot(plane: Plane, shareId: string): Promise<string> {
    const answer = await call(plane, 'POST', '/snapshots', { snapshot: { share_id: shareId } })
    return idOf(answer, 'snapshot')
  },
  removeSnapshot: (plane: Plane, id: string) => whenBack(() => call(plane, 'DELETE', `/snapshots/${id}`)),
  /** `HOST@BACKEND#AGGREGATE`. */
  async poolOf(plane: Plane, aggregate: string): Promise<string> {
    const { pools } = (await call(plane, 'GET', '/scheduler-stats/pools')) as unknown as {
      pools: { name: string }[]
    }
    const pool = pools.find(({ name }) => name.endsWith(`#${aggregate}`))
    if (pool === undefined) throw new Error(`there is no pool of ${aggregate}`)
    return pool.name
  },
  async startMigration(plane: Plane, shareId: string, aggregate: string): Promise<void> {
    const migration_start = {
      host: await api.poolOf(plane, aggregate),
      force_host_assisted_migration: false,
      preserve_metadata: true,
      preserve_snapshots: true,
      writable: true,
      nondisruptive: true,
    }
    await api.action(plane, shareId, { migration_start })
  },
  /** Asked again where the answer was lost; that it had been heard is all right. */
  async completeMigration(plane: Plane, shareId: string): Promise<void> {
    const wasHeard = (): boolean => shareRow(plane.stateDir, shareId)?.['task_state'] !== phase1Done
    await whenBack(async () => {
      if (!wasHeard()) await api.action(plane, shareId, { migration_complete: null })
    }).catch((error: unknown) => {
      if (!wasHeard()) throw error
    })
  },
}

export const phase1Done = 'migration_driver_phase1_done'

type Row = Record<string, string | number | null>

export const shareRow = (stateDir: string, shareId: string): Row | undefined =>
  rowsOf(stateDir, 'select * from shares where id = ?', shareId)[0]

export interface OperationRow {
  id: string
  state: string
  failure: string | null
  /** Somebody has asked for that. */
  isCancelled: boolean
  isEnded: boolean
}

/** The latest of that kind. */
export function latestOperation(stateDir: string, kind: string): OperationRow | undefined {
  const [row] = rowsOf(
    stateDir,
    'select * from operations where kind = ? order by created_at desc, id desc limit 1',
    kind,
  )
  return row && operationOf(row)
}

export const operationById = (stateDir: string, id: string): OperationRow | undefined =>
  rowsOf(stateDir, 'select * from operations where id = ?', id).map(operationOf)[0]

const operationOf = (row: Row): OperationRow => ({
  id: String(row['id']),
  state: String(row['state']),
  failure: row['failure'] === null ? null : String(row['failure']),
  isCancelled: row['cancel_requested'] === 1,
  isEnded: row['ended_at'] !== null,
})
