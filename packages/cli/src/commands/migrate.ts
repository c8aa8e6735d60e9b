import type { MigrationPlan } from '@volant/contract/ndo/migration.ts'
import { ApiError, type VolantClient } from '@volant/client'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { rateArgument } from '../output/quantity.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes, formatClock, formatRate } from '../output/units.ts'
import { resolvePool } from '../pool-name.ts'
import { paceWish, withPaceOptions, type PaceOptions } from '../pace-options.ts'
import { watchOperation } from '../watch.ts'

interface MigrateOptions extends CommonOptions, PaceOptions {
  watch?: boolean
  dryRun?: boolean
  rate?: number
  rootDisk?: boolean
}

function planText(plan: MigrationPlan): string {
  const { estimate } = plan
  return [
    `volume ${plan.volume.id}${plan.volume.name === null ? '' : ` (${plan.volume.name})`}`,
    `  from ${plan.source ?? '(nowhere yet)'}`,
    `  to   ${plan.target}`,
    formatTable(
      ['', 'Precondition', 'Finding'],
      plan.checks.map((check) => [check.ok ? 'ok' : 'NO', check.name, check.reason]),
    ),
    estimate === null
      ? 'No estimate is possible.'
      : `About ${formatBytes(estimate.bytes)} in ${formatClock(estimate.seconds)} at ${formatRate(estimate.rate)}.`,
    plan.ok ? 'It would start. Nothing was changed.' : 'It would be refused. Nothing was changed.',
  ].join('\n')
}

/** By its name or id. */
async function serverNamed(client: VolantClient, name: string): Promise<string> {
  const found = (await client.compute.list()).filter((one) => one.id === name || one.name === name)
  const [first, second] = found
  if (first === undefined) throw new ApiError(404, `There is no server '${name}'.`)
  if (second === undefined) return first.id
  throw new ApiError(409, `${found.length} servers are named '${name}'; give the id instead.`)
}

async function migrate(name: string, poolName: string, options: MigrateOptions): Promise<void> {
  const client = await clientFor(options)
  const subject =
    options.rootDisk === true
      ? { server: await serverNamed(client, name) }
      : { volume: (await client.volume.find(name)).id }
  const pools = await client.volume.pools()
  const host = resolvePool(
    poolName,
    pools.map((pool) => pool.name),
  )
  const wish = {
    ...subject,
    host,
    ...(options.rate === undefined ? {} : { rate: options.rate }),
    ...paceWish(options),
  }
  if (options.dryRun === true) {
    const plan = await client.ndo.planMigration(wish)
    print(options, plan, () => planText(plan))
    if (!plan.ok)
      throw new CliError(
        exitCodes.refused,
        plan.checks
          .filter((c) => !c.ok)
          .map((c) => c.reason)
          .join('\n'),
      )
    return
  }
  const operation = await client.ndo.migrate(wish)
  if (options.watch === true) {
    if (options.json !== true) {
      process.stderr.write(`volume ${operation.resource.id} to ${host}: operation ${operation.id}\n`)
    }
    await watchOperation(client.ndo, operation.id, options)
    return
  }
  print(options, operation, () =>
    [`operation ${operation.id} has started`, `  volant operations watch ${operation.id}`].join('\n'),
  )
}

export function addMigrate(program: Command): void {
  const command = program
    .command('migrate <volume> <pool>')
    .description('move a volume, in use or not, to another pool without disturbing who uses it')
    .option('--watch', 'show the progress; Ctrl-C stops watching, not the migration')
    .option('--root-disk', 'VOLUME is a server that was made from an image: its root disk is moved')
    .option('--dry-run', 'check every precondition and estimate time and bytes; change nothing')
    .option(
      '--rate <rate>',
      'copy no faster: 50M, 1GiB/s; 0: unlimited (default: as configured)',
      rateArgument,
    )
    .addHelpText(
      'after',
      '\nVOLUME is an id or a name. POOL is HOST@BACKEND#POOL as `cinder get-pools` lists it, or any part of it that\nmeans one pool: the backend, LIF:/junction, or the junction alone.',
    )
    .action(migrate)
  withPaceOptions(command)
  withCommonOptions(command, [
    'volant migrate data cinder-lmb --dry-run',
    'volant migrate data cinder_flexvol_OSTK09 --watch --rate 50M',
    'volant migrate --root-disk ubuntu-instance cinder-lmb --watch',
    'volant migrate 7f77d303-8b5c-4177-804f-78f77eaf5d5c HOST@cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09',
  ])
}
