import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import {
  moveCutoverActions,
  type Move,
  type MoveDocument,
  type MoveImage,
  type MovePlan,
  type MoveRequest,
} from '@volant/contract/ndo/move.ts'
import type { MoveControl, NdoClient } from '@volant/client'
import { Option, type Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { integerArgument, rateArgument } from '../output/quantity.ts'
import { formatProperties, formatTable } from '../output/table.ts'
import { formatBytes, formatClock, formatCount, formatMilliseconds, formatRate } from '../output/units.ts'
import { resolveAggregate, resolveFlexVol, titleOf } from '../storage-name.ts'
import { paceWish, withPaceOptions, type PaceOptions } from '../pace-options.ts'
import { watchOperation } from '../watch.ts'

type CutoverAction = NonNullable<MoveRequest['cutover_action']>

interface MoveOptions extends CommonOptions, PaceOptions {
  watch?: boolean
  dryRun?: boolean
  rate?: number
  cutoverWindow?: number
  cutoverAction?: CutoverAction
  waitCutover?: boolean
}

function movePlanText(plan: MovePlan, share: FlexVol['share'] = null): string {
  const { estimate, images, flexvol } = plan
  const snapshots = formatCount(images.snapshots, 'snapshot')
  return [
    share === null
      ? `FlexVol ${flexvol.name ?? flexvol.id}: ${formatCount(images.volumes, 'volume')} (${images.attached} attached), ${snapshots}`
      : `share ${share.name ?? share.id} (${share.export_location}), which stays mounted: its content, ${snapshots}`,
    `  from ${plan.from ?? '(unknown)'}`,
    `  to   ${plan.to ?? '(unknown)'}`,
    formatTable(
      ['', 'Precondition', 'Finding'],
      plan.checks.map((check) => [check.ok ? 'ok' : 'NO', check.name, check.reason]),
    ),
    ...(estimate === null
      ? ['No estimate is possible.']
      : [
          `About ${formatBytes(estimate.bytes)} in ${formatClock(estimate.seconds)} at ${formatRate(estimate.rate)}; ` +
            `${formatBytes(estimate.free_bytes)} are free there.`,
          estimate.stays_shared
            ? 'Blocks that images share are copied once, and stay shared.'
            : 'Blocks that images share are copied with each of them: not both aggregates can share blocks.',
        ]),
    plan.ok ? 'It would start. Nothing was changed.' : 'It would be refused. Nothing was changed.',
  ].join('\n')
}

function cutoverActionOf({ waitCutover, cutoverAction }: MoveOptions): CutoverAction | undefined {
  if (waitCutover !== true) return cutoverAction
  if (cutoverAction === undefined || cutoverAction === 'wait') return 'wait'
  throw new CliError(exitCodes.usage, '--wait-cutover is --cutover-action wait: give one of them')
}

async function move(name: string, aggregateName: string, options: MoveOptions): Promise<void> {
  const action = cutoverActionOf(options)
  const { ndo } = await clientFor(options)
  const flexvol = resolveFlexVol(name, await ndo.flexvols())
  const aggregate = resolveAggregate(aggregateName, await ndo.aggregates(), flexvol.cluster)
  const wish = {
    flexvol: flexvol.id,
    aggregate: aggregate.name,
    ...(options.rate !== undefined && { rate: options.rate }),
    ...paceWish(options),
    ...(options.cutoverWindow !== undefined && { cutover_window: options.cutoverWindow }),
    ...(action !== undefined && { cutover_action: action }),
  }
  if (options.dryRun === true) {
    const plan = await ndo.planMove(wish)
    print(options, plan, () => movePlanText(plan, flexvol.share))
    const reasons = plan.checks.filter((check) => !check.ok).map((check) => check.reason)
    if (!plan.ok) throw new CliError(exitCodes.refused, reasons.join('\n'))
    return
  }
  const operation = await ndo.move(wish)
  const wayTo = flexvol.share === null ? flexvol.name : flexvol.share.id
  const waits = action === 'wait' ? [`  its cutovers wait for: volant move cutover ${wayTo}`] : []
  if (options.watch === true) {
    if (options.json !== true) {
      const line = `${titleOf(flexvol)} to ${aggregate.name}@${aggregate.node}: operation ${operation.id}`
      process.stderr.write(`${[line, ...waits].join('\n')}\n`)
    }
    await watchOperation(ndo, operation.id, options)
    return
  }
  print(options, operation, () =>
    [`operation ${operation.id} has started`, `  volant operations watch ${operation.id}`, ...waits].join(
      '\n',
    ),
  )
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** The id of the move that is meant: its own, or of a FlexVol the one under way, or the latest. */
async function moveIdOf(ndo: NdoClient, wish: string): Promise<string> {
  const flexvols = await ndo.flexvols()
  if (uuid.test(wish) && flexvols.every(({ id }) => id !== wish)) return wish
  const flexvol = resolveFlexVol(wish, flexvols)
  if (flexvol.move !== null) return flexvol.move.id
  const [latest] = await ndo.moves({ flexvol: flexvol.id, limit: 1 })
  if (latest !== undefined) return latest.id
  throw new CliError(exitCodes.notFound, `${titleOf(flexvol)} has never moved`)
}

const pauseText = (ms: number | null): string => (ms === null ? '-' : formatMilliseconds(ms))

const nameOf = ({ flexvol: { id, name, share } }: Move): string =>
  share === null ? (name ?? id) : `share ${share.name ?? share.id}`

/** Of one that was given up all are where they were. */
const imagesOf = ({ progress, state }: Move): string =>
  progress === null || state === 'aborted' ? '-' : `${progress.images.moved}/${progress.images.total}`

const movesText = (moves: readonly Move[]): string =>
  formatTable(
    [
      'ID',
      'FlexVol, or share',
      'From',
      'To',
      'State',
      'Done',
      'Images',
      'Bytes',
      'Pause',
      'Started (UTC)',
      'Took',
    ],
    moves.map((one) => [
      one.id,
      nameOf(one),
      one.from,
      one.to,
      one.state,
      `${one.percent.toFixed(0)} %`,
      imagesOf(one),
      one.progress === null ? '-' : formatBytes(one.progress.done_bytes),
      pauseText(one.progress?.longest_client_pause_ms ?? null),
      one.started_at.slice(0, 19).replace('T', ' '),
      one.ended_at === null
        ? '-'
        : formatClock((Date.parse(one.ended_at) - Date.parse(one.started_at)) / 1000),
    ]),
  )

export const imagesText = (images: readonly MoveImage[]): string =>
  formatTable(
    ['Kind', 'ID', 'Name', 'In use', 'State', 'Copied', 'Of', 'Pause', 'Attempts', 'Issues'],
    images.map((image) => [
      image.kind,
      image.id,
      image.name ?? '-',
      image.attached ? 'yes' : 'no',
      image.state,
      formatBytes(image.done_bytes),
      formatBytes(image.total_bytes),
      pauseText(image.client_pause_ms),
      String(image.attempts),
      image.issues.join('\n'),
    ]),
  )

/** Everything about one move; what has parts is taken apart. */
function moveText({ move: one, images }: MoveDocument): string {
  const { progress, flexvol, ...rest } = one
  const issues = (progress?.issues ?? []).map((issue) => `${issue.at} ${issue.image}: ${issue.reason}`)
  return [
    formatProperties({
      ...rest,
      flexvol: `${flexvol.name ?? flexvol.id} (${flexvol.id})`,
      share: flexvol.share === null ? null : `${flexvol.share.name ?? '-'} (${flexvol.share.id})`,
      pool: flexvol.host,
      cutover_window: `${one.cutover_window} s`,
      longest_client_pause: pauseText(progress?.longest_client_pause_ms ?? null),
      issues: issues.join('\n'),
    }),
    imagesText(images),
  ].join('\n')
}

async function list(wish: string | undefined, options: CommonOptions & { images?: boolean; limit: number }) {
  const { ndo } = await clientFor(options)
  if (options.images === true) {
    if (wish === undefined)
      throw new CliError(exitCodes.usage, '--images is of one move: name its FlexVol, or its id')
    const shown = await ndo.movement(await moveIdOf(ndo, wish))
    return print(options, shown, () => moveText(shown))
  }
  const moves = await movesOf(ndo, wish, options.limit)
  print(options, moves, () => movesText(moves))
}

async function movesOf(ndo: NdoClient, wish: string | undefined, limit: number): Promise<Move[]> {
  if (wish === undefined) return ndo.moves({ limit })
  const flexvols = await ndo.flexvols()
  if (uuid.test(wish) && flexvols.every(({ id }) => id !== wish)) return [(await ndo.movement(wish)).move]
  return ndo.moves({ flexvol: resolveFlexVol(wish, flexvols).id, limit })
}

function addControl(
  group: Command,
  name: string,
  control: MoveControl,
  description: string,
  done: string,
): void {
  const command = group
    .command(`${name} <flexvol>`)
    .description(description)
    .action(async (wish: string, options: CommonOptions) => {
      const { ndo } = await clientFor(options)
      const shown = await ndo.controlMove(await moveIdOf(ndo, wish), control)
      print(options, shown, () => `move ${shown.id} of ${nameOf(shown)}: ${done}`)
    })
  withCommonOptions(command, [`volant move ${name} flexvol_1`, `volant move ${name} 3f0c…`])
}

/** `usual`: with what holds where they are not given. */
const cutoverOptions = (command: Command, usual: boolean): Command =>
  command
    .option(
      '--cutover-window <seconds>',
      `how long a cutover may be tried: 30 to 300${usual ? ' (default: 30)' : ''}`,
      integerArgument(30, 300),
    )
    .addOption(
      new Option(
        '--cutover-action <action>',
        `after three cutovers of an image have failed${usual ? ' (default: retry_on_failure)' : ''}`,
      ).choices([...moveCutoverActions]),
    )

function addModify(group: Command): void {
  const command = cutoverOptions(group.command('modify <flexvol>'), false)
    .description('change the cutover window or action of a move under way')
    .action(async (wish: string, options: MoveOptions) => {
      const { cutoverWindow, cutoverAction } = options
      if (cutoverWindow === undefined && cutoverAction === undefined) {
        throw new CliError(exitCodes.usage, 'say what to change: --cutover-window, --cutover-action')
      }
      const { ndo } = await clientFor(options)
      const shown = await ndo.modifyMove(await moveIdOf(ndo, wish), {
        ...(cutoverWindow !== undefined && { cutover_window: cutoverWindow }),
        ...(cutoverAction !== undefined && { cutover_action: cutoverAction }),
      })
      print(options, shown, () => `window ${shown.cutover_window} s, ${shown.cutover_action}`)
    })
  withCommonOptions(command, ['volant move modify flexvol_1 --cutover-window 60'])
}

export function addMove(program: Command): void {
  const command = cutoverOptions(program.command('move'), true)
    // Else it would take the options that stand behind the name of one of its commands.
    .enablePositionalOptions()
    .argument('<flexvol>')
    .argument('<aggregate>')
    .description(
      'move a FlexVol with all its volumes and snapshots, or a share, to another aggregate, while they are in use',
    )
    .option('--watch', 'show the progress; Ctrl-C stops watching, not the move')
    .option('--dry-run', 'check every precondition and estimate time and bytes; change nothing')
    .option(
      '--rate <rate>',
      'copy no faster, all images together: 50M, 1GiB/s; 0: unlimited (default: as configured)',
      rateArgument,
    )
    .option('--wait-cutover', 'keep live images in sync and hold their cutovers until `volant move cutover`')
    .addHelpText(
      'after',
      '\nFLEXVOL is a name, CLUSTER/NAME, the pool HOST@BACKEND#POOL as `cinder get-pools` lists it, or an id; or a share\n' +
        'by name, id or export location: its clients keep it mounted, and its snapshots go along.\n' +
        'AGGREGATE is a name of the same cluster. Pool, volumes, attachments and snapshots keep their names and ids.\n' +
        'A FlexVol that is called as one of the commands above is named CLUSTER/NAME.',
    )
    .action(move)
  withPaceOptions(command)
  withCommonOptions(command, [
    'volant move cinder_flexvol_OSTK02 aggr2 --dry-run',
    'volant move cinder_flexvol_OSTK02 aggr2 --watch --rate 100M',
    'volant move my-share aggr2 --watch',
    'volant move cinder_flexvol_OSTK02 aggr2 --wait-cutover && volant move cutover cinder_flexvol_OSTK02',
    'volant moves cinder_flexvol_OSTK02 --images',
  ])
  addControl(command, 'cutover', 'trigger', 'let held cutovers happen now', 'its cutovers are let through')
  addControl(command, 'hold', 'hold', 'hold the cutovers that have not begun', 'its cutovers are held')
  addControl(command, 'pause', 'pause', 'stop copying where it is', 'paused')
  addControl(command, 'resume', 'resume', 'let a paused move go on', 'goes on')
  addControl(
    command,
    'cancel',
    'cancel',
    'give it up, and bring back what has moved; refused after the last cutover',
    'given up; what has moved is brought back',
  )
  addModify(command)
  addMoves(program)
}

function addMoves(program: Command): void {
  const command = program
    .command('moves [flexvol]')
    .description(
      'the moves of all FlexVols and shares, or of one (by name, or the id of a move), newest first',
    )
    .option('--images', 'everything about the latest, with a line for each image')
    .option('--limit <n>', 'how many at most', integerArgument(1, 1000), 20)
    .action(list)
  withCommonOptions(command, [
    'volant moves',
    'volant moves cinder_flexvol_OSTK02',
    'volant moves cinder_flexvol_OSTK02 --images',
  ])
}
