import { isSettled, type Operation, type OperationListQuery } from '@volant/contract/ndo/operation.ts'
import type { NdoClient, VolumeClient } from '@volant/client'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { integerArgument, rateArgument } from '../output/quantity.ts'
import { formatProperties, formatTable } from '../output/table.ts'
import { formatClock, formatLimit, formatMilliseconds, formatRate } from '../output/units.ts'
import { watchOperation } from '../watch.ts'
import { addUndo } from './undo.ts'

interface ListOptions extends CommonOptions {
  active?: boolean
  limit: number
  kind?: string
  volume?: string
}

function row(operation: Operation): string[] {
  const { progress, resource } = operation
  const settled = isSettled(operation.state)
  return [
    operation.id,
    operation.kind,
    operation.phase === null || operation.phase === operation.state || settled
      ? operation.state
      : `${operation.state} (${operation.phase})`,
    resource.name === null || resource.name === '' ? resource.id : resource.name,
    operation.target ?? '-',
    progress.percent === null ? '-' : `${progress.percent.toFixed(0)} %`,
    progress.rate_bytes_per_second === null ? '-' : formatRate(progress.rate_bytes_per_second),
    progress.eta_seconds === null || settled ? '-' : formatClock(progress.eta_seconds),
    operation.client_pause_ms === null ? '-' : formatMilliseconds(operation.client_pause_ms),
    operation.created_at.slice(0, 19).replace('T', ' '),
  ]
}

const headers = ['ID', 'Kind', 'State', 'Resource', 'Target', 'Done', 'Rate', 'ETA', 'Pause', 'Started (UTC)']

/** An id is taken as it is: a volume that was deleted still has its operations. */
const volumeId = async (client: VolumeClient, wish: string): Promise<string> =>
  /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(wish) ? wish : (await client.find(wish)).id

async function list(options: ListOptions): Promise<void> {
  const { ndo, volume } = await clientFor(options)
  const query: OperationListQuery = {
    limit: options.limit,
    ...(options.kind === undefined ? {} : { kind: options.kind }),
    ...(options.volume === undefined ? {} : { resource: await volumeId(volume, options.volume) }),
  }
  const page = await ndo.operations(query)
  const operations = page.operations.filter(
    (operation) =>
      options.active !== true || !isSettled(operation.state) || operation.state === 'needs-attention',
  )
  print(options, { ...page, operations }, () => formatTable(headers, operations.map(row)))
}

/** All properties of an operation; what has parts is taken apart. */
export function operationText(operation: Operation): string {
  const { progress, controls, resource, attempts, commands, error, undo_of, ...rest } = operation
  return formatProperties({
    ...rest,
    resource: `${resource.type} ${resource.id}${resource.name === null ? '' : ` (${resource.name})`}`,
    ...Object.fromEntries(Object.entries(progress).map(([key, value]) => [`progress.${key}`, value])),
    paused: controls.paused,
    rate_limit: formatLimit(controls.rate_limit),
    undo_of: undo_of === null ? null : `${undo_of.operation}: ${undo_of.reason}`,
    error: error === null ? null : `${error.reason} (${error.class})`,
    attempts: attempts.map((attempt) => `${attempt.at} ${attempt.reason}`).join('\n'),
    commands: commands.join('\n'),
  })
}

function addAction(
  parent: Command,
  name: string,
  description: string,
  act: (ndo: NdoClient, id: string) => Promise<Operation>,
): void {
  const command = parent
    .command(`${name} <id>`)
    .description(description)
    .action(async (id: string, options: CommonOptions) => {
      const operation = await act((await clientFor(options)).ndo, id)
      print(options, operation, () => operationText(operation))
    })
  withCommonOptions(command, [`volant operations ${name} 3f0c…`])
}

export function addOperations(program: Command): void {
  const group = program
    .command('operations')
    .description('what is under way and what has been: list, watch, steer')
  const listing = group
    .command('list', { isDefault: true })
    .description('list operations, newest first')
    .option('--active', 'only those that have not ended')
    .option('--kind <kind>', 'only of this kind, for example volume.migrate')
    .option('--volume <volume>', 'only of this volume, by id or name')
    .option('--limit <n>', 'how many at most', integerArgument(1, 1000), 20)
    .action(list)
  withCommonOptions(listing, ['volant operations', 'volant operations list --active --json'])
  addAction(group, 'show', 'everything about one operation', (ndo, id) => ndo.operation(id))
  addAction(group, 'pause', 'pause it where it is', (ndo, id) => ndo.pause(id))
  addAction(group, 'resume', 'let a paused one, or one that needs attention, go on', (ndo, id) =>
    ndo.resume(id),
  )
  addAction(group, 'cancel', 'give it up and undo what it did; refused after the cutover', (ndo, id) =>
    ndo.cancel(id),
  )
  addUndo(group)
  const rate = group
    .command('rate')
    .argument('<id>')
    .argument('<value>', 'bytes per second: 50M, 1GiB/s; 0: unlimited', rateArgument)
    .description('set its rate limit while it runs')
    .action(async (id: string, bytesPerSecond: number, options: CommonOptions) => {
      const operation = await (await clientFor(options)).ndo.setRate(id, bytesPerSecond)
      print(options, operation, () => operationText(operation))
    })
  withCommonOptions(rate, ['volant operations rate 3f0c… 50M', 'volant operations rate 3f0c… 0'])
  const watch = group
    .command('watch <id>')
    .description('show its progress until it ends; Ctrl-C stops watching, not the operation')
    .action(async (id: string, options: CommonOptions) => {
      await watchOperation((await clientFor(options)).ndo, id, options)
    })
  withCommonOptions(watch, [
    'volant operations watch 3f0c…',
    'volant operations watch 3f0c… --json | jq .progress',
  ])
}
