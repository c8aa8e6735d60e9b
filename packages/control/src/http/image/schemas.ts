import type { FastifyInstance } from 'fastify'
import { containerFormats, diskFormats, memberStatuses, visibilities } from '../../domain/image.ts'

const text = (description: string, more: Record<string, unknown> = {}) => ({
  type: 'string',
  description,
  ...more,
})
const textOrNull = (description: string, more: Record<string, unknown> = {}) => ({
  type: ['null', 'string'],
  description,
  ...more,
})
const count = (description: string, more: Record<string, unknown> = {}) => ({
  type: 'integer',
  description,
  ...more,
})
const fixed = { readOnly: true }
/** Names that clients know, and that are properties like any other. */
const custom = { is_base: false }

const image = {
  name: 'image',
  properties: {
    id: text('An identifier for the image'),
    name: textOrNull('Descriptive name for the image', { maxLength: 255 }),
    status: text('Status of the image', {
      ...fixed,
      enum: ['queued', 'saving', 'active', 'deactivated'],
    }),
    visibility: text('Scope of image accessibility', { enum: visibilities }),
    protected: { type: 'boolean', description: 'If true, image will not be deletable.' },
    os_hidden: {
      type: 'boolean',
      description: 'If true, image will not appear in default image list response.',
    },
    checksum: textOrNull('md5 hash of image contents.', { ...fixed, maxLength: 32 }),
    os_hash_algo: textOrNull('Algorithm to calculate the os_hash_value', { ...fixed, maxLength: 64 }),
    os_hash_value: textOrNull('Hexdigest of the image contents using os_hash_algo', {
      ...fixed,
      maxLength: 128,
    }),
    owner: textOrNull('Owner of the image', { maxLength: 255 }),
    size: { type: ['null', 'integer'], description: 'Size of image file in bytes', ...fixed },
    virtual_size: { type: ['null', 'integer'], description: 'Virtual size of image in bytes', ...fixed },
    container_format: textOrNull('Format of the container', { enum: [null, ...containerFormats] }),
    disk_format: textOrNull('Format of the disk', { enum: [null, ...diskFormats] }),
    created_at: text('Date and time of image registration', fixed),
    updated_at: text('Date and time of the last image modification', fixed),
    tags: {
      type: 'array',
      description: 'List of strings related to the image',
      items: { type: 'string', maxLength: 255 },
    },
    min_ram: count('Amount of ram (in MB) required to boot image.'),
    min_disk: count('Amount of disk space (in GB) required to boot image.'),
    self: text('An image self url', fixed),
    file: text('An image file url', fixed),
    schema: text('An image schema url', fixed),
    kernel_id: textOrNull('ID of image stored in Glance that should be used as the kernel.', custom),
    ramdisk_id: textOrNull('ID of image stored in Glance that should be used as the ramdisk.', custom),
    architecture: text('Operating system architecture.', custom),
    os_distro: text('Common name of operating system distribution.', custom),
    os_version: text('Operating system version as specified by the distributor.', custom),
  },
  additionalProperties: { type: 'string' },
  links: [
    { rel: 'self', href: '{self}' },
    { rel: 'enclosure', href: '{file}' },
    { rel: 'describedby', href: '{schema}' },
  ],
}

const member = {
  name: 'member',
  properties: {
    created_at: text('Date and time of image member creation'),
    image_id: text('An identifier for the image'),
    member_id: text('An identifier for the image member (tenantId)'),
    schema: text('', fixed),
    status: text('The status of this image member', { enum: memberStatuses }),
    updated_at: text('Date and time of last modification of image member'),
  },
}

const listOf = (name: string, items: { name: string }) => ({
  name,
  properties: {
    [name]: { type: 'array', items },
    first: { type: 'string' },
    next: { type: 'string' },
    schema: { type: 'string' },
  },
  links: [
    { rel: 'first', href: '{first}' },
    { rel: 'next', href: '{next}' },
    { rel: 'describedby', href: '{schema}' },
  ],
})

/** The JSON schemas that clients build their models from. */
export function schemaRoutes(app: FastifyInstance): void {
  app.get('/v2/schemas/image', () => image)
  app.get('/v2/schemas/images', () => listOf('images', image))
  app.get('/v2/schemas/member', () => member)
  app.get('/v2/schemas/members', () => listOf('members', member))
  // Uploads go to `file`; there is no staging area.
  app.get('/v2/info/import', () => ({
    'import-methods': { description: 'Import methods available.', type: 'array', value: [] },
  }))
}
