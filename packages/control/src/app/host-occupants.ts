import type { GuestStatus } from '@volant/contract'
import type { Topology } from '../domain/topology.ts'
import type { Agents } from '../ports/agents.ts'
import type { Places } from '../ports/places.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { HostOccupants } from '../ports/server-relocations.ts'

const runs = ({ state }: GuestStatus): boolean => state !== 'stopped' && state !== 'absent'

/** Asks the agents of a host what still runs there: of guests all, of volume heads those that are the host's. */
export function createHostOccupants(options: {
  agents: Pick<Agents, 'compute' | 'holders'>
  attachments: Pick<AttachmentRecords, 'withHead'>
  places: Pick<Places, 'machineOfHost'>
  topology: Topology
}): HostOccupants {
  const { agents, attachments, places, topology } = options

  /** What else is on the host's machine, by the configuration. */
  function neighbours(host: string, machine: string): string[] {
    return [
      ...topology.clusters
        .flatMap(({ nodes }) => nodes)
        .filter((node) => node.machine === machine)
        .map(({ name }) => `storage node ${name}`),
      ...topology.computeHosts
        .filter((other) => other.machine === machine && other.name !== host)
        .map(({ name }) => `compute host ${name}`),
    ]
  }

  return {
    async look(host, resting) {
      const machine = places.machineOfHost(host)
      const [guests, holders, heads] = await Promise.all([
        agents.compute(host).listGuests(),
        agents.holders(machine).listHolders(),
        attachments.withHead(),
      ])
      const alsoThere = neighbours(host, machine)
      const byHead = new Map(heads.map((one) => [one.headId, one]))
      const left = guests
        .filter((guest) => runs(guest) && !resting.has(guest.serverId))
        .map(({ serverId, state }) => `the guest of server ${serverId} is ${state} there`)
      for (const { holderId } of holders) {
        const head = byHead.get(holderId)
        // One that no record knows may be a neighbour's; of a machine of its own all are the host's.
        const isOurs = head === undefined ? alsoThere.length === 0 : head.host === host
        if (!isOurs || (head?.serverId != null && resting.has(head.serverId))) continue
        left.push(
          head === undefined
            ? `the storage daemon ${holderId}, which no record knows, runs there (volant sweep)`
            : `the head ${holderId} of volume ${head.volumeId} runs there`,
        )
      }
      return { left, alsoThere }
    },
  }
}
