/** What users of the cloud do, through the stock APIs; each returns when it is so. */
import { ApiError } from '@volant/client'
import { nextLook } from '../look.ts'
import type { Plane } from '../migration/plane.ts'

export interface SnapshotShown {
  id: string
  status: string
}

export type Users = ReturnType<typeof usersOf>

/** A machine that others use, too, is slow; what takes longer is stuck. */
const patienceMs = 120_000
const headers = { 'openstack-api-version': 'volume 3.70' }

export function usersOf(plane: Plane) {
  // The client changes when the control plane is started again.
  const session = () => plane.client.session
  const volumeCall = async (method: string, path: string, body?: unknown): Promise<unknown> =>
    session().json(method, `/volume/v3/${await session().projectId()}${path}`, {
      headers,
      ...(body ? { body } : {}),
    })

  const statusOf = async (path: string, key: string): Promise<string | undefined> => {
    try {
      const answer = (await volumeCall('GET', path)) as Record<string, { status: string }>
      return answer[key]?.status
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined
      throw error
    }
  }
  /** Undefined: gone. An error status that is not waited for ends the wait. */
  const becomes = async (path: string, key: string, wanted: string | undefined): Promise<void> => {
    const began = performance.now()
    for (const end = began + patienceMs; ; await nextLook(began)) {
      const status = await statusOf(path, key)
      if (status === wanted) return
      if (status?.includes('error') === true) throw new Error(`${path} is ${status}, not ${wanted ?? 'gone'}`)
      if (performance.now() > end) {
        throw new Error(
          `${path} is still ${status ?? 'gone'}, not ${wanted ?? 'gone'}, after ${patienceMs} ms`,
        )
      }
    }
  }
  const volumeBecomes = (id: string, status: string | undefined) =>
    becomes(`/volumes/${id}`, 'volume', status)
  const snapshotBecomes = (id: string, status: string | undefined) =>
    becomes(`/snapshots/${id}`, 'snapshot', status)

  return {
    async create(volume: { name: string; size: number; snapshot_id?: string; source_volid?: string }) {
      const { volume: made } = (await volumeCall('POST', '/volumes', { volume })) as {
        volume: { id: string }
      }
      await volumeBecomes(made.id, 'available')
      return made.id
    },
    async remove(volumeId: string) {
      await volumeCall('DELETE', `/volumes/${volumeId}`)
      await volumeBecomes(volumeId, undefined)
    },
    /** GiB. */
    async extend(volumeId: string, size: number, attached: boolean) {
      await volumeCall('POST', `/volumes/${volumeId}/action`, { 'os-extend': { new_size: size } })
      await volumeBecomes(volumeId, attached ? 'in-use' : 'available')
    },
    async attach(serverId: string, volumeId: string) {
      await plane.client.compute.attach(serverId, volumeId)
      await volumeBecomes(volumeId, 'in-use')
    },
    async detach(serverId: string, volumeId: string) {
      await session().json('DELETE', `/compute/v2.1/servers/${serverId}/os-volume_attachments/${volumeId}`)
      await volumeBecomes(volumeId, 'available')
    },
    async snapshot(volumeId: string, name: string) {
      const body = { snapshot: { volume_id: volumeId, name, force: true } }
      const { snapshot } = (await volumeCall('POST', '/snapshots', body)) as { snapshot: SnapshotShown }
      await snapshotBecomes(snapshot.id, 'available')
      return snapshot.id
    },
    async removeSnapshot(snapshotId: string) {
      await volumeCall('DELETE', `/snapshots/${snapshotId}`)
      await snapshotBecomes(snapshotId, undefined)
    },
    /** To the volume's newest snapshot; of a volume that nobody uses. */
    async revert(volumeId: string, snapshotId: string) {
      await volumeCall('POST', `/volumes/${volumeId}/action`, { revert: { snapshot_id: snapshotId } })
      await volumeBecomes(volumeId, 'available')
    },
  }
}

/** The same, telling how long the user waited for each. Milliseconds. */
export const timedUsers = (users: Users, note: (deed: keyof Users, ms: number) => void): Users =>
  new Proxy(users, {
    get(target, key) {
      const deed = key as keyof Users
      const real = target[deed] as (...args: unknown[]) => Promise<unknown>
      return async (...args: unknown[]) => {
        const began = performance.now()
        const result = await real(...args)
        note(deed, performance.now() - began)
        return result
      }
    },
  })
