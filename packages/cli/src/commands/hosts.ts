import type { ComputeHostState } from '@volant/contract/ndo/plan.ts'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes, formatCount } from '../output/units.ts'

const doing: Record<string, string> = {
  'host.drain': 'is being drained',
  'host.restore': 'is being restored',
}

const serviceText = ({ enabled, disabled_reason }: ComputeHostState): string =>
  enabled ? 'enabled' : `disabled${disabled_reason === null ? '' : `: ${disabled_reason}`}`

function underWay({ operation, drained, away }: ComputeHostState): string {
  if (operation !== null) return `${doing[operation.kind] ?? operation.kind}: ${operation.id}`
  if (!drained) return '-'
  return away === 0 ? 'drained' : `drained, ${formatCount(away, 'server')} to come back`
}

const hostsText = (hosts: readonly ComputeHostState[]): string =>
  formatTable(
    ['Compute host', 'Machine', 'State', 'Service', 'Servers', 'Running', 'Memory', 'Under way'],
    hosts.map((host) => [
      host.name,
      host.machine,
      host.up ? 'up' : 'down',
      serviceText(host),
      String(host.servers),
      String(host.running),
      `${formatBytes(host.used_memory_bytes)} of ${formatBytes(host.memory_bytes)}`,
      underWay(host),
    ]),
  )

/** What is unusual about compute hosts: a line for each that is drained, or worked on. */
export const drainedLines = (hosts: readonly ComputeHostState[]): string[] =>
  hosts.flatMap((host) => {
    const { name, operation, drained, away } = host
    if (operation !== null) {
      return [`Compute host ${name} ${underWay(host)}  (volant operations watch ${operation.id})`]
    }
    if (!drained) return []
    const who = away === 0 ? '' : `, ${formatCount(away, 'server')} would come back`
    return [`Compute host ${name} is drained${who}: volant restore ${name}`]
  })

export function addHosts(program: Command): void {
  const command = program
    .command('hosts')
    .description('compute hosts: state, service, servers, memory, and what is under way with them')
    .action(async (options: CommonOptions) => {
      const { ndo } = await clientFor(options)
      const hosts = await ndo.hosts()
      print(options, hosts, () => hostsText(hosts))
    })
  withCommonOptions(command, ['volant hosts', "volant hosts --json | jq '.[] | select(.drained)'"])
}
