import { once } from 'node:events'
import type { OperationRecord } from '@volant/contract/ndo/history.ts'
import {
  isSettled,
  operationStates,
  type Operation,
  type OperationListQuery,
} from '@volant/contract/ndo/operation.ts'
import type { NdoClient, VolumeClient } from '@volant/client'
import { InvalidArgumentError, type Command } from 'commander'
import { clientFor, print, withCommonOptions, withExamples, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { integerArgument, rateArgument } from '../output/quantity.ts'
import { serverLine, serversTotal } from '../output/servers.ts'
import { formatProperties, formatTable } from '../output/table.ts'
import { formatClock, formatLimit, formatMilliseconds, formatRate } from '../output/units.ts'
import { paceArgument, paceWish, priorityArgument } from '../pace-options.ts'
import { watchOperation } from '../watch.ts'
import { addUndo } from './undo.ts'

type Progress = Operation['progress']

interface ListOptions extends CommonOptions {
  active?: boolean
  all?: boolean
  parent?: string
  limit: number
  kind?: string
  volume?: string
}

/** `!` marks what stands still until somebody acts. */
function stateOf({ state, phase }: Operation): string {
  if (state === 'needs-attention') return `! ${state}`
  return phase === null || phase === state || isSettled(state) ? state : `${state} (${phase})`
}

function row(operation: Operation): string[] {
  const { progress, resource } = operation
  const settled = isSettled(operation.state)
  return [
    operation.id,
    operation.kind,
    stateOf(operation),
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

/** The whole tree below an operation is shown a level at a time: its parts, by their ids again. */
async function show(id: string, options: CommonOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const operation = await ndo.operation(id)
  const parts = operation.parts === 0 ? [] : (await ndo.operations({ parent: id, limit: 1000 })).operations
  const newest = parts.toSorted((a, b) => b.created_at.localeCompare(a.created_at))
  print(options, operation, () =>
    [
      operationText(operation),
      ...(parts.length === 0 ? [] : ['Parts:', formatTable(headers, newest.map(row))]),
    ].join('\n'),
  )
}

/**
 * Those that need somebody, however old they are, and the newest others; or of those all that have not ended, each asked for
 * by its state, for any number of newer ones may have ended. Newest first.
 */
export async function listed(
  ndo: Pick<NdoClient, 'operations'>,
  query: OperationListQuery,
  active: boolean,
): Promise<{ stuck: Operation[]; others: Operation[] }> {
  const wanted = active ? operationStates.filter((state) => !isSettled(state)) : [undefined]
  const [stuck = [], ...pages] = await Promise.all(
    (['needs-attention', ...wanted] as const).map(
      async (state) => (await ndo.operations(state === undefined ? query : { ...query, state })).operations,
    ),
  )
  // One may have come from one state to another meanwhile.
  const others = new Map(pages.flat().map((operation) => [operation.id, operation]))
  for (const { id } of stuck) others.delete(id)
  return {
    stuck,
    others: [...others.values()]
      .filter(({ state }) => state !== 'needs-attention')
      .toSorted((a, b) => b.created_at.localeCompare(a.created_at)),
  }
}

async function list(id: string | undefined, options: ListOptions): Promise<void> {
  if (id !== undefined) return show(id, options)
  const { ndo, volume } = await clientFor(options)
  const query: OperationListQuery = {
    limit: options.limit,
    ...(options.all === true ? { parts: 'true' } : {}),
    ...(options.parent === undefined ? {} : { parent: options.parent }),
    ...(options.kind === undefined ? {} : { kind: options.kind }),
    ...(options.volume === undefined ? {} : { resource: await volumeId(volume, options.volume) }),
  }
  const { stuck, others } = await listed(ndo, query, options.active === true)
  const operations = [...stuck, ...others.slice(0, Math.max(0, options.limit - stuck.length))]
  print(options, operations, () =>
    [formatTable(headers, operations.map(row)), ...stuck.map(attentionText)].join('\n'),
  )
}

/** What each command does to an operation that needs attention. */
function meaningOf(command: string, attention: NonNullable<Operation['attention']>): string {
  if (command.includes(' resume ')) return 'try it again'
  if (command.includes(' skip ')) return `leave it out: ${attention.skip ?? ''}`
  if (command.includes(' cancel ')) return 'give it up and undo what it did'
  if (command.endsWith(' yes')) return 'you have made sure that the commit was made'
  if (command.endsWith(' no')) return 'you have made sure that the commit was not made'
  return 'everything about it'
}

/** Why an operation stands still, and the commands that go on. Empty where it needs nobody. */
export function attentionText(operation: Operation): string {
  const { attention, resource, commands, kind } = operation
  if (attention === null) return ''
  const width = Math.max(...commands.map((command) => command.length))
  return [
    `! ${kind} of ${resource.name || resource.id} needs attention at '${attention.step}': ${attention.reason}`,
    ...commands.map((command) => `    ${command.padEnd(width)}  ${meaningOf(command, attention)}`),
  ].join('\n')
}

/** Two answers to a question that only a person can answer. */
function yesOrNo(text: string): boolean {
  if (text === 'yes' || text === 'no') return text === 'yes'
  throw new InvalidArgumentError('say yes or no')
}

const decisionWarning = (id: string, happened: boolean): string =>
  [
    `Nothing was changed. This tells Volant that the commit of ${id} was ${happened ? '' : 'NOT '}made; it will not check.`,
    happened
      ? 'It will then go on, and give up what stood before the commit.'
      : 'It will then undo everything, and remove what the commit would have led to.',
    'If that is wrong, acknowledged writes are lost. Ask the world first: which image is recorded as the truth',
    '(volant volumes, cinder show), and on which one the holder stands. Where it can be reached again, `resume` asks it.',
    'If you are certain, repeat the command with --sure.',
  ].join('\n')

function addDecide(group: Command): void {
  const command = group
    .command('decide <id>')
    .requiredOption('--happened <yes|no>', 'whether the commit was made', yesOrNo)
    .option('--sure', 'you have made sure; without it nothing is changed')
    .description('say whether the commit was made, where Volant cannot find out; a wrong answer loses data')
    .action(async (id: string, options: CommonOptions & { happened: boolean; sure?: boolean }) => {
      if (options.sure !== true) {
        throw new CliError(exitCodes.refused, decisionWarning(id, options.happened))
      }
      const operation = await (await clientFor(options)).ndo.decide(id, options.happened)
      print(options, operation, () => operationText(operation))
    })
  withCommonOptions(command, ['volant operations decide 3f0c… --happened no --sure'])
}

/** All properties of an operation; what has parts is taken apart. */
function operationText(operation: Operation): string {
  const { progress, controls, resource, attempts, commands, error, undo_of, attention, ...rest } = operation
  return formatProperties({
    ...rest,
    resource: `${resource.type} ${resource.id}${resource.name === null || resource.name === resource.id ? '' : ` (${resource.name})`}`,
    ...Object.fromEntries(Object.entries(progress).map(([key, value]) => [`progress.${key}`, value])),
    'progress.pace': progress.pace === null ? null : paceText(progress.pace),
    'progress.servers': progress.servers === null ? null : serversText(operation, progress.servers),
    paused: controls.paused,
    rate_limit: formatLimit(controls.rate_limit),
    pace: controls.pace,
    priority: controls.priority,
    undo_of: undo_of === null ? null : `${undo_of.operation}: ${undo_of.reason}`,
    error: error === null ? null : `${error.reason} (${error.class})`,
    attempts: attempts.map((attempt) => `${attempt.at} ${attempt.reason}`).join('\n'),
    attention:
      attention === null
        ? null
        : [
            `at ${attention.step}: ${attention.reason}`,
            ...(attention.skip === null ? [] : [`it may be skipped: ${attention.skip}`]),
            ...(attention.decide ? ['whether the commit was made cannot be found out: decide'] : []),
          ].join('\n'),
    commands: commands.join('\n'),
  })
}

/** `32.0 MiB/s: the p99 of its client is 3.9 ms, its bound 4.2 ms (2x, without the copy 2.1 ms; priority normal)`. */
function paceText(pace: NonNullable<Progress['pace']>): string {
  const limit = pace.limit_bytes_per_second
  const alone = pace.baseline_ms === null ? '' : `, without the copy ${formatMilliseconds(pace.baseline_ms)}`
  return `${limit === null ? 'unlimited' : formatLimit(limit)}: ${pace.reason} (${pace.policy}${alone}; priority ${pace.priority})`
}

/** All of a drain or a restore, and a line for each server: as JSON the row would be too wide for any terminal. */
function serversText(operation: Operation, { list: lines, note }: NonNullable<Progress['servers']>): string {
  const width = Math.max(...lines.map(({ name }) => name.length), 0)
  const each = lines.map((line) => serverLine(line, width))
  return [serversTotal(operation), ...each, ...(note === null ? [] : [note])].join('\n')
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

interface ExportOptions extends CommonOptions {
  all?: boolean
  parent?: string
  since?: string
}

/** A time, or how long ago: `24h`, `7d`. */
function sinceArgument(text: string): string {
  const ago = /^(\d+)(m|h|d)$/.exec(text)
  if (ago) {
    const unitMs = { m: 60_000, h: 3_600_000, d: 86_400_000 }[ago[2] as 'm' | 'h' | 'd']
    return new Date(Date.now() - Number(ago[1]) * unitMs).toISOString()
  }
  const time = new Date(text)
  if (/^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(time.getTime())) return time.toISOString()
  throw new InvalidArgumentError('write a time such as 2026-11-22T10:00:00Z, or how long ago: 30m, 24h, 7d')
}

/** JSON lines on standard output, each as soon as it is there. */
async function exportHistory(id: string | undefined, options: ExportOptions): Promise<void> {
  const { all, since } = options
  if ((id === undefined) === (all !== true && since === undefined)) {
    throw new CliError(exitCodes.usage, 'give the id of one operation, or --all, or --since')
  }
  const { ndo } = await clientFor(options)
  const write = async (record: OperationRecord): Promise<void> => {
    if (process.stdout.write(`${JSON.stringify(record)}\n`)) return
    await once(process.stdout, 'drain')
  }
  if (id !== undefined) return write(await ndo.history(id))
  for await (const record of ndo.histories(since)) await write(record)
}

function addExport(group: Command): void {
  const command = group
    .command('export [id]')
    .option('--all', 'all operations, newest first')
    .option(
      '--since <time>',
      'all of which something was recorded since: 2026-11-22T10:00:00Z, or 30m, 24h, 7d ago',
      sinceArgument,
    )
    .description('write all that is on record as JSON lines: an operation with its log in each')
    .action(exportHistory)
  withCommonOptions(command, [
    'volant operations export 3f0c… | jq .history',
    'volant operations export --since 7d > operations.jsonl',
  ])
}

interface PaceCommandOptions extends CommonOptions {
  priority?: string
}

function addPace(group: Command): void {
  const pace = group
    .command('pace')
    .argument('<id>')
    .argument('[value]', "2x or 5ms: a bound of its clients' p99; 50M: a fixed rate; full", paceArgument)
    .option('--priority <priority>', 'beside other copies: high, normal or low', priorityArgument)
    .description('set what its copies hold to while it runs, or how they stand beside others')
    .action(async (id: string, value: string | undefined, options: PaceCommandOptions) => {
      const wish = paceWish({ ...(value !== undefined && { pace: value }), ...options })
      if (Object.keys(wish).length === 0) throw new CliError(exitCodes.usage, 'give a pace, or --priority')
      const operation = await (await clientFor(options)).ndo.setPace(id, wish)
      print(options, operation, () => operationText(operation))
    })
  withCommonOptions(pace, ['volant operations pace 3f0c… 2x', 'volant operations pace 3f0c… --priority low'])
}

export function addOperations(program: Command): void {
  const group = program
    .command('operations')
    .description('what is under way and what has been: list, watch, steer')
  withExamples(group, ['volant operations', 'volant operations list --help', 'volant operations watch 3f0c…'])
  const listing = group
    .command('list [id]', { isDefault: true })
    .description('list operations: those that need attention, then the newest; or show one, with its parts')
    .option('--active', 'only those that have not ended')
    .option('--all', 'also those that are parts of another, such as of a move')
    .option('--parent <id>', 'only the parts of this one')
    .option('--kind <kind>', 'only of this kind, for example volume.migrate')
    .option('--volume <volume>', 'only of this volume, by id or name')
    .option('--limit <n>', 'how many at most', integerArgument(1, 1000), 20)
    .action(list)
  withCommonOptions(listing, [
    'volant operations',
    'volant operations 3f0c…',
    "volant operations list --active --json | jq -r '.[].id'",
  ])
  const showing = group
    .command('show <id>')
    .description('everything about one operation, with its parts')
    .action(show)
  withCommonOptions(showing, ['volant operations show 3f0c…'])
  addAction(group, 'pause', 'pause it where it is', (ndo, id) => ndo.pause(id))
  addAction(group, 'resume', 'let a paused one, or one that needs attention, go on', (ndo, id) =>
    ndo.resume(id),
  )
  addAction(group, 'cancel', 'give it up and undo what it did; refused after the cutover', (ndo, id) =>
    ndo.cancel(id),
  )
  addUndo(group)
  addAction(
    group,
    'skip',
    'leave out the step that needs attention; refused where that is not safe',
    (ndo, id) => ndo.skip(id),
  )
  addDecide(group)
  addExport(group)
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
  addPace(group)
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
