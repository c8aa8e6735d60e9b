import type { Aggregate } from '@volant/contract/ndo/aggregate.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { VolantClient } from '@volant/client'
import { Option, type Command } from 'commander'
import { clientFor, print, withCommonOptions, withExamples, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { sizeArgument } from '../output/quantity.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes } from '../output/units.ts'
import { resolveAggregate } from '../storage-name.ts'
import { watchOperation } from '../watch.ts'

const amount = (bytes: number | null): string => (bytes === null ? '-' : formatBytes(bytes))

function stateOf(aggregate: Aggregate): string {
  if (aggregate.state !== 'online')
    return `${aggregate.state}${aggregate.reason === null ? '' : `: ${aggregate.reason}`}`
  return aggregate.vacated_by === null ? 'online' : `being emptied by ${aggregate.vacated_by}`
}

const sharing = { true: 'yes', false: 'no', null: '-' }

function aggregatesText(aggregates: readonly Aggregate[]): string {
  return formatTable(
    [
      'Cluster',
      'Name',
      'Node',
      'File system',
      'Shares blocks',
      'Size',
      'Used',
      'Reserved',
      'Free',
      'FlexVols',
      'State',
    ],
    aggregates.map((one) => [
      one.cluster,
      one.name,
      one.node,
      one.filesystem,
      sharing[`${one.shares_blocks}`],
      amount(one.total_bytes),
      amount(one.used_bytes),
      amount(one.reserved_bytes),
      amount(one.free_bytes),
      one.flexvols.map(flexvolText).join('\n') || '-',
      stateOf(one),
    ]),
  )
}

function flexvolText({ name, role, retained }: Aggregate['flexvols'][number]): string {
  if (role === 'home') return name
  if (role === 'destination') return `${name} (coming)`
  return `${name} (${retained > 0 ? 'images kept for a time' : 'images, on their way'})`
}

async function list(options: CommonOptions): Promise<void> {
  const aggregates = await (await clientFor(options)).ndo.aggregates()
  print(options, aggregates, () => aggregatesText(aggregates))
}

interface CreateOptions extends CommonOptions {
  cluster?: string
  node?: string
  size?: number
  filesystem?: 'folder' | 'xfs'
}

/** The end is waited for: it takes seconds. */
async function finish(client: VolantClient, operation: Operation, options: CommonOptions): Promise<void> {
  await watchOperation(client.ndo, operation.id, options)
}

/** The cluster that is meant where none is named: that of the node, or the only one. */
async function clusterOf(client: VolantClient, { cluster, node }: CreateOptions): Promise<string> {
  if (cluster !== undefined) return cluster
  const { clusters } = await client.ndo.status()
  const possible = clusters.filter(
    (one) => node === undefined || one.nodes.some((other) => other.name === node),
  )
  const [only, another] = possible
  if (only !== undefined && another === undefined) return only.name
  const shown = clusters.map((one) => `  ${one.name}: ${one.nodes.map((other) => other.name).join(', ')}`)
  if (node !== undefined) {
    throw new CliError(
      exitCodes.notFound,
      `there is no storage node '${node}'; there are:\n${shown.join('\n')}`,
    )
  }
  throw new CliError(
    exitCodes.usage,
    `say in which cluster, with --cluster or --node; there are:\n${shown.join('\n')}`,
  )
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const client = await clientFor(options)
  const { node, size, filesystem } = options
  const operation = await client.ndo.createAggregate({
    cluster: await clusterOf(client, options),
    name,
    ...(node !== undefined && { node }),
    ...(size !== undefined && { size_bytes: size }),
    ...(filesystem !== undefined && { filesystem }),
  })
  await finish(client, operation, options)
}

async function remove(name: string, options: CommonOptions): Promise<void> {
  const client = await clientFor(options)
  const aggregate = resolveAggregate(name, await client.ndo.aggregates())
  await finish(client, await client.ndo.removeAggregate(aggregate.cluster, aggregate.name), options)
}

export function addAggregates(program: Command): void {
  const group = program.command('aggregates').description('where FlexVols live: list, create and delete')
  withExamples(group, ['volant aggregates', 'volant aggregates --json', 'volant aggregates create --help'])
  const listing = group
    .command('list', { isDefault: true })
    .description('list the aggregates with their space')
    .action(list)
  withCommonOptions(listing, ['volant aggregates', 'volant aggregates --json'])
  const creating = group
    .command('create <name>')
    .option('--cluster <cluster>', 'where; needed where there are several and no node is named')
    .option('--node <node>', 'storage node (default: the first of the cluster)')
    .option('--size <size>', 'of xfs its size, at least 512MiB; of a folder its limit', sizeArgument)
    .addOption(
      new Option(
        '--filesystem <kind>',
        'xfs: a file, formatted and mounted, where images share blocks; folder: of a file system that is there ' +
          '(default: xfs where a size of at least 512MiB is given and the node can)',
      ).choices(['folder', 'xfs']),
    )
    .description('make an aggregate')
    .action(create)
  withCommonOptions(creating, [
    'volant aggregates create fast --cluster cinder-lma --size 20GiB',
    'volant aggregates create plain --node lma-01 --filesystem folder',
  ])
  const removing = group
    .command('delete <aggregate>')
    .description('remove an aggregate that is empty and was not made by the configuration file')
    .action(remove)
  withCommonOptions(removing, ['volant aggregates delete cinder-lma/fast'])
}
