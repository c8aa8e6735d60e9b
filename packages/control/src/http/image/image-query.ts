import { DomainError } from '@volant/contract'
import { memberStatuses, visibilities } from '../../domain/image.ts'
import {
  equalKeys,
  sortKeys,
  timeOperators,
  type ImageQuery,
  type SortKey,
  type TimeOperator,
} from '../../domain/image-query.ts'

const defaultLimit = 25
const largestLimit = 1000

const invalid = (message: string): DomainError => new DomainError('invalid', message)
type Raw = Record<string, string | string[] | undefined>

const known = new Set(
  'limit marker sort sort_key sort_dir visibility member_status os_hidden protected size_min size_max tag created_at updated_at'.split(
    ' ',
  ),
)

/** Reads the query of `GET /v2/images`. A name that is no attribute asks for a property's value. */
export function parseImageQuery(raw: Raw): ImageQuery {
  const query: ImageQuery = {
    equals: [],
    times: [],
    memberStatus: oneOf('member_status', single(raw, 'member_status') ?? 'accepted', [
      ...memberStatuses,
      'all',
    ]),
    hidden: flag('os_hidden', single(raw, 'os_hidden')) ?? false,
    tags: list(raw['tag']),
    sort: readSort(raw),
    limit: Math.min(integer('limit', single(raw, 'limit')) ?? defaultLimit, largestLimit),
  }
  const visibility = single(raw, 'visibility')
  if (visibility !== undefined)
    query.visibility = oneOf('visibility', visibility, [...visibilities, 'all'] as const)
  const guarded = flag('protected', single(raw, 'protected'))
  if (guarded !== undefined) query.protected = guarded
  const [sizeMin, sizeMax] = [
    integer('size_min', single(raw, 'size_min')),
    integer('size_max', single(raw, 'size_max')),
  ]
  if (sizeMin !== undefined) query.sizeMin = sizeMin
  if (sizeMax !== undefined) query.sizeMax = sizeMax
  const marker = single(raw, 'marker')
  if (marker !== undefined) query.marker = marker
  for (const [name, key] of [
    ['created_at', 'createdAt'],
    ['updated_at', 'updatedAt'],
  ] as const) {
    for (const value of list(raw[name])) query.times.push({ name: key, ...readTime(name, value) })
  }
  for (const [name, value] of Object.entries(raw)) {
    if (known.has(name) || value === undefined) continue
    for (const each of list(value)) query.equals.push({ name, values: readIn(name, each) })
  }
  return query
}

const list = (value: string | string[] | undefined): string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value

function single(raw: Raw, name: string): string | undefined {
  const value = raw[name]
  if (Array.isArray(value)) throw invalid(`The query parameter ${name} must be given once.`)
  return value
}

function oneOf<const T extends string>(name: string, value: string, values: readonly T[]): T {
  const found = values.find((each) => each === value)
  if (found === undefined) throw invalid(`Invalid ${name} value: it must be one of ${values.join(', ')}.`)
  return found
}

function flag(name: string, value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined
  const lower = value.toLowerCase()
  if (lower === 'true' || lower === 'false') return lower === 'true'
  throw invalid(`Invalid value for ${name}: it must be true or false.`)
}

function integer(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  if (!/^\d{1,15}$/.test(value)) throw invalid(`${name} param must be an integer of 0 or more.`)
  return Number(value)
}

/** `in:a,"b,c"`, or one value. */
function readIn(name: string, value: string): string[] {
  if (!value.startsWith('in:')) return [value]
  if (!Object.hasOwn(equalKeys, name)) return [value]
  const values = [...value.slice(3).matchAll(/"([^"]*)"|([^,]+)/g)].map((match) => match[1] ?? match[2] ?? '')
  if (values.length === 0) throw invalid(`The filter ${name}=in: names no value.`)
  return values
}

function readTime(name: string, value: string): { operator: TimeOperator; value: string } {
  const match = /^(?:(\w+):)?(\d{4}-\d\d-\d\d.*)$/.exec(value)
  const operator = timeOperators.find((each) => each === (match?.[1] ?? 'eq'))
  if (match === null || operator === undefined || Number.isNaN(Date.parse(match[2] ?? ''))) {
    throw invalid(`Invalid filter ${name}: it must be of the form gte:2026-01-31T12:00:00Z.`)
  }
  return { operator, value: match[2] ?? '' }
}

/** `sort=name:asc,size`, or `sort_key` and `sort_dir`, each as often as wished. By default the newest first. */
function readSort(raw: Raw): ImageQuery['sort'] {
  const sort = single(raw, 'sort')
  const keys = list(raw['sort_key'])
  const directions = list(raw['sort_dir'])
  if (sort !== undefined && keys.length + directions.length > 0) {
    throw invalid('Use either sort, or sort_key and sort_dir.')
  }
  const pairs =
    sort === undefined
      ? (keys.length === 0 ? ['created_at'] : keys).map((key, index) => [
          key,
          directions[index] ?? directions[0],
        ])
      : sort.split(',').map((each) => each.trim().split(':'))
  if (pairs.length > 16) throw invalid('At most 16 sort keys are allowed.')
  if (!pairs.some(([key]) => key === 'id')) pairs.push(['id', pairs[0]?.[1]])
  return pairs.map(([key, direction, ...rest]) => {
    if (rest.length > 0) throw invalid('Invalid sort: it must be of the form KEY:DIRECTION.')
    return {
      key: sortKey(key ?? ''),
      descending: oneOf('sort_dir', direction ?? 'desc', ['asc', 'desc']) === 'desc',
    }
  })
}

function sortKey(name: string): SortKey {
  const found = Object.entries(sortKeys).find(([key]) => key === name)
  if (found === undefined)
    throw invalid(`Invalid sort key: it must be one of ${Object.keys(sortKeys).join(', ')}.`)
  return found[1]
}
