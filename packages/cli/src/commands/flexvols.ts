import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { formatTable } from '../output/table.ts'
import { formatBytes } from '../output/units.ts'

const moveOf = ({ move }: FlexVol): string =>
  move === null ? '-' : `${move.state} ${move.percent.toFixed(0)} % to ${move.to}`

export const flexvolsText = (flexvols: readonly FlexVol[]): string =>
  formatTable(
    ['FlexVol', 'Pool', 'Aggregate', 'Volumes', 'Snapshots', 'Used', 'Limit', 'Move'],
    flexvols.map((one) => [
      one.name,
      one.host,
      `${one.aggregate}@${one.node}`,
      String(one.volumes),
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

export function addFlexvols(program: Command): void {
  const group = program.command('flexvols').description('pools of volumes, and where they are')
  const listing = group
    .command('list', { isDefault: true })
    .description('list the FlexVols, their aggregates, and their moves under way')
    .action(list)
  withCommonOptions(listing, ['volant flexvols', 'volant flexvols --json'])
}
