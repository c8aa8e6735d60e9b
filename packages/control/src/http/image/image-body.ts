import { DomainError } from '@volant/contract'
import { Type, type TSchema } from 'typebox'
import type { ImageStep, NewImage } from '../../app/image/images.ts'
import { containerFormats, diskFormats, visibilities, type ImageFields } from '../../domain/image.ts'
import { nameText, parser } from '../parse.ts'

const oneOf = <T extends readonly string[]>(values: T) => Type.Enum([...values] as [...T])
const orNull = <T extends TSchema>(type: T) => Type.Union([type, Type.Null()])
const count = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })

export const tagText = nameText({ minLength: 1 })
const uuid = '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'

/** What a request may set, by its name in the API: the field here, and a check of its value. */
const attributes: Record<string, { field: keyof ImageFields; parse: (value: unknown) => unknown }> = {
  name: { field: 'name', parse: parser(orNull(nameText()), "image's name") },
  owner: { field: 'owner', parse: parser(orNull(nameText()), "image's owner") },
  visibility: { field: 'visibility', parse: choice('visibility', visibilities) },
  protected: { field: 'protected', parse: parser(Type.Boolean(), "image's attribute protected") },
  os_hidden: { field: 'hidden', parse: parser(Type.Boolean(), "image's attribute os_hidden") },
  disk_format: { field: 'diskFormat', parse: choice('disk_format', diskFormats, true) },
  container_format: { field: 'containerFormat', parse: choice('container_format', containerFormats, true) },
  min_disk: { field: 'minDiskGib', parse: parser(count, "image's min_disk, in GiB") },
  min_ram: { field: 'minRamMib', parse: parser(count, "image's min_ram, in MiB") },
  tags: { field: 'tags', parse: parser(Type.Array(tagText, { maxItems: 1000 }), "image's tags") },
}

const readOnly = [
  'status',
  'checksum',
  'os_hash_algo',
  'os_hash_value',
  'size',
  'virtual_size',
  'created_at',
  'updated_at',
  'deleted',
  'deleted_at',
  'direct_url',
  'file',
  'self',
  'schema',
  'first',
  'next',
  'is_public',
  'locations',
  'stores',
]

/** Also the line breaks that a kernel's command line may have; 16 KiB at most. */
const parsePropertyValue = parser(
  Type.String({ maxLength: 16_384, pattern: '^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f]*$' }),
  'value of a property of the image',
)
const parsePropertyName = parser(nameText({ minLength: 1 }), 'name of a property of the image')
const parseObject = parser(Type.Record(Type.String(), Type.Unknown()))
const parseId = parser(Type.String({ pattern: uuid }), "image's id, which must be a UUID in lower case")

function choice(name: string, values: readonly string[], nullable = false) {
  const check = parser(nullable ? orNull(oneOf(values)) : oneOf(values), `value of ${name}`)
  return (value: unknown): unknown => {
    try {
      return check(value)
    } catch {
      throw new DomainError(
        'invalid',
        `Invalid value for attribute ${name}: it must be one of ${values.join(', ')}.`,
      )
    }
  }
}

const attributeOf = (name: string) => (Object.hasOwn(attributes, name) ? attributes[name] : undefined)

function requireFree(name: string): void {
  if (readOnly.includes(name) || name === 'id') {
    throw new DomainError('forbidden', `Attribute '${name}' is read-only.`)
  }
  if (name.startsWith('os_glance_')) {
    throw new DomainError('forbidden', `Attribute '${name.slice(0, 60)}' is reserved.`)
  }
}

function property(name: string, value: unknown): string {
  requireFree(name)
  parsePropertyName(name)
  return parsePropertyValue(value)
}

/** The body of `POST /v2/images`: attributes, and text under every other name. */
export function parseNewImage(body: unknown): NewImage {
  const fields: Partial<Record<keyof ImageFields, unknown>> = {}
  const properties: [string, string][] = []
  let id: string | undefined
  for (const [name, value] of Object.entries(parseObject(body))) {
    const attribute = attributeOf(name)
    if (name === 'id') id = parseId(value)
    else if (attribute !== undefined) fields[attribute.field] = attribute.parse(value)
    else properties.push([name, property(name, value)])
  }
  return {
    ...(fields as Partial<ImageFields>),
    ...(id === undefined ? {} : { id }),
    properties: Object.fromEntries(properties),
  }
}

const parsePatch = parser(
  Type.Array(
    Type.Object({
      op: oneOf(['add', 'replace', 'remove']),
      path: Type.String({ minLength: 2, maxLength: 1024, pattern: '^/' }),
      value: Type.Optional(Type.Unknown()),
    }),
    { maxItems: 1000 },
  ),
  'patch',
)

/** The body of `PATCH /v2/images/ID`: a JSON patch of attributes and properties, one level deep. */
export function parseImagePatch(body: unknown): ImageStep[] {
  return parsePatch(body).map(({ op, path, value }) => {
    const name = readPath(path)
    const attribute = attributeOf(name)
    if (attribute !== undefined) {
      if (op === 'remove') throw new DomainError('forbidden', `Attribute '${name}' cannot be removed.`)
      const checked = attribute.parse(value) as ImageFields[keyof ImageFields]
      return { do: 'set', field: attribute.field, value: checked }
    }
    requireFree(name)
    if (op === 'remove') return { do: 'removeProperty', name }
    return { do: 'property', name, value: property(name, value), replace: op === 'replace' }
  })
}

/** JSON pointer: `~1` is a slash, `~0` a tilde. */
function readPath(path: string): string {
  const name = path.slice(1)
  if (name.includes('/') || /~(?![01])/.test(name)) {
    throw new DomainError('invalid', `Invalid JSON pointer '${path.slice(0, 100)}': a path is /NAME.`)
  }
  return name.replaceAll('~1', '/').replaceAll('~0', '~')
}
