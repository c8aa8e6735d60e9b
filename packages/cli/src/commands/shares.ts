import type { Share, ShareDetail, ShareMount } from '@volant/contract/ndo/share.ts'
import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { formatProperties, formatTable } from '../output/table.ts'
import { formatBytes } from '../output/units.ts'
import { resolveShare } from '../storage-name.ts'

const amount = (bytes: number | null): string => (bytes === null ? '-' : formatBytes(bytes))
const time = (iso: string): string => iso.slice(0, 19).replace('T', ' ')

const statusOf = ({ status, task_state }: Share): string =>
  task_state === null || status !== 'migrating' ? status : `${status} (${task_state})`

const moveOf = ({ move }: Share): string =>
  move === null ? '-' : `${move.state} ${move.percent.toFixed(0)} % to ${move.to}`

export const sharesText = (shares: readonly Share[]): string =>
  shares.length === 0
    ? 'There are no shares. `manila create NFS 1 --name docs` makes one.'
    : [
        formatTable(
          [
            'ID',
            'Name',
            'Project',
            'Status',
            'Size',
            'Used',
            'Snapshots',
            'Clients',
            'Host',
            'Export location',
            'Move',
            'Since (UTC)',
          ],
          shares.map((one) => [
            one.id,
            one.name ?? '-',
            one.project_id,
            statusOf(one),
            formatBytes(one.size_bytes),
            amount(one.used_bytes),
            String(one.snapshots),
            one.clients === null ? '-' : String(one.clients),
            one.host ?? '-',
            one.export_location ?? '-',
            moveOf(one),
            time(one.created_at),
          ]),
        ),
        ...troublesOf(shares),
      ].join('\n')

const troublesOf = (shares: readonly Share[]): string[] =>
  shares.flatMap(({ id, name, trouble }) =>
    trouble === null ? [] : [`! Share ${name ?? id} is in trouble: ${trouble}`],
  )

export function shareText(detail: ShareDetail): string {
  const { share, processes, snapshots, access_rules, mounts, ...rest } = detail
  const { flexvol, move: _move, size_bytes, used_bytes, ...facts } = share
  return [
    formatProperties({
      ...facts,
      ...rest,
      size: formatBytes(size_bytes),
      used: amount(used_bytes),
      flexvol: flexvol === null ? null : `${flexvol.name} (${flexvol.id})`,
      move: moveOf(share),
      processes: processes.map(({ what, pid }) => `${pid} ${what}`).join('\n'),
    }),
    ...section('Access rules', access_rules.length, 'nobody has access', () =>
      formatTable(
        ['ID', 'To', 'Level', 'State'],
        access_rules.map(({ id, to, level, state }) => [id, to, level, state]),
      ),
    ),
    ...section('Clients', mounts.length, 'none is connected', () => mountsText(mounts)),
    ...section('Snapshots', snapshots.length, 'none', () =>
      formatTable(
        ['ID', 'Name', 'Status', 'Made (UTC)'],
        snapshots.map(({ id, name, status, created_at }) => [id, name ?? '-', status, time(created_at)]),
      ),
    ),
    ...troublesOf([share]),
  ].join('\n')
}

const section = (title: string, count: number, none: string, table: () => string): string[] =>
  count === 0 ? [`${title}: ${none}`] : [`${title}:`, table()]

function mountsText(mounts: readonly ShareMount[]): string {
  const table = formatTable(
    ['Address', 'NFS', 'Access', 'Last seen (UTC)', 'Certain'],
    mounts.map((mount) => [
      mount.address,
      mount.version ?? '-',
      mount.access ?? 'none any more',
      mount.last_seen === null ? '-' : time(mount.last_seen),
      mount.is_certain ? 'yes' : 'no',
    ]),
  )
  if (mounts.every(({ is_certain }) => is_certain)) return table
  const note =
    "Not certain: it is connected to the share's server and has access, but the server does not say what it has mounted."
  return `${table}\n${note}`
}

async function list(options: CommonOptions): Promise<void> {
  const shares = await (await clientFor(options)).ndo.shares()
  print(options, shares, () => sharesText(shares))
}

async function show(wish: string, options: CommonOptions): Promise<void> {
  const { ndo } = await clientFor(options)
  const detail = await ndo.share(resolveShare(wish, await ndo.shares()).id)
  print(options, detail, () => shareText(detail))
}

export function addShares(program: Command): void {
  const listing = program
    .command('shares')
    .description('list the shares of all projects, where they are, and how many clients have them mounted')
    .action(list)
  withCommonOptions(listing, ['volant shares', 'volant shares --json'])
  const showing = program
    .command('share <share>')
    .description('everything about one share: who has it mounted, who may, and which processes serve it')
    .addHelpText(
      'after',
      '\nSHARE is a name, an id, or the export location.\nIt is made, extended, opened to clients and deleted with `manila`; `volant move SHARE AGGREGATE` moves it.',
    )
    .action(show)
  withCommonOptions(showing, ['volant share docs', 'volant share docs --json | jq .mounts'])
}
