import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OntapError } from './error.ts'
import { fieldsOf, looksAt, parseOntapQuery, project, select, type OntapRecord } from './query.ts'

const volumes: OntapRecord[] = [
  volume('flex1', 10, 'online', ['aggr1'], '/flex1'),
  volume('flex2', 20 * 1024, 'online', ['aggr2'], '/flex2'),
  volume('other', 30 * 1024 * 1024, 'offline', ['aggr1', 'aggr2'], null),
]

function volume(
  name: string,
  size: number,
  state: string,
  aggregates: string[],
  path: string | null,
): OntapRecord {
  return {
    uuid: `uuid-${name}`,
    name,
    state,
    space: { size, used: size / 2 },
    aggregates: aggregates.map((aggregate) => ({ name: aggregate, uuid: `u-${aggregate}` })),
    nas: path === null ? {} : { path },
    _links: { self: { href: `/api/storage/volumes/uuid-${name}` } },
  }
}

const known = fieldsOf(volumes[0] ?? {})
const ask = (text: string) => parseOntapQuery(new URLSearchParams(text), known)
const names = (text: string): string[] =>
  select(volumes, ask(text)).page.map((record) => String(record['name']))

describe('what a query selects', () => {
  const cases: [query: string, expected: string[]][] = [
    ['', ['flex1', 'flex2', 'other']],
    ['name=flex1', ['flex1']],
    ['name=flex*', ['flex1', 'flex2']],
    ['name=flex1|other', ['flex1', 'other']],
    ['name=flex1,other', ['flex1', 'other']],
    ['name=!flex1', ['flex2', 'other']],
    ['name=!flex*', ['other']],
    ['name="flex*"', []],
    ['name=FLEX1', []],
    ['name=f.ex1', []],
    ['space.size=10', ['flex1']],
    ['space.size=>10', ['flex2', 'other']],
    ['space.size=>=10', ['flex1', 'flex2', 'other']],
    ['space.size=<20KB', ['flex1']],
    ['space.size=<=20KB', ['flex1', 'flex2']],
    ['space.size=20KB..30MB', ['flex2', 'other']],
    ['space.size=many', []],
    ['state=online&space.size=>1k', ['flex2']],
    ['aggregates.name=aggr2', ['flex2', 'other']],
    ['nas.path=null', ['other']],
    ['nas.path=!null', ['flex1', 'flex2']],
    ['nas.path=/flex*', ['flex1', 'flex2']],
    ['order_by=space.size desc', ['other', 'flex2', 'flex1']],
    ['order_by=state,name desc', ['other', 'flex2', 'flex1']],
    ['order_by=name&max_records=1', ['flex1']],
    ['order_by=name&max_records=2&start.index=2', ['other']],
  ]
  for (const [query, expected] of cases) test(query, () => assert.deepEqual(names(query), expected))

  test('tells whether another page follows, and how many there are', () => {
    const first = select(volumes, ask('max_records=2'))
    assert.deepEqual([first.page.length, first.matched, first.more], [2, 3, true])
    const last = select(volumes, ask('max_records=2&start.index=2'))
    assert.deepEqual([last.page.length, last.matched, last.more], [1, 3, false])
  })
})

describe('what is shown of a record', () => {
  const shown = (text: string) => project(volumes[0] ?? {}, ask(text))

  test('its identity and links, where nothing is asked for', () => {
    assert.deepEqual(Object.keys(shown('')), ['uuid', 'name', '_links'])
  })

  test('the fields that are asked for, whole or in part', () => {
    assert.deepEqual(shown('fields=space.size')['space'], { size: 10 })
    assert.deepEqual(shown('fields=space')['space'], { size: 10, used: 5 })
    assert.deepEqual(shown('fields=space.size,space.used')['space'], { size: 10, used: 5 })
    assert.deepEqual(shown('fields=aggregates.name')['aggregates'], [{ name: 'aggr1' }])
    const both = [{ name: 'aggr1', uuid: 'u-aggr1' }]
    assert.deepEqual(shown('fields=aggregates.name,aggregates.uuid')['aggregates'], both)
    assert.deepEqual(shown('fields=aggregates,aggregates.name')['aggregates'], both)
    assert.deepEqual(shown('fields=*'), volumes[0])
    assert.deepEqual(shown('fields=space.*')['space'], { size: 10, used: 5 })
  })

  test('all but what is left out', () => {
    const { space: _, ...rest } = volumes[0] ?? {}
    assert.deepEqual(shown('fields=*,!space'), rest)
    assert.deepEqual(shown('fields=space,!space.used')['space'], { size: 10 })
    assert.deepEqual(shown('fields=aggregates,!aggregates.uuid')['aggregates'], [{ name: 'aggr1' }])
  })

  test('what is filtered on and ordered by', () => {
    assert.equal(shown('state=online')['state'], 'online')
    assert.deepEqual(shown('order_by=space.size')['space'], { size: 10 })
  })
})

test('what a query looks at, so that figures nobody asks for are not counted', () => {
  const looks = (text: string, field: string): boolean => looksAt(ask(text), field)
  assert.ok(looks('fields=*', 'space'))
  assert.ok(looks('fields=space.size', 'space'))
  assert.ok(looks('fields=space', 'space.size'))
  assert.ok(looks('space.size=>1', 'space'))
  assert.ok(looks('order_by=space.used', 'space'))
  assert.ok(!looks('', 'space'))
  assert.ok(!looks('fields=name,state&name=a', 'space'))
})

test('unknown fields may be ignored', () => {
  const query = parseOntapQuery(new URLSearchParams('nonsense=1&fields=nonsense,size,name'), known, {
    ignoreUnknown: true,
  })
  assert.deepEqual([query.filters, query.fields], [[], ['name']])
})

describe('what is refused', () => {
  const cases: [query: string, code: string, target: string][] = [
    ['nonsense=1', '262179', 'nonsense'],
    ['fields=nonsense', '262197', 'fields'],
    ['fields=name,space.nonsense', '262197', 'fields'],
    ['order_by=nonsense', '262197', 'order_by'],
    ['order_by=name sideways', '262197', 'order_by'],
    ['max_records=0', '262197', 'max_records'],
    ['max_records=many', '262197', 'max_records'],
    ['return_timeout=121', '262197', 'return_timeout'],
    ['return_records=perhaps', '262197', 'return_records'],
  ]
  for (const [query, code, target] of cases) {
    test(query, () =>
      assert.throws(
        () => ask(query),
        (error) => error instanceof OntapError && error.code === code && error.target === target,
      ),
    )
  }
})
