import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, withExamples, type CommonOptions } from '../context.ts'
import { sizeArgument } from '../output/quantity.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes } from '../output/units.ts'
import { resolveAggregate, resolveFlexVol, titleOf } from '../storage-name.ts'
import { watchOperation } from '../watch.ts'

const moveOf = ({ move }: FlexVol): string =>
  move === null ? '-' : `${move.state} ${move.percent.toFixed(0)} % to ${move.to}`

export const flexvolsText = (flexvols: readonly FlexVol[]): string =>
  formatTable(
    ['FlexVol', 'Pool, or share', 'Aggregate', 'Volumes', 'Snapshots', 'Used', 'Limit', 'Move'],
    flexvols.map((one) => [
      one.share === null ? one.name : titleOf(one),
      one.host ?? one.share?.export_location ?? '-',
      `${one.aggregate}@${one.node}`,
      one.share === null ? String(one.volumes) : '-',
      String(one.snapshots),
      one.used_bytes === null ? '-' : formatBytes(one.used_bytes),
      one.size_bytes === null ? '-' : formatBytes(one.size_bytes),
      moveOf(one),
    ]),
  )

async function list(options: CommonOptions): Promise<void> {
  const flexvols = await (await clientFor(options)).ndo.flexvols()
  print(options, flexvols, () => flexvolsText(flexvols))
}

interface CreateOptions extends CommonOptions {
  aggregate: string
  size?: number
  junctionPath?: string
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const aggregate = resolveAggregate(options.aggregate, await ndo.aggregates())
  const operation = await ndo.createFlexVol({
    cluster: aggregate.cluster,
    name,
    aggregate: aggregate.name,
    ...(options.size !== undefined && { size_bytes: options.size }),
    ...(options.junctionPath !== undefined && { junction_path: options.junctionPath }),
  })
  await watchOperation(ndo, operation.id, options)
}

async function resize(name: string, size: number | null, options: CommonOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const flexvol = await ndo.resizeFlexVol(resolveFlexVol(name, await ndo.flexvols()).id, size)
  print(options, flexvol, () => flexvolsText([flexvol]))
}

async function remove(name: string, options: CommonOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const operation = await ndo.removeFlexVol(resolveFlexVol(name, await ndo.flexvols()).id)
  await watchOperation(ndo, operation.id, options)
}

export function addFlexvols(program: Command): void {
  const group = program
    .command('flexvols')
    .description('pools of volumes, and shares, and where they are: list, create, resize and delete')
  withExamples(group, ['volant flexvols', 'volant flexvols --json', 'volant flexvols create --help'])
  const listing = group
    .command('list', { isDefault: true })
    .description('list the FlexVols, their aggregates, and their moves under way')
    .action(list)
  withCommonOptions(listing, ['volant flexvols', 'volant flexvols --json'])
  const creating = group
    .command('create <name>')
    .requiredOption('--aggregate <aggregate>', 'where: NAME, CLUSTER/NAME or NAME@NODE')
    .option(
      '--size <size>',
      'what its images may occupy (default: as much as the aggregate has)',
      sizeArgument,
    )
    .option('--junction-path <path>', 'the second half of its pool (default: /NAME)')
    .description('make a FlexVol, which is a pool at once')
    .action(create)
  withCommonOptions(creating, ['volant flexvols create gold --aggregate cinder-lma/aggr2 --size 100GiB'])
  const resizing = group
    .command('resize')
    .argument('<flexvol>')
    .argument('<size>', 'such as 200GiB; none: as much as the aggregate has', (text) =>
      text === 'none' ? null : sizeArgument(text),
    )
    .description('change what its images may occupy; refused below what they do')
    .action(resize)
  withCommonOptions(resizing, ['volant flexvols resize gold 200GiB', 'volant flexvols resize gold none'])
  const removing = group
    .command('delete <flexvol>')
    .description('remove a FlexVol that is empty and was not made by the configuration file')
    .action(remove)
  withCommonOptions(removing, ['volant flexvols delete gold'])
}
