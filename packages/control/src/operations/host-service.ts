import { DomainError } from '@volant/contract'
import type { ComputeService, ComputeServiceRecords } from '../ports/servers.ts'

/** The compute service of a host; throws `notFound`. */
export async function computeServiceOf(
  { services }: { services: Pick<ComputeServiceRecords, 'list'> },
  host: string,
): Promise<ComputeService> {
  const found = (await services.list()).find((one) => one.binary === 'nova-compute' && one.host === host)
  if (found !== undefined) return found
  throw new DomainError('notFound', `Compute host ${host} could not be found.`)
}

/** What may be done with a host that has been emptied. `stopped`: servers that stay on it, by name. */
export function emptyNote(host: string, stopped: readonly string[], alsoThere: readonly string[]): string {
  const still =
    stopped.length === 0
      ? `${host} is empty`
      : `nothing runs on ${host} (stopped there, to be started again by a restore: ${stopped.join(', ')})`
  return alsoThere.length === 0
    ? `${still} and safe to switch off`
    : `${still}; its machine must stay on, for it has ${alsoThere.join(', ')}`
}
