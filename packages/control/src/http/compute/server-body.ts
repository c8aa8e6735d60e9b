import { DomainError } from '@volant/contract'
import type { FastifyRequest } from 'fastify'
import Type, { type Static } from 'typebox'
import type { ServerRequest } from '../../app/server-create.ts'
import type { BlockDeviceEntry } from '../../domain/block-device-mapping.ts'
import { nameText } from '../parse.ts'
import { since } from './request.ts'
import {
  bodyOf,
  boolean,
  description,
  hostName,
  integer,
  metadata,
  name,
  requireKnown,
  strict,
  tag,
  toBoolean,
  toInteger,
  unexpected,
  uuid,
} from './schema.ts'

const blockDevice = strict({
  virtual_name: Type.Optional(nameText()),
  volume_id: Type.Optional(uuid()),
  snapshot_id: Type.Optional(uuid()),
  image_id: Type.Optional(uuid()),
  volume_size: Type.Optional(integer(0)),
  device_name: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9._/-]*$' })),
  delete_on_termination: Type.Optional(boolean()),
  no_device: Type.Optional(Type.Unknown()),
  connection_info: Type.Optional(nameText({ maxLength: 65535 })),
  source_type: Type.Optional(Type.Enum(['volume', 'image', 'snapshot', 'blank'])),
  uuid: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9._-]*$' })),
  destination_type: Type.Optional(Type.Enum(['local', 'volume'])),
  guest_format: Type.Optional(Type.Union([nameText(), Type.Null()])),
  device_type: Type.Optional(Type.Union([nameText(), Type.Null()])),
  disk_bus: Type.Optional(Type.Union([nameText(), Type.Null()])),
  boot_index: Type.Optional(Type.Union([integer(-1), Type.Null()])),
  tag: Type.Optional(tag()),
  volume_type: Type.Optional(Type.Union([nameText({ maxLength: 255 }), Type.Null()])),
})

const legacyFields = [
  'virtual_name',
  'volume_id',
  'snapshot_id',
  'volume_size',
  'device_name',
  'delete_on_termination',
  'no_device',
  'connection_info',
]

const network = strict({
  uuid: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9:._-]+$' })),
  port: Type.Optional(Type.Union([uuid(), Type.Null()])),
  fixed_ip: Type.Optional(Type.String({ maxLength: 64, pattern: '^[0-9A-Fa-f:.]+$' })),
  tag: Type.Optional(tag()),
})

/** Others than the group are for filters that there are not. */
const hints = Type.Object({ group: Type.Optional(uuid()) }, { additionalProperties: Type.Unknown() })

const createBody = strict({
  server: strict({
    name: name(),
    flavorRef: Type.Union([
      Type.String({ minLength: 1, maxLength: 2048, pattern: '^[^\\u0000-\\u001f\\u007f]+$' }),
      Type.Integer({ minimum: 0 }),
    ]),
    imageRef: Type.Optional(Type.String({ maxLength: 2048, pattern: '^[^\\u0000-\\u001f\\u007f]*$' })),
    adminPass: Type.Optional(nameText()),
    metadata: Type.Optional(metadata()),
    networks: Type.Optional(Type.Union([Type.Array(network, { maxItems: 16 }), Type.Enum(['none', 'auto'])])),
    'OS-DCF:diskConfig': Type.Optional(Type.Enum(['AUTO', 'MANUAL'])),
    accessIPv4: Type.Optional(nameText({ maxLength: 64 })),
    accessIPv6: Type.Optional(nameText({ maxLength: 64 })),
    personality: Type.Optional(
      Type.Array(strict({ path: nameText(), contents: Type.String() }), { maxItems: 5 }),
    ),
    availability_zone: Type.Optional(name()),
    block_device_mapping: Type.Optional(Type.Array(blockDevice, { maxItems: 64 })),
    block_device_mapping_v2: Type.Optional(Type.Array(blockDevice, { maxItems: 64 })),
    config_drive: Type.Optional(boolean()),
    key_name: Type.Optional(name()),
    min_count: Type.Optional(integer(1)),
    max_count: Type.Optional(integer(1)),
    return_reservation_id: Type.Optional(boolean()),
    security_groups: Type.Optional(Type.Array(strict({ name: Type.Optional(name()) }), { maxItems: 64 })),
    user_data: Type.Optional(Type.String({ maxLength: 65535, pattern: '^[A-Za-z0-9+/=\\r\\n]*$' })),
    description: Type.Optional(description()),
    tags: Type.Optional(Type.Array(tag(), { maxItems: 50 })),
    trusted_image_certificates: Type.Optional(
      Type.Union([
        Type.Array(nameText({ minLength: 1 }), { minItems: 1, maxItems: 50, uniqueItems: true }),
        Type.Null(),
      ]),
    ),
    host: Type.Optional(hostName()),
    hypervisor_hostname: Type.Optional(hostName()),
    hostname: Type.Optional(
      Type.String({ minLength: 2, maxLength: 63, pattern: '^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$' }),
    ),
  }),
  'os:scheduler_hints': Type.Optional(hints),
  'OS-SCH-HNT:scheduler_hints': Type.Optional(hints),
})

const addedFields = {
  description: '2.19',
  tags: '2.52',
  trusted_image_certificates: '2.63',
  host: '2.74',
  hypervisor_hostname: '2.74',
  hostname: '2.90',
}

const parseCreate = bodyOf(createBody)

export interface CreateAnswer {
  request: ServerRequest
  adminPass: string
  securityGroups: { name: string }[]
  returnsReservation: boolean
}

/** `POST /servers`. Throws `invalid` as the schema of the request's microversion would. */
export function parseServerRequest(request: FastifyRequest): CreateAnswer {
  const body = parseCreate(request.body)
  const { server } = body
  const { group } = body['os:scheduler_hints'] ?? body['OS-SCH-HNT:scheduler_hints'] ?? {}
  requireKnown(request.computeVersion, server, addedFields)
  if (since(request, '2.57') && 'personality' in server) throw unexpected('personality')
  if (since(request, '2.37') && server.networks === undefined) {
    throw new DomainError('invalid', "'networks' is a required property")
  }
  if (!since(request, '2.37') && typeof server.networks === 'string') {
    throw new DomainError(
      'invalid',
      `Invalid input for field/attribute networks. Value: ${server.networks}. It must be array.`,
    )
  }
  const minCount = toInteger(server.min_count ?? 1, 'min_count', 1, 1000)
  const maxCount = toInteger(server.max_count ?? minCount, 'max_count', 1, 1000)
  if (minCount > maxCount) throw new DomainError('invalid', 'min_count must be <= max_count')
  const names = (server.security_groups ?? []).flatMap((group) =>
    group.name === undefined ? [] : [group.name],
  )
  return {
    request: {
      name: server.name,
      description: since(request, '2.19') ? (server.description ?? null) : server.name,
      ...(server.hostname === undefined ? {} : { hostname: server.hostname }),
      flavorId: lastPart(String(server.flavorRef)),
      ...imageOf(server.imageRef),
      blockDevices: blockDevicesOf(request, server),
      bridges: bridgesOf(server.networks),
      metadata: server.metadata ?? {},
      tags: [...new Set(server.tags)],
      keyName: server.key_name ?? null,
      userData: server.user_data ?? null,
      configDrive: server.config_drive !== undefined && toBoolean(server.config_drive),
      securityGroups: names,
      trustedCerts: server.trusted_image_certificates ?? null,
      ...(server.availability_zone === undefined ? {} : { availabilityZone: server.availability_zone }),
      ...hostOf(server),
      ...(group === undefined ? {} : { groupId: group }),
      minCount,
      maxCount,
    },
    adminPass: server.adminPass ?? randomPassword(),
    securityGroups: (names.length === 0 ? ['default'] : names).map((each) => ({ name: each })),
    returnsReservation: server.return_reservation_id !== undefined && toBoolean(server.return_reservation_id),
  }
}

type Body = Static<typeof createBody>['server']

/** A flavor or image may be given by its URL. */
const lastPart = (reference: string): string => reference.split('/').at(-1) ?? ''

function imageOf(reference: string | undefined): { imageId?: string } {
  if (reference === undefined || reference === '') return {}
  const imageId = lastPart(reference)
  if (/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(imageId)) return { imageId }
  throw new DomainError('invalid', 'Invalid imageRef provided.')
}

function hostOf(server: Body): { host?: string } {
  const { host, hypervisor_hostname: hypervisor } = server
  if (host !== undefined && hypervisor !== undefined && host !== hypervisor) {
    throw new DomainError('invalid', `Compute host ${host} has no hypervisor ${hypervisor}.`)
  }
  const chosen = host ?? hypervisor
  return chosen === undefined ? {} : { host: chosen }
}

/** 15 characters are Linux's limit for the name of an interface. */
export const bridgeName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/

/**
 * There is no network service: a network is a bridge of the compute host, given by its name where Neutron's
 * UUID would be (`--nic net-id=br0`).
 */
function bridgesOf(networks: Body['networks']): string[] {
  if (networks === undefined || typeof networks === 'string') return []
  return networks.map(({ uuid: id, port }) => {
    if (port !== undefined && port !== null) {
      throw new DomainError(
        'invalid',
        `Port ${port} could not be found. There is no network service: give a bridge by its name as the network.`,
      )
    }
    if (id === undefined) throw new DomainError('invalid', "Bad network format: missing 'uuid'")
    const bridge = id.startsWith('bridge:') ? id.slice('bridge:'.length) : id
    if (bridgeName.test(bridge)) return bridge
    throw new DomainError(
      'invalid',
      `Network ${id} could not be found. There is no network service: give a bridge of the compute host by its ` +
        "name, or 'none'.",
    )
  })
}

function blockDevicesOf(request: FastifyRequest, server: Body): BlockDeviceEntry[] {
  const legacy = server.block_device_mapping ?? []
  const current = server.block_device_mapping_v2 ?? []
  if (legacy.length > 0 && current.length > 0) {
    throw new DomainError(
      'invalid',
      'Using different block_device_mapping syntaxes is not allowed in the same request.',
    )
  }
  for (const entry of legacy) {
    const stranger = Object.keys(entry).find((field) => !legacyFields.includes(field))
    if (stranger !== undefined) throw unexpected(stranger)
  }
  for (const entry of current) {
    if ('tag' in entry && !since(request, '2.42') && request.computeVersion.minor !== 32) {
      throw unexpected('tag')
    }
    requireKnown(request.computeVersion, entry, { volume_type: '2.67' })
  }
  return [...legacy.map(legacyEntry), ...current.map(currentEntry)]
}

type BlockDevice = Static<typeof blockDevice>

const sizeOf = ({ volume_size: size }: BlockDevice): { sizeGib?: number } => {
  if (size === undefined) return {}
  const sizeGib = toInteger(size, 'volume_size', 0)
  return sizeGib === 0 ? {} : { sizeGib }
}

const commonOf = (entry: BlockDevice) => ({
  ...sizeOf(entry),
  deleteOnTermination: entry.delete_on_termination !== undefined && toBoolean(entry.delete_on_termination),
  ...(entry.device_name === undefined ? {} : { deviceName: entry.device_name }),
  noDevice: entry.no_device !== undefined && entry.no_device !== null && entry.no_device !== false,
})

/** The first version's syntax boots from a volume by its device name, `vda`. */
const legacyEntry = (entry: BlockDevice): BlockDeviceEntry => ({
  ...commonOf(entry),
  sourceType: entry.snapshot_id === undefined ? 'volume' : 'snapshot',
  destinationType: 'volume',
  bootIndex: /^(?:\/dev\/)?[a-z]*a$/.test(entry.device_name ?? '') ? 0 : null,
  ...uuidOf(entry.volume_id ?? entry.snapshot_id),
})

const uuidOf = (id: string | undefined): { uuid?: string } => (id === undefined ? {} : { uuid: id })

function currentEntry(entry: BlockDevice): BlockDeviceEntry {
  const { boot_index: bootIndex, volume_type: volumeType } = entry
  const sourceType =
    entry.source_type ??
    (entry.volume_id !== undefined ? 'volume' : entry.image_id !== undefined ? 'image' : undefined)
  const destinationType =
    entry.destination_type ?? (sourceType === 'volume' || sourceType === 'snapshot' ? 'volume' : undefined)
  return {
    ...commonOf(entry),
    ...(sourceType === undefined ? {} : { sourceType }),
    ...(destinationType === undefined ? {} : { destinationType }),
    ...uuidOf(entry.uuid ?? entry.volume_id ?? entry.image_id ?? entry.snapshot_id),
    bootIndex:
      bootIndex === undefined || bootIndex === null ? null : toInteger(bootIndex, 'boot_index', -1, 1000),
    ...(volumeType === undefined || volumeType === null ? {} : { volumeType }),
  }
}

/** Of characters that cannot be mistaken for one another. */
export function randomPassword(): string {
  const letters = '23456789ABCDEFGHJKMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  return [...crypto.getRandomValues(new Uint8Array(12))]
    .map((byte) => letters[byte % letters.length])
    .join('')
}

const updateBody = bodyOf(
  strict({
    server: strict({
      name: Type.Optional(name()),
      'OS-DCF:diskConfig': Type.Optional(Type.Enum(['AUTO', 'MANUAL'])),
      accessIPv4: Type.Optional(nameText({ maxLength: 64 })),
      accessIPv6: Type.Optional(nameText({ maxLength: 64 })),
      description: Type.Optional(description()),
      hostname: Type.Optional(
        Type.String({ minLength: 2, maxLength: 63, pattern: '^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$' }),
      ),
    }),
  }),
)

/** `PUT /servers/{id}`. */
export function parseServerUpdate(request: FastifyRequest): {
  name?: string
  description?: string | null
  hostname?: string
} {
  const { server } = updateBody(request.body)
  requireKnown(request.computeVersion, server, { description: '2.19', hostname: '2.90' })
  return {
    ...(server.name === undefined ? {} : { name: server.name }),
    ...(server.description === undefined ? {} : { description: server.description }),
    ...(server.hostname === undefined ? {} : { hostname: server.hostname }),
  }
}
