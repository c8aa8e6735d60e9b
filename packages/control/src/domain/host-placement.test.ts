import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seat, type Passenger, type Room } from './host-placement.ts'

const one = (name: string, memoryMib: number, changes: Partial<Passenger> = {}): Passenger => ({
  id: name,
  name,
  memoryMib,
  vcpus: 1,
  together: null,
  apart: null,
  refusals: new Map(),
  ...changes,
})
const room = (host: string, freeMemoryMib: number, freeVcpus = 16): Room => ({
  host,
  freeMemoryMib,
  freeVcpus,
})
const hosts = ({ to }: ReturnType<typeof seat>): Record<string, string> => Object.fromEntries(to)

test('servers are spread: the largest first, each where the most is free', () => {
  const seating = seat([one('a', 100), one('b', 300), one('c', 200)], [room('x', 1000), room('y', 900)])
  assert.deepEqual(hosts(seating), { b: 'x', c: 'y', a: 'x' })
  assert.equal(seating.stuck.size, 0)
})

test('where spreading leaves somebody behind, the hosts are filled instead', () => {
  // Spread, 300 and 300 take both hosts, and 500 finds none.
  const seating = seat(
    [one('a', 300), one('b', 300), one('big', 500, { refusals: new Map([['x', 'is of another zone']]) })],
    [room('x', 600), room('y', 700)],
  )
  assert.deepEqual(hosts(seating), { a: 'x', b: 'x', big: 'y' })
})

test('where both fail, a seating is searched for: everybody goes if it is possible at all', () => {
  const seating = seat(
    [one('a', 6), one('b', 5), one('c', 5), one('d', 4), one('e', 4)],
    [room('x', 14), room('y', 10)],
  )
  assert.equal(seating.to.size, 5, JSON.stringify(hosts(seating)))
})

test('who finds no place is told what is missing everywhere', () => {
  const { to, stuck } = seat(
    [one('a', 600), one('b', 600, { refusals: new Map([['y', 'is disabled']]) })],
    [room('x', 1000), room('y', 200)],
  )
  assert.equal(to.size, 1)
  const [reason] = [...stuck.values()]
  assert.match(reason ?? '', /^no host can take it: x has 400 MiB free after the others, 600 are needed; y /)
  assert.equal([...seat([one('a', 1)], []).stuck.values()][0], 'there is no other compute host')
})

test('vCPUs run out, too', () => {
  const { to, stuck } = seat([one('a', 1, { vcpus: 3 }), one('b', 1, { vcpus: 3 })], [room('x', 100, 4)])
  assert.deepEqual([to.size, stuck.size], [1, 1])
  assert.match([...stuck.values()][0] ?? '', /1 vCPUs free after the others, 3 are needed/)
})

test('an affinity group goes to one host as a whole, or not at all', () => {
  const together = { name: 'g', key: 'k' }
  const group = [one('a', 500, { together }), one('b', 500, { together }), one('c', 500, { together })]
  assert.deepEqual(hosts(seat(group, [room('x', 1400), room('y', 1500), room('z', 1000)])), {
    a: 'y',
    b: 'y',
    c: 'y',
  })
  const none = seat(group, [room('x', 1400), room('y', 1400)])
  assert.equal(none.to.size, 0)
  assert.match(none.stuck.get('a') ?? '', /1500 for all of group 'g' are needed/)
})

test('an anti-affinity group goes apart, and counts who is there already', () => {
  const apart = { name: 'g', key: 'k', atMost: 1, there: (host: string) => (host === 'z' ? 1 : 0) }
  const { to, stuck } = seat(
    ['a', 'b', 'c'].map((name) => one(name, 10, { apart })),
    [room('x', 100), room('y', 100), room('z', 1000)],
  )
  assert.deepEqual([...to.values()].toSorted(), ['x', 'y'])
  assert.match([...stuck.values()][0] ?? '', /another server of group 'g' \(anti-affinity\)/)
})

test('hundreds of servers that can never all go are placed in a moment', () => {
  const many = Array.from({ length: 300 }, (_, i) => one(`s${i}`, 100 + (i % 7)))
  const { to, stuck } = seat(many, [room('x', 9000, 999), room('y', 9000, 999), room('z', 9000, 999)])
  assert.ok(to.size > 240 && stuck.size > 0)
})
