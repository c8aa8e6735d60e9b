import type { Server, Volume } from '@volant/client'
import { formatProperties } from '@volant/cli'

/** The tables of `nova` and `cinder`, made from the same answers. */

const pythonList = (values: readonly string[]): string =>
  `[${values.map((value) => `'${value}'`).join(', ')}]`

const metadataText = (metadata: unknown): string =>
  Object.entries((metadata ?? {}) as Record<string, unknown>)
    .map(([key, value]) => `${key} : ${String(value)}`)
    .join('\n')

/** As `cinder show` and `cinder create` have it. */
export function volumeTable(volume: Volume): string {
  const { links: _links, attachments, metadata, ...rest } = volume
  const parts = attachments as { server_id: string; attachment_id?: string }[]
  return formatProperties({
    ...rest,
    attached_servers: pythonList(parts.map((part) => part.server_id)),
    attachment_ids: pythonList(parts.map((part) => part.attachment_id ?? '')),
    metadata: metadataText(metadata),
  })
}

const dashed = (properties: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, value ?? '-']))

/** As `nova show` and `nova boot` have it. */
export function serverTable(server: Server, imageName: string): string {
  const {
    links: _links,
    flavor,
    image,
    addresses: _addresses,
    'OS-EXT-SRV-ATTR:user_data': _userData,
    ...rest
  } = server
  const flat = Object.fromEntries(Object.entries(flavor).map(([name, value]) => [`flavor:${name}`, value]))
  const imageId = image as { id?: string } | ''
  const imageText =
    imageId === '' ? 'Attempt to boot from volume - no image supplied' : `${imageName} (${imageId.id})`
  return formatProperties(dashed({ ...rest, ...flat, image: imageText }))
}

/** As `nova volume-attach` has it. */
export const attachmentTable = (attachment: Record<string, unknown>): string =>
  formatProperties(dashed(attachment))
