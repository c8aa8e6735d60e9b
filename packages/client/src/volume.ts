import { ApiError } from './api-error.ts'
import type { Session } from './session.ts'

/** A volume as Block Storage v3 shows it to an administrator; only what is used here is spelt out. */
export interface Volume {
  id: string
  name: string | null
  status: string
  /** GiB. */
  size: number
  attachments: { server_id: string; device: string | null }[]
  'os-vol-host-attr:host'?: string | null
  'os-vol-mig-status-attr:migstat'?: string | null
  [field: string]: unknown
}

export interface Pool {
  /** `HOST@BACKEND#POOL`. */
  name: string
  capabilities: {
    total_capacity_gb: number | string
    free_capacity_gb: number | string
    provisioned_capacity_gb?: number
    volume_backend_name?: string
    [field: string]: unknown
  }
}

export interface VolumeClient {
  list(): Promise<Volume[]>
  show(id: string): Promise<Volume>
  /** By id, or by name where exactly one volume has it. Throws `ApiError` 404 or 409. */
  find(idOrName: string): Promise<Volume>
  create(volume: { name: string; size: number; volume_type?: string }): Promise<Volume>
  remove(id: string): Promise<void>
  /** `os-migrate_volume`, as `cinder migrate` sends it. */
  migrate(id: string, host: string): Promise<void>
  pools(): Promise<Pool[]>
}

const headers = { 'openstack-api-version': 'volume 3.70' }
const pageSize = 1000

export function volumeClient(session: Session): VolumeClient {
  const call = async (method: string, path: string, options = {}): Promise<unknown> =>
    session.json(method, `/volume/v3/${await session.projectId()}${path}`, { headers, ...options })
  const showOrNothing = (id: string): Promise<Volume | undefined> =>
    call('GET', `/volumes/${encodeURIComponent(id)}`).then(
      (answer) => (answer as { volume: Volume }).volume,
      (error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return undefined
        throw error
      },
    )
  return {
    async list() {
      const volumes: Volume[] = []
      for (;;) {
        const query = { all_tenants: 1, limit: pageSize, marker: volumes.at(-1)?.id }
        const page = (await call('GET', '/volumes/detail', { query })) as { volumes: Volume[] }
        volumes.push(...page.volumes)
        if (page.volumes.length < pageSize) return volumes
      }
    },
    show: async (id) =>
      ((await call('GET', `/volumes/${encodeURIComponent(id)}`)) as { volume: Volume }).volume,
    async find(idOrName) {
      const shown = await showOrNothing(idOrName)
      if (shown !== undefined) return shown
      const query = { all_tenants: 1, name: idOrName }
      const { volumes } = (await call('GET', '/volumes/detail', { query })) as { volumes: Volume[] }
      const [first, second] = volumes
      if (first === undefined)
        throw new ApiError(404, `There is no volume '${idOrName}'. See: volant volumes`)
      if (second !== undefined) {
        throw new ApiError(409, `${volumes.length} volumes are named '${idOrName}'; give the id instead.`)
      }
      return first
    },
    create: async (volume) =>
      ((await call('POST', '/volumes', { body: { volume } })) as { volume: Volume }).volume,
    async remove(id) {
      await call('DELETE', `/volumes/${encodeURIComponent(id)}`)
    },
    async migrate(id, host) {
      await call('POST', `/volumes/${encodeURIComponent(id)}/action`, {
        body: { 'os-migrate_volume': { host, force_host_copy: false, lock_volume: false } },
      })
    },
    async pools() {
      const answer = await call('GET', '/scheduler-stats/get_pools', { query: { detail: true } })
      return (answer as { pools: Pool[] }).pools
    },
  }
}
