import { createInterface } from 'node:readline'
import {
  planPolicies,
  type HostPlan,
  type PlannedServer,
  type PlanPolicy,
} from '@volant/contract/ndo/plan.ts'
import type { NdoClient, PlanWish } from '@volant/client'
import { Option, type Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { integerArgument, rateArgument } from '../output/quantity.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes, formatClock, formatCount, formatRate } from '../output/units.ts'
import { watchOperation } from '../watch.ts'

interface PlanOptions extends CommonOptions {
  dryRun?: boolean
  yes?: boolean
  parallel?: number
  rate?: number
}

interface DrainOptions extends PlanOptions {
  policy?: PlanPolicy
  to?: string[]
}

const wayText = ({ way, to, from }: PlannedServer): string => {
  if (way === null) return 'is looked at again'
  if (way === 'stop') return 'is stopped'
  if (way === 'evacuate') return 'is fenced, and started elsewhere'
  if (way === 'start') return `is started on ${from}`
  return `${way} to ${to ?? '?'}`
}

/** The plan as a table, with what stays, and what it would come to. */
function hostPlanText(plan: HostPlan, limit = 0): string {
  const { moves, stays, rests, hosts, estimate, kind, host } = plan
  const name = (server: PlannedServer): string => server.name || server.id
  const measured =
    limit > 0 && estimate.rate >= limit
      ? 'as asked for'
      : estimate.measured
        ? 'measured by the last live migrations'
        : 'assumed, for none was measured yet'
  return [
    ...(moves.length === 0
      ? [kind !== 'restore' ? `Nothing is to leave ${host}.` : `Nothing is to come back to ${host}.`]
      : [
          formatTable(
            ['Server', 'Status', 'How', 'Memory', 'Time', 'Remark'],
            moves.map((one) => [
              name(one),
              one.status,
              wayText(one),
              formatBytes(one.memory_bytes),
              one.way === null ? '-' : formatClock(one.seconds),
              one.reason === null ? '' : `waits: ${one.reason}`,
            ]),
          ),
        ]),
    ...(hosts.length === 0
      ? []
      : [
          formatTable(
            ['To', 'Free memory now', 'Free then'],
            hosts.map((one) => [one.host, formatBytes(one.free_bytes), formatBytes(one.free_after_bytes)]),
          ),
        ]),
    ...(moves.length === 0 || kind === 'evacuate'
      ? []
      : [
          estimate.bytes === 0
            ? `About ${formatClock(estimate.seconds)}, ${formatCount(plan.parallel, 'server')} at a time; no memory is copied.`
            : `About ${formatBytes(estimate.bytes)} of memory in ${formatClock(estimate.seconds)}, ` +
              `${formatCount(plan.parallel, 'server')} at a time, at ${formatRate(estimate.rate)} (${measured}).`,
        ]),
    ...(rests.length === 0 ? [] : [`Stopped, and stays on ${host}: ${rests.map(name).join(', ')}`]),
    ...(stays.length === 0
      ? []
      : [
          formatTable(
            ['Stays', 'On', 'Status', 'Why'],
            stays.map((one) => [name(one), one.from, one.status, one.reason ?? '']),
          ),
        ]),
  ].join('\n')
}

const stayText = ({ stays }: HostPlan): string =>
  stays.map((one) => `${one.name || one.id} stays on ${one.from}: ${one.reason ?? ''}`).join('\n')

/** Asks on the terminal, or reads the answer from what is piped in. No answer is a no. */
async function isConfirmed(question: string): Promise<boolean> {
  process.stderr.write(`${question} [y/N] `)
  const input = createInterface({ input: process.stdin })
  try {
    for await (const line of input) return /^y(es)?$/i.test(line.trim())
    process.stderr.write('\n')
    return false
  } finally {
    input.close()
  }
}

async function carryOut(
  ndo: NdoClient,
  wish: PlanWish,
  options: PlanOptions,
  question: string,
): Promise<void> {
  const plan = await ndo.planHost(wish)
  if (options.dryRun === true) {
    const would = plan.ok
      ? 'It would start. Nothing was changed.'
      : 'It would do what can be done, and end as failed. Nothing was changed.'
    print(options, plan, () => `${hostPlanText(plan, options.rate)}\n${would}`)
    if (!plan.ok) throw new CliError(exitCodes.refused, stayText(plan))
    return
  }
  if (options.json !== true) process.stdout.write(`${hostPlanText(plan, options.rate)}\n`)
  if (options.yes !== true && !(await isConfirmed(question))) {
    throw new CliError(exitCodes.refused, 'Nothing was changed. Without a question: --yes')
  }
  const { operation } = await ndo.startPlan(wish)
  if (options.json !== true) process.stderr.write(`operation ${operation.id}\n`)
  await watchOperation(ndo, operation.id, options)
}

async function drain(host: string, options: DrainOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const to = options.to?.flatMap((names) => names.split(',')).filter((name) => name !== '')
  const wish: PlanWish = {
    kind: 'drain',
    host,
    ...(options.policy !== undefined && { policy: options.policy }),
    ...(options.parallel !== undefined && { parallel: options.parallel }),
    ...(options.rate !== undefined && { rate: options.rate }),
    ...(to !== undefined && to.length > 0 && { to }),
  }
  await carryOut(ndo, wish, options, `Drain ${host}? No new servers will be placed on it.`)
}

async function restore(host: string, options: PlanOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const wish: PlanWish = {
    kind: 'restore',
    host,
    ...(options.parallel !== undefined && { parallel: options.parallel }),
    ...(options.rate !== undefined && { rate: options.rate }),
  }
  await carryOut(ndo, wish, options, `Restore ${host}?`)
}

async function evacuate(host: string, options: Omit<PlanOptions, 'rate'>): Promise<void> {
  const { ndo } = await clientFor(options)
  const { parallel } = options
  const wish: PlanWish = { kind: 'evacuate', host, ...(parallel !== undefined && { parallel }) }
  await carryOut(
    ndo,
    wish,
    options,
    `Evacuate ${host}? Its access to storage is closed, whether it is dead or not.`,
  )
}

const withPlanOptions = (command: Command): Command =>
  command
    .option('--dry-run', 'show who would go where, and who would stay and why; change nothing')
    .option('--yes', 'do not ask')
    .option('--parallel <n>', 'servers under way at once (default: 2)', integerArgument(1, 32))
    .option(
      '--rate <rate>',
      "each server's memory is copied no faster: 50M, 1GiB/s; 0: unlimited",
      rateArgument,
    )

export function addDrain(program: Command): void {
  const drains = withPlanOptions(
    program
      .command('drain <host>')
      .description('empty a compute host for maintenance: every server leaves it while it runs'),
  )
    .addOption(
      new Option(
        '--policy <policy>',
        'of servers without a `volant:drain` in their metadata (default: live)',
      ).choices(planPolicies),
    )
    .option('--to <hosts...>', 'only to these compute hosts (default: any other with room)')
    .addHelpText(
      'after',
      [
        '',
        'Shows the plan and asks, then shows the progress until the host is empty. The host is disabled at once, so that',
        'no new servers come. Policies: live (while it runs), cold (stopped, moved, started), stop (stopped where it is,',
        'started again by `volant restore`), hold (it stays, and the drain ends as failed). For one server:',
        '  openstack server set --property volant:drain=cold NAME',
        'Ctrl-C ends the watching only. A cancel brings back what is under way, and enables the host again; servers that have',
        'left stay where they are.',
      ].join('\n'),
    )
    .action(drain)
  withCommonOptions(drains, [
    'volant drain compute-1 --dry-run',
    'volant drain compute-1 --yes --parallel 4',
    'volant drain compute-1 --policy stop --to compute-2 compute-3',
  ])
  const restores = withPlanOptions(
    program
      .command('restore <host>')
      .description('fill a compute host again after a drain: enable it, and bring back what left it'),
  )
    .addHelpText(
      'after',
      '\nServers that somebody moved elsewhere since, and those that were deleted, are not brought back. What can not come\nback stays where it is, and the reason is told.',
    )
    .action(restore)
  const evacuations = program
    .command('evacuate <host>')
    .description('start the servers of a compute host that is down elsewhere, behind a fence at the storage')
    .option('--dry-run', 'show who would go, and who would stay and why; change nothing')
    .option('--yes', 'do not ask')
    .option('--parallel <n>', 'servers under way at once (default: 2)', integerArgument(1, 32))
    .addHelpText(
      'after',
      [
        '',
        'The host must be down, or have been forced down: nova service-force-down UUID. A server goes only when the storage has',
        'proved that the host can not write to any of its volumes; where it can not, the server stays, and the reason is told.',
        'The service stays disabled and forced down. When the host is back, what is left of its servers there is ended first;',
        'then, with the UUID of `nova service-list`: nova service-force-down --unset UUID; nova service-enable UUID.',
      ].join('\n'),
    )
    .action(evacuate)
  withCommonOptions(evacuations, ['volant evacuate compute-1 --dry-run', 'volant evacuate compute-1 --yes'])
  withCommonOptions(restores, ['volant restore compute-1 --dry-run', 'volant restore compute-1 --yes'])
}
