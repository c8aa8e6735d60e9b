import { isDomainError } from '@volant/contract'
import type { Backend } from '../ports/backend.ts'
import type { ServerRecords } from '../ports/servers.ts'

/**
 * Does what needs a compute host, for an operation that has to come to rest. Where that host does not answer, or its heads
 * may have no access, for the server is being evacuated from it, it is left out: false. What remains there has access to
 * nothing, and is removed when the host answers again.
 */
export async function unlessGivenUp(
  isGivenUp: () => Promise<boolean>,
  work: () => Promise<unknown>,
): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    const isAway = isDomainError(error) && (error.code === 'unavailable' || error.code === 'conflict')
    if (!isAway || !(await isGivenUp())) throw error
    return false
  }
}

/** The server is being evacuated: its host is down. */
export const isBeingEvacuated =
  (ports: { servers: Pick<ServerRecords, 'find'> }, serverId: string) => async (): Promise<boolean> =>
    (await ports.servers.find(serverId))?.taskState === 'rebuilding'

/** The head's host was given up. */
export const isHeadFenced =
  (ports: { backend: Pick<Backend, 'isFenced'> }, headId: string) => (): Promise<boolean> =>
    ports.backend.isFenced(headId)
