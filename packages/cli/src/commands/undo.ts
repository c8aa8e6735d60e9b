import type { UndoPlan } from '@volant/contract/ndo/undo.ts'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes, formatClock, formatRate } from '../output/units.ts'
import { paceWish, withPaceOptions, type PaceOptions } from '../pace-options.ts'
import { watchOperation } from '../watch.ts'

interface UndoOptions extends CommonOptions, PaceOptions {
  watch?: boolean
  dryRun?: boolean
}

const ways = {
  cancel: 'It would be given up, and what it did undone backwards.',
  revert: 'Instantly: the former image becomes the truth again, nothing is copied.',
  migrate: 'By a migration back, with every write since.',
} as const

function undoText(plan: UndoPlan): string {
  const { estimate, volume } = plan
  const table = (title: string, checks: UndoPlan['checks']): string[] =>
    checks.length === 0
      ? []
      : [
          formatTable(
            ['', title, 'Finding'],
            checks.map((c) => [c.ok ? 'ok' : 'NO', c.name, c.reason]),
          ),
        ]
  return [
    `operation ${plan.operation}`,
    ...(volume === null ? [] : [`  volume ${volume.id}${volume.name === null ? '' : ` (${volume.name})`}`]),
    ...(plan.target === null ? [] : [`  from ${plan.source ?? '(nowhere)'}`, `  to   ${plan.target}`]),
    ...(plan.until === null ? [] : [`  possible until ${plan.until}`]),
    ...(plan.method === null ? [] : [ways[plan.method]]),
    plan.reason,
    ...table('Precondition', plan.checks),
    ...table('Nobody has written since?', plan.proof),
    ...(plan.method !== 'migrate' || estimate === null
      ? []
      : [
          `About ${formatBytes(estimate.bytes)} in ${formatClock(estimate.seconds)} at ${formatRate(estimate.rate)}.`,
        ]),
    plan.ok ? 'It would start. Nothing was changed.' : 'It would be refused. Nothing was changed.',
  ].join('\n')
}

async function undo(id: string, options: UndoOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  if (options.dryRun === true) {
    const plan = await ndo.planUndo(id)
    print(options, plan, () => undoText(plan))
    if (!plan.ok) throw new CliError(exitCodes.refused, plan.reason)
    return
  }
  const started = await ndo.undo(id, paceWish(options))
  const { operation, plan } = started
  if (options.watch === true) {
    if (options.json !== true) process.stderr.write(`${plan.reason}\n`)
    // Of an operation that is given up the wished-for end is not that it succeeds.
    await watchOperation(
      ndo,
      operation.id,
      options,
      plan.method === 'cancel' ? ['cancelled', 'failed'] : undefined,
    )
    return
  }
  print(options, started, () =>
    [
      plan.reason,
      plan.method === 'cancel'
        ? `operation ${operation.id} is being undone`
        : `operation ${operation.id} (${operation.kind}) has started`,
      `  volant operations watch ${operation.id}`,
    ].join('\n'),
  )
}

/** The same command at the top and among `volant operations`. */
export function addUndo(parent: Command): void {
  const command = parent
    .command('undo <operation>')
    .description(
      'take an operation back: give it up, or bring a volume that has moved back, with every write since',
    )
    .option('--watch', 'show the progress; Ctrl-C stops watching, not the undo')
    .option('--dry-run', 'say how it would be undone, and why; change nothing')
    .addHelpText(
      'after',
      '\nA migration can be undone while its source is kept (`volant operations show ID` says until when). The volume\nmigrates back while it is in use. One that was detached, and that nobody has written to since, goes back at once.',
    )
    .action(undo)
  withPaceOptions(command)
  withCommonOptions(command, ['volant undo 3f0c… --dry-run', 'volant undo 3f0c… --watch'])
}
