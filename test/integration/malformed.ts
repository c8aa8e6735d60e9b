/**
 * Requests that no client should send, made at random from a seed: the same seed gives the same requests. The
 * invariant that they test: whatever comes in, the answer is never a 5xx.
 *
 *     for (const request of malformedRequests(1, routes, { headers: { 'x-auth-token': token } })) {
 *       const answer = await app.inject(request)
 *       assert.ok(answer.statusCode < 500, describeRequest(request))
 *     }
 */
export interface FuzzedRoute {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** With `:name` for parameters: `/volume/v3/:project/volumes/:volume`. */
  path: string
  /** A body that would be right, to be spoiled. */
  body?: unknown
  /** Names of query parameters that the route reads. */
  query?: string[]
  /** Values for parameters that exist, so that requests get past the lookup: `{project: '…'}`. */
  params?: Record<string, string>
  /** Sent with each request of this route, such as another content type than JSON. */
  headers?: Record<string, string>
}

export interface MalformedRequest {
  method: FuzzedRoute['method']
  url: string
  headers: Record<string, string>
  payload?: string
}

export interface MalformedOptions {
  /** How many; default 300. */
  count?: number
  /** Sent with each request, unless it is what is spoiled: the token, the microversion. */
  headers?: Record<string, string>
}

export function* malformedRequests(
  seed: number,
  routes: readonly FuzzedRoute[],
  options: MalformedOptions = {},
): Generator<MalformedRequest> {
  const random = randomFrom(seed)
  for (let made = 0; made < (options.count ?? 300); made++) {
    // Every route has its turn; what is spoiled about it is chosen by lot.
    const route = routes[made % routes.length]
    if (route === undefined) return
    yield spoil(route, random, { ...options.headers, ...route.headers })
  }
}

const cut = (text: string): string => (text.length > 400 ? `${text.slice(0, 400)}… (${text.length})` : text)

/** One line for a failed assertion's message. */
export function describeRequest(request: MalformedRequest): string {
  const { 'x-auth-token': token, ...headers } = request.headers
  const shown = JSON.stringify({ ...headers, ...(token === undefined ? {} : { 'x-auth-token': cut(token) }) })
  return `${request.method} ${cut(request.url)} ${shown} ${cut(request.payload ?? '')}`
}

function spoil(route: FuzzedRoute, random: Random, headers: Record<string, string>): MalformedRequest {
  const spoiledPart = random.pick(
    route.body === undefined
      ? (['path', 'query', 'headers', 'body'] as const)
      : (['path', 'query', 'headers', 'body', 'values', 'values', 'values', 'values'] as const),
  )
  const request: MalformedRequest = {
    method: route.method,
    url:
      fillPath(route, random, spoiledPart === 'path') + queryString(route, random, spoiledPart === 'query'),
    headers: spoiledPart === 'headers' ? spoilHeaders(headers, random) : headers,
  }
  const payload =
    spoiledPart === 'body' ? spoiledBody(route.body, random) : bodyText(route, random, spoiledPart)
  if (payload !== undefined && route.method !== 'GET' && route.method !== 'HEAD') {
    request.payload = payload
    request.headers = { 'content-type': 'application/json', ...request.headers }
    if (spoiledPart === 'body' && random.below(4) === 0)
      request.headers['content-type'] = random.pick(contentTypes)
  }
  return request
}

function bodyText(route: FuzzedRoute, random: Random, part: string): string | undefined {
  if (route.body === undefined) return undefined
  return JSON.stringify(part === 'values' ? spoilValue(route.body, random) : route.body)
}

function fillPath(route: FuzzedRoute, random: Random, spoiled: boolean): string {
  const names = [...route.path.matchAll(/:(\w+)/g)].map((match) => match[1] as string)
  const victim = spoiled && names.length > 0 ? random.pick(names) : undefined
  const path = route.path.replace(/:(\w+)/g, (_, name: string) =>
    name === victim ? random.pick(pathValues) : (route.params?.[name] ?? random.uuid()),
  )
  return spoiled && names.length === 0
    ? path + random.pick(['/', '//', '/%00', '/..%2f..', '/x'.repeat(300)])
    : path
}

function queryString(route: FuzzedRoute, random: Random, spoiled: boolean): string {
  if (!spoiled) return ''
  const names = [...(route.query ?? []), 'limit', 'marker', 'sort', 'sort_key', 'offset', 'name', '__proto__']
  const parts = Array.from({ length: 1 + random.below(4) }, () => {
    const value = random.pick(queryValues)
    return `${random.pick(names)}=${value}`
  })
  return `?${parts.join('&')}`
}

function spoilHeaders(headers: Record<string, string>, random: Random): Record<string, string> {
  const [name, value] = random.pick<[string, string]>([
    ['x-auth-token', random.text(40)],
    ['x-auth-token', 'v1.e30.AAAA'],
    ['x-auth-token', 'A'.repeat(8000)],
    ['x-subject-token', 'v1..'],
    ['openstack-api-version', 'volume latest-ish, compute -1'],
    ['openstack-api-version', 'volume 999999999999.1,compute 2.x,image 2'],
    ['x-openstack-nova-api-version', '2.1.1'],
    ['host', 'bad host/../%0d%0a'],
    ['host', ''],
    ['x-forwarded-host', 'evil.example'],
    ['accept', 'text/html;q=x'],
    ['range', 'bytes=9-1,-'],
    ['if-match', '"'],
  ])
  return { ...headers, [name]: value }
}

function spoiledBody(body: unknown, random: Random): string {
  const right = JSON.stringify(body ?? { a: { b: 1 } })
  return random.pick<() => string>([
    () => right.slice(0, random.below(right.length)),
    () => '',
    () => 'null',
    () => '[]',
    () => '"text"',
    () => '0',
    () => '{"a":',
    () => '\u0000\u0001',
    () => `${'['.repeat(2000)}${']'.repeat(2000)}`,
    () => `{"a":`.repeat(1000) + '1' + '}'.repeat(1000),
    () => `{"pad":"${'x'.repeat(1024 * 1024 + 10)}"}`,
    () => right.replace('{', '{"__proto__":{"polluted":true},'),
    () => right.replace('{', '{"constructor":{"prototype":{}},'),
    () => right.replaceAll('"', "'"),
    () => `\ufeff${right}`,
  ])()
}

/** The value with one thing in it, at any depth, replaced, removed, renamed or added. */
function spoilValue(value: unknown, random: Random): unknown {
  if (Array.isArray(value)) {
    if (value.length === 0 || random.below(4) === 0) return random.pick(nastyValues)
    const at = random.below(value.length)
    return value.map((each, index) => (index === at ? spoilValue(each, random) : (each as unknown)))
  }
  if (typeof value !== 'object' || value === null) return random.pick(nastyValues)
  const entries = Object.entries(value)
  const chosen = entries.length === 0 || random.below(6) === 0 ? undefined : random.pick(entries)
  if (chosen === undefined) return random.pick(nastyValues)
  const [key, inner] = chosen
  const rest = Object.fromEntries(entries.filter(([name]) => name !== key))
  const way = random.below(10)
  if (way === 0) return rest
  if (way === 1) return { ...rest, [random.text(20)]: inner }
  if (way === 2) return { ...value, [random.text(300)]: random.pick(nastyValues) }
  return { ...rest, [key]: way < 7 ? spoilValue(inner, random) : random.pick(nastyValues) }
}

const nastyText = [
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  'line\nbreak\r\n\u001b[31m',
  '../../../etc/passwd',
  '/dev/sda',
  '..',
  'x'.repeat(256),
  'x'.repeat(10_000),
  '𝕏🙂\u202e\u0301',
  '\ud800',
  "'; drop table volumes; --",
  '%s%n%00',
  '-1',
  '1e999',
  'NaN',
  '0x10',
  'true',
  'null',
  '127.0.0.1@x#y',
  'HOST@@#',
  'json:{"driver":"file","filename":"/etc/passwd"}',
  'nbd://127.0.0.1/x',
  '00000000-0000-0000-0000-000000000000',
]

const nastyValues: readonly unknown[] = [
  ...nastyText,
  null,
  true,
  false,
  0,
  -1,
  1,
  1.5,
  1e21,
  -1e308,
  2 ** 53,
  2 ** 31,
  2 ** 63,
  [],
  {},
  [null],
  [[]],
  [{}],
  { a: { b: { c: null } } },
  { id: null },
  { toString: 1, length: -1 },
  Array.from({ length: 500 }, (_, index) => index),
  Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`k${index}`, 'v'])),
]

const pathValues = [
  ...nastyText
    .filter((text) => text !== '' && text !== '..' && text.length < 1000)
    .map(encodeURIComponentLoosely),
  '%00',
  '%2e%2e%2f%2e%2e%2fetc%2fpasswd',
  '%zz',
  '%',
  '%ff%fe',
  'a%2fb',
  'x'.repeat(299),
  'x'.repeat(3000),
  '__proto__',
  'constructor',
  '-',
  '*',
]

const queryValues = [
  ...nastyText.filter((text) => text.length < 1000).map(encodeURIComponentLoosely),
  '%zz',
  '%ff',
  '1&limit=2',
  '99999999999999999999',
  '1.5',
  '[]',
  '{}',
  'in:',
  'gte:',
  'asc:desc:asc',
  'created_at:sideways,,',
]

const contentTypes = [
  'text/plain',
  'application/xml',
  'multipart/form-data',
  'application/json; charset=utf-7',
  'x',
]

/** A lone surrogate cannot be encoded; it goes as the bytes of a broken UTF-8 sequence. */
function encodeURIComponentLoosely(text: string): string {
  return text.isWellFormed() ? encodeURIComponent(text) : '%ed%a0%80'
}

interface Random {
  /** 0 … limit - 1. */
  below(limit: number): number
  pick<T>(list: readonly T[]): T
  text(longest: number): string
  uuid(): string
}

/** Mulberry32: small, and the same everywhere. */
function randomFrom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
  const below = (limit: number): number => Math.floor(next() * limit)
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () => below(16).toString(16)).join('')
  return {
    below,
    uuid: () => `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`,
    pick: <T>(list: readonly T[]): T => list[below(list.length)] as T,
    text: (longest) =>
      Array.from({ length: 1 + below(longest) }, () => String.fromCharCode(33 + below(90))).join(''),
  }
}
