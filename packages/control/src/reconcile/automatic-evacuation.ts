import { messageOf } from '@volant/contract'
import type { Logger } from 'pino'
import { suspects, verdict, type EvacuationGroup, type Suspect } from '../domain/automatic-evacuation.ts'
import { evacuateHost, hostEvacuationKey } from '../operations/evacuate-host.ts'
import type { Agents } from '../ports/agents.ts'
import type { Clock } from '../ports/clock.ts'
import type { HostViews } from '../ports/hosts.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { Places } from '../ports/places.ts'
import type { ComputeService } from '../ports/servers.ts'

export interface AutomaticEvacuationPorts {
  evacuating: readonly EvacuationGroup[]
  hosts: HostViews
  /** Where a host's agent listens: what witnesses try. */
  addressOf(host: string): { host: string; port: number } | undefined
  services: { all(): Promise<Pick<ComputeService, 'binary' | 'host' | 'forcedDown'>[]> }
  engine: Pick<OperationEngine, 'start' | 'holderOf'>
  agents: Pick<Agents, 'holders'>
  places: Pick<Places, 'machineOfHost'>
  clock: Clock
  log: Logger
}

/** Servers of one host that are evacuated at once. */
const parallel = 4

/** One look: hosts that nobody can reach are given up, and their servers evacuated. Returns their names. */
export async function giveUpSilentHosts(ports: AutomaticEvacuationPorts): Promise<string[]> {
  if (ports.evacuating.length === 0) return []
  const services = await ports.services.all()
  const seen = await Promise.all(
    ports.hosts.list().map(async ({ host, answers, seenAt }) => {
      const service = services.find((one) => one.binary === 'nova-compute' && one.host === host)
      const holder = await ports.engine.holderOf(hostEvacuationKey(host))
      const isGivenUp = service?.forcedDown === true || holder !== undefined
      return { host, answers, seenAt, isGivenUp }
    }),
  )
  const found = suspects(ports.evacuating, seen, ports.clock.now())
  if (found.because !== null) ports.log.warn({ reason: found.because }, 'no host is given up')
  const givenUp: string[] = []
  for (const suspect of found.suspects) {
    const reason = await hear(ports, suspect)
    if (reason === null) continue
    try {
      const by = { userId: 'automatic', projectId: 'automatic' }
      await ports.engine.start(evacuateHost, { host: suspect.host, parallel, reason, by })
      ports.log.warn({ host: suspect.host, reason }, 'a compute host is given up, and evacuated')
      givenUp.push(suspect.host)
    } catch (error) {
      ports.log.error({ host: suspect.host, err: error }, `it could not be evacuated: ${messageOf(error)}`)
    }
  }
  return givenUp
}

async function hear(ports: AutomaticEvacuationPorts, suspect: Suspect): Promise<string | null> {
  const address = ports.addressOf(suspect.host)
  if (address === undefined) return null
  const testimonies = await Promise.all(
    suspect.witnesses.map(async (witness) => {
      try {
        const holders = ports.agents.holders(ports.places.machineOfHost(witness))
        const unreachable = await holders.unreachable(address.host, address.port)
        return { witness, unreachable, reaches: unreachable === null }
      } catch {
        return { witness, unreachable: null, reaches: false }
      }
    }),
  )
  const reason = verdict(suspect, testimonies)
  if (reason === null) {
    const reaching = testimonies.filter(({ reaches }) => reaches).map(({ witness }) => witness)
    ports.log.warn(
      { host: suspect.host, reaching, asked: suspect.witnesses },
      'a silent host is not given up',
    )
  }
  return reason
}
