import type { Command } from 'commander'
import { clientFor, print, withCommonOptions, type CommonOptions } from '../context.ts'
import { formatTable } from '../output/table.ts'

const text = (value: unknown): string =>
  value === null || value === undefined || value === '' ? '-' : String(value)

async function volumes(options: CommonOptions): Promise<void> {
  const list = await (await clientFor(options)).volume.list()
  print(options, list, () =>
    formatTable(
      ['ID', 'Name', 'Status', 'Size', 'Host', 'Migration', 'Attached to'],
      list.map((volume) => [
        volume.id,
        text(volume.name),
        volume.status,
        `${volume.size} GiB`,
        text(volume['os-vol-host-attr:host']),
        text(volume['os-vol-mig-status-attr:migstat']),
        text(volume.attachments.map((attachment) => attachment.server_id).join(' ')),
      ]),
    ),
  )
}

async function servers(options: CommonOptions): Promise<void> {
  const list = await (await clientFor(options)).compute.list()
  print(options, list, () =>
    formatTable(
      ['ID', 'Name', 'Status', 'Host', 'Volumes'],
      list.map((server) => [
        server.id,
        server.name,
        server.status,
        text(server['OS-EXT-SRV-ATTR:host']),
        text((server['os-extended-volumes:volumes_attached'] ?? []).map((volume) => volume.id).join(' ')),
      ]),
    ),
  )
}

async function pools(options: CommonOptions): Promise<void> {
  const list = await (await clientFor(options)).volume.pools()
  print(options, list, () =>
    formatTable(
      ['Pool', 'Total GiB', 'Free GiB', 'Provisioned GiB'],
      list.map(({ name, capabilities }) => [
        name,
        text(capabilities.total_capacity_gb),
        text(capabilities.free_capacity_gb),
        text(capabilities.provisioned_capacity_gb),
      ]),
    ),
  )
}

export function addLists(program: Command): void {
  const lists: [string, string, (options: CommonOptions) => Promise<void>][] = [
    ['volumes', 'list the volumes of all projects', volumes],
    ['servers', 'list the servers of all projects', servers],
    ['pools', 'list the pools that volumes can live in', pools],
  ]
  for (const [name, description, action] of lists) {
    const command = program.command(name).description(description).action(action)
    withCommonOptions(command, [`volant ${name}`, `volant ${name} --json`])
  }
}
