import type { ShareServiceStatus, SystemStatus } from '@volant/contract/ndo/status.ts'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { environmentCredentials } from '../instance/credentials.ts'
import { runningInstance } from '../instance/record.ts'
import { stateFolder } from '../instance/state-folder.ts'
import { drainedLines } from './hosts.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes } from '../output/units.ts'

const upOrWhyNot = (thing: { up: boolean; reason: string | null }): string =>
  thing.up ? 'up' : `down${thing.reason === null ? '' : `: ${thing.reason}`}`

/** Only where there is something to be told. */
function databaseLines({ database }: SystemStatus): string[] {
  if (database.ok) return []
  const waiting = database.waiting === 0 ? 'no operation waits' : `${database.waiting} operation(s) wait`
  return [`! The database takes no writes since ${database.since}: ${database.reason} (${waiting})`]
}

/** Only what matters to somebody: what is missing for shares is no trouble where there are none. */
export function shareLines({ clusters }: SystemStatus): string[] {
  const services = clusters.flatMap(({ shares }) => (shares === null ? [] : [shares]))
  const servers = services.flatMap((service) =>
    service.servers.map((server) => [
      service.backend,
      service.node,
      server.lif,
      String(server.pid),
      String(server.exports),
      String(server.clients),
      server.trouble === null ? 'up' : `down: ${server.trouble}`,
    ]),
  )
  const isUsed = services.some(({ shares }) => shares > 0)
  return [
    ...(servers.length === 0
      ? []
      : [formatTable(['NFS server of', 'Node', 'LIF', 'Pid', 'Exports', 'Clients', 'State'], servers)]),
    ...services.flatMap(sharesTrouble),
    ...(isUsed || servers.length > 0 ? [] : noSharesLines(services)),
  ]
}

function sharesTrouble({
  backend,
  node,
  shares,
  up,
  reason,
  missing,
  troubles,
}: ShareServiceStatus): string[] {
  if (shares === 0) return []
  return [
    ...(up ? [] : [`! The shares of ${backend}: node ${node} does not answer: ${reason ?? ''}`]),
    ...missing.map((what) => `! The shares of ${backend} can't all be served by node ${node}: ${what}`),
    ...troubles.map((trouble) => `! Share ${trouble.share} is in trouble: ${trouble.reason}`),
  ]
}

/** Nobody uses shares; who wants to sees what is to be done first. */
function noSharesLines(services: readonly ShareServiceStatus[]): string[] {
  const lacking = services.filter(({ missing }) => missing.length > 0)
  if (services.length === 0) return []
  if (lacking.length === 0) return ['Shares: none']
  const lacks = lacking.flatMap(({ node, missing }) => missing.map((what) => `${what} (node ${node})`))
  return [`Shares: none; before the first can be made: ${lacks.join('; ')}`]
}

export function statusText(status: SystemStatus): string {
  const pools = status.clusters.flatMap((cluster) =>
    cluster.pools.map((pool) => [
      pool.host,
      `${pool.node}/${pool.aggregate}`,
      String(pool.volumes),
      formatBytes(pool.used_bytes),
      formatBytes(pool.free_bytes),
      formatBytes(pool.total_bytes),
    ]),
  )
  const nodes = status.clusters.flatMap((cluster) =>
    cluster.nodes.map((node) => [cluster.name, node.name, node.machine, upOrWhyNot(node)]),
  )
  const clusters = status.clusters.map((cluster) => [cluster.name, cluster.management_url ?? '-'])
  const hosts = status.compute_hosts.map((host) => [
    host.name,
    host.machine,
    upOrWhyNot(host),
    host.accelerator ?? '-',
    String(host.vcpus),
    `${formatBytes(host.free_memory_mib * 1024 ** 2)} of ${formatBytes(host.memory_mib * 1024 ** 2)}`,
    String(host.servers),
  ])
  const agents = status.agents.map((agent) => [
    agent.name,
    agent.place === 'inside' ? 'inside' : (agent.url ?? '-'),
    agent.pid === null ? '-' : String(agent.pid),
    agent.up ? 'up' : `away: ${agent.reason ?? ''}`,
    agent.since,
  ])
  const operations = Object.entries(status.operations).map(([state, count]) => `${count} ${state}`)
  return [
    formatTable(['Pool', 'Node/Aggregate', 'Volumes', 'Used', 'Free', 'Total'], pools),
    formatTable(['Cluster', 'Node', 'Machine', 'State'], nodes),
    formatTable(['Cluster', 'Management URL (access: clusters.json)'], clusters),
    formatTable(
      ['Compute host', 'Machine', 'State', 'Accelerator', 'vCPUs', 'Free memory', 'Running'],
      hosts,
    ),
    formatTable(['Agents', 'Where', 'Pid', 'State', 'Since'], agents),
    ...drainedLines(status.hosts),
    ...shareLines(status),
    ...databaseLines(status),
    `Operations under way: ${operations.length === 0 ? 'none' : operations.join(', ')}`,
    `Strays: ${status.strays === null ? 'not looked for yet' : status.strays === 0 ? 'none' : `${status.strays} (see: volant sweep)`}`,
  ].join('\n')
}

async function status(options: CommonOptions): Promise<void> {
  const stateDir = stateFolder(options.state)
  const record = await runningInstance(stateDir)
  // As for the other commands: what `source openrc` means comes before the default state folder.
  const sourced = options.state === undefined ? environmentCredentials() : undefined
  if (sourced !== undefined && sourced.url !== record?.url) {
    const system = await (await clientFor(options)).ndo.status()
    const head = { running: true, url: sourced.url, pid: null, state: null, started_at: null }
    print(options, { ...head, ...system }, () =>
      [`Volant ${system.version} runs: ${sourced.url} (as OS_AUTH_URL says)`, statusText(system)].join('\n'),
    )
    return
  }
  if (record === undefined) {
    if (options.json === true) print(options, { running: false, state: stateDir }, () => '')
    throw new CliError(
      exitCodes.notFound,
      `Volant does not run with the state folder ${stateDir}; start it with: volant up --state ${stateDir}`,
    )
  }
  const client = await clientFor({ ...options, state: stateDir })
  const system = await client.ndo.status()
  const head = {
    running: true,
    url: record.url,
    pid: record.pid,
    state: stateDir,
    started_at: record.startedAt,
  }
  print(options, { ...head, ...system }, () =>
    [
      `Volant ${system.version} runs: ${record.url} (pid ${record.pid}), state ${stateDir}, since ${record.startedAt}`,
      statusText(system),
    ].join('\n'),
  )
}

export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('what runs, with capacities, hosts and operations under way; exit code 3 where nothing runs')
    .action(status)
  withCommonOptions(command, ['volant status', 'volant status --json | jq -r .url'])
}
