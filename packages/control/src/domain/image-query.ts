import { DomainError } from '@volant/contract'
import type { Image, ImageVisibility, MemberStatus } from './image.ts'

/** What `GET /v2/images` may ask for. */
export interface ImageQuery {
  /** Equal to, or with `in:a,b` one of. By attribute, or by property for names that are no attribute. */
  equals: { name: string; values: string[] }[]
  times: { name: 'createdAt' | 'updatedAt'; operator: TimeOperator; value: string }[]
  /** undefined: those of the project, and public and accepted ones; `all`: community ones too. */
  visibility?: ImageVisibility | 'all'
  memberStatus: MemberStatus | 'all'
  hidden: boolean
  protected?: boolean
  sizeMin?: number
  sizeMax?: number
  /** All of them. */
  tags: string[]
  sort: { key: SortKey; descending: boolean }[]
  limit: number
  marker?: string
}

export const timeOperators = ['gt', 'gte', 'eq', 'neq', 'lt', 'lte'] as const
export type TimeOperator = (typeof timeOperators)[number]

/** Names in the API, and what they are here. */
export const sortKeys = {
  name: 'name',
  status: 'status',
  container_format: 'containerFormat',
  disk_format: 'diskFormat',
  size: 'sizeBytes',
  id: 'id',
  created_at: 'createdAt',
  updated_at: 'updatedAt',
  owner: 'owner',
  protected: 'protected',
  visibility: 'visibility',
  min_disk: 'minDiskGib',
  min_ram: 'minRamMib',
} as const satisfies Record<string, keyof Image>
export type SortKey = (typeof sortKeys)[keyof typeof sortKeys]

/** Attributes that can be asked for by value. */
export const equalKeys = {
  ...sortKeys,
  checksum: 'checksum',
  os_hash_value: 'hashValue',
} as const satisfies Record<string, keyof Image>

export interface ImagePage {
  images: Image[]
  /** More follow. */
  more: boolean
}

/** Filters, sorts and cuts the images that a caller may see. Throws `invalid` for a marker that is none of them. */
export function selectImages(visible: readonly Image[], query: ImageQuery): ImagePage {
  const found = visible.filter((image) => matches(image, query)).sort(byKeys(query.sort))
  let from = 0
  if (query.marker !== undefined) {
    from = found.findIndex((image) => image.id === query.marker) + 1
    if (from === 0) throw new DomainError('invalid', `Marker ${query.marker} is not an image of this list.`)
  }
  return { images: found.slice(from, from + query.limit), more: found.length > from + query.limit }
}

function matches(image: Image, query: ImageQuery): boolean {
  return (
    image.hidden === query.hidden &&
    (query.protected === undefined || image.protected === query.protected) &&
    (query.sizeMin === undefined || (image.sizeBytes ?? 0) >= query.sizeMin) &&
    (query.sizeMax === undefined || (image.sizeBytes ?? 0) <= query.sizeMax) &&
    query.tags.every((tag) => image.tags.includes(tag)) &&
    query.times.every((time) => compareTime(image[time.name], time.operator, time.value)) &&
    query.equals.every(({ name, values }) => values.includes(textOf(image, name)))
  )
}

const isAttribute = (name: string): name is keyof typeof equalKeys => Object.hasOwn(equalKeys, name)

function textOf(image: Image, name: string): string {
  if (isAttribute(name)) return String(image[equalKeys[name]] ?? '')
  return Object.hasOwn(image.properties, name) ? (image.properties[name] ?? '') : '\u0000'
}

/** To the second, as the API shows times. */
function compareTime(time: string, operator: TimeOperator, value: string): boolean {
  const left = Math.floor(Date.parse(time) / 1000)
  const right = Math.floor(Date.parse(value) / 1000)
  const results: Record<TimeOperator, boolean> = {
    gt: left > right,
    gte: left >= right,
    eq: left === right,
    neq: left !== right,
    lt: left < right,
    lte: left <= right,
  }
  return results[operator]
}

function byKeys(keys: ImageQuery['sort']): (a: Image, b: Image) => number {
  return (a, b) => {
    for (const { key, descending } of keys) {
      const order = compare(a[key], b[key])
      if (order !== 0) return descending ? -order : order
    }
    return 0
  }
}

function compare(a: Image[SortKey], b: Image[SortKey]): number {
  if (a === b) return 0
  if (a === null) return -1
  if (b === null) return 1
  return a < b ? -1 : 1
}
