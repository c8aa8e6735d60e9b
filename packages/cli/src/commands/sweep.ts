import { straysLeft, type Stray, type SweepReport } from '@volant/contract/ndo/sweep.ts'
import { InvalidArgumentError, type Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes, formatClock } from '../output/units.ts'

const longest = 40

/** So that a table fits; `--json` has it whole. */
const wrapped = (text: string): string => {
  const lines: string[] = []
  for (const word of text.match(new RegExp(`\\S{1,${longest}}`, 'g')) ?? []) {
    const line = lines.at(-1)
    if (line !== undefined && line.length + word.length < longest) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines.join('\n')
}

const row = (stray: Stray): string[] => [
  stray.kind,
  stray.place,
  wrapped(stray.what),
  formatClock(stray.age_seconds),
  stray.size_bytes === 0 ? '-' : formatBytes(stray.size_bytes),
  wrapped(stray.proof === null ? stray.reason : `${stray.reason}: ${stray.proof}`),
  stray.action,
  wrapped(stray.advice ?? '-'),
]

export function sweepText(report: SweepReport): string {
  const { examined, owned, busy, strays, unreachable } = report
  const looked = `Looked at ${examined}: ${owned} owned, ${busy} perhaps in an operation's hands.`
  const left = straysLeft(report)
  const summary =
    strays.length === 0
      ? `No strays. ${looked}`
      : `${strays.length} strays, ${left === 0 ? 'none is left' : `${left} left`}. ${looked}`
  const table = formatTable(
    ['Kind', 'Where', 'What', 'Age', 'Size', 'Why', 'Action', 'What to do'],
    strays.map(row),
  )
  return [
    ...(strays.length === 0 ? [] : [table]),
    summary,
    ...unreachable.map(({ place, reason }) => `Not looked at: ${place} does not answer (${reason})`),
  ].join('\n')
}

const seconds = (text: string): number => {
  if (/^\d{1,5}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It must be a whole number of seconds.')
}

async function sweep(options: CommonOptions & { dryRun?: boolean; grace?: number }): Promise<void> {
  const grace = options.grace === undefined ? {} : { graceSeconds: options.grace }
  const report = await (await clientFor(options)).ndo.sweep({ dryRun: options.dryRun === true, ...grace })
  print(options, report, () => sweepText(report))
}

export function addSweep(program: Command): void {
  const command = program
    .command('sweep')
    .description(
      'look for what no record owns; what is provably ours and finished is removed, the rest is listed',
    )
    .option('--dry-run', 'say what would be removed, and remove nothing')
    .option('--grace <seconds>', 'with --dry-run: leave out what is younger (default: 30)', seconds)
    .action(sweep)
  withCommonOptions(command, ['volant sweep --dry-run', 'volant sweep --json | jq .strays'])
}
