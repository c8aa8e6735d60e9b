import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import type { VacatePlan } from '@volant/contract/ndo/vacate.ts'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { rateArgument } from '../output/quantity.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes, formatClock, formatCount, formatRate } from '../output/units.ts'
import { resolveAggregate, resolveVacated, titleOf } from '../storage-name.ts'
import { paceWish, withPaceOptions, type PaceOptions } from '../pace-options.ts'
import { watchOperation } from '../watch.ts'

interface VacateOptions extends CommonOptions, PaceOptions {
  to?: string[]
  watch?: boolean
  dryRun?: boolean
  rate?: number
}

/** The plan with shares called by what people call them, as everywhere else. */
export function withShareNames(plan: VacatePlan, flexvols: readonly FlexVol[]): VacatePlan {
  const titles = new Map(
    flexvols.filter(({ share }) => share !== null).map((one) => [one.name, titleOf(one)]),
  )
  const called = (name: string): string => titles.get(name) ?? name
  const named = <T extends { flexvol: { id: string; name: string } }>(one: T): T => ({
    ...one,
    flexvol: { ...one.flexvol, name: called(one.flexvol.name) },
  })
  return {
    ...plan,
    moves: plan.moves.map(named),
    stuck: plan.stuck.map(named),
    retained: plan.retained.map((one) => ({ ...one, flexvol: called(one.flexvol) })),
  }
}

/** What earlier migrations have left, and until when. */
function retainedText({ retained }: VacatePlan): string[] {
  if (retained.length === 0) return []
  return retained.map(
    ({ images, flexvol, aggregate, until }) =>
      `${formatCount(images, 'image')} of ${flexvol} kept from before ${images === 1 ? 'stays' : 'stay'} on ${aggregate}, read-only` +
      (until === null
        ? `, and ${images === 1 ? 'goes by itself' : 'go by themselves'}.`
        : `, until ${until} at the latest.`),
  )
}

export function vacatePlanText(plan: VacatePlan): string {
  const { moves, stuck, targets, estimate } = plan
  const time = (seconds: number): string => formatClock(seconds)
  return [
    `to be emptied: ${plan.aggregates.join(', ')}`,
    ...(moves.length === 0
      ? ['Nothing is to be moved.']
      : [
          formatTable(
            ['FlexVol, or share', 'From', 'To', 'Bytes', 'Time'],
            moves.map((move) => [
              move.flexvol.name,
              move.from,
              move.to,
              formatBytes(move.bytes),
              move.under_way === null ? time(move.seconds) : `under way: ${move.under_way}`,
            ]),
          ),
          formatTable(
            ['Aggregate', 'Free now', 'Free then'],
            targets.map((one) => [
              one.aggregate,
              formatBytes(one.free_bytes),
              formatBytes(one.free_after_bytes),
            ]),
          ),
          `About ${formatBytes(estimate.bytes)} in ${time(estimate.seconds)} at ${formatRate(estimate.rate)}.`,
        ]),
    ...(stuck.length === 0
      ? []
      : [
          formatTable(
            ['Stays', 'On', 'Bytes', 'Why'],
            stuck.map((one) => [one.flexvol.name, one.from, formatBytes(one.bytes), one.reason]),
          ),
        ]),
    ...retainedText(plan),
    plan.ok
      ? 'It would start. Nothing was changed.'
      : moves.length > 0
        ? 'It would move what can move, and end as failed. Nothing was changed.'
        : 'It would be refused. Nothing was changed.',
  ].join('\n')
}

const stuckReasons = ({ stuck }: VacatePlan): string =>
  stuck.map((one) => `${one.flexvol.name} stays: ${one.reason}`).join('\n')

async function vacate(name: string, options: VacateOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const aggregates = await ndo.aggregates()
  const vacated = resolveVacated(name, aggregates)
  const to = options.to?.map((one) => resolveAggregate(one, aggregates, vacated.cluster).name)
  const wish = {
    ...vacated,
    ...(to !== undefined && { to }),
    ...(options.rate !== undefined && { rate: options.rate }),
    ...paceWish(options),
  }
  if (options.dryRun === true) {
    const plan = await ndo.planVacate(wish)
    const shown = withShareNames(plan, await ndo.flexvols())
    print(options, plan, () => vacatePlanText(shown))
    if (!plan.ok) throw new CliError(exitCodes.refused, stuckReasons(shown))
    return
  }
  // Before it begins: nothing may stand between the start and its progress.
  const flexvols = await ndo.flexvols()
  const started = await ndo.vacate(wish)
  const { operation } = started
  const plan = withShareNames(started.plan, flexvols)
  const said = [...plan.stuck.map((one) => `${one.flexvol.name} stays: ${one.reason}`), ...retainedText(plan)]
  if (options.watch === true) {
    if (options.json !== true) {
      const what = `${formatCount(plan.moves.length, 'FlexVol')} to leave ${plan.aggregates.join(', ')}: operation ${operation.id}`
      process.stderr.write(`${[what, ...said].join('\n')}\n`)
    }
    await watchOperation(ndo, operation.id, options)
    return
  }
  print(options, started, () =>
    [
      `operation ${operation.id} has started: ${formatCount(plan.moves.length, 'FlexVol')} to move`,
      ...said,
      `  volant operations watch ${operation.id}`,
    ].join('\n'),
  )
}

export function addVacate(program: Command): void {
  const command = program
    .command('vacate <aggregate|node>')
    .description(
      'empty an aggregate, or all aggregates of a storage node: move every FlexVol to others of its cluster',
    )
    .option(
      '--to <aggregates>',
      'only to these, separated by commas (default: any other of the cluster)',
      (text) => text.split(',').filter((one) => one !== ''),
    )
    .option('--watch', 'show the progress of all moves; Ctrl-C stops watching, nothing else')
    .option('--dry-run', 'show what would move where, what would not and why; change nothing')
    .option('--rate <rate>', 'each move copies no faster: 50M, 1GiB/s; 0: unlimited', rateArgument)
    .addHelpText(
      'after',
      '\nMeanwhile nothing new is placed there. A cancel ends the moves under way and brings back what they have moved;\nFlexVols that have arrived stay where they are.',
    )
    .action(vacate)
  withPaceOptions(command)
  withCommonOptions(command, [
    'volant vacate aggr1 --dry-run',
    'volant vacate cinder-lma/aggr1 --to aggr2,aggr3 --watch',
    'volant vacate lma-01 --watch',
  ])
}
