import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  suspects,
  verdict,
  type EvacuationGroup,
  type SeenHost,
  type Suspect,
} from './automatic-evacuation.ts'

const now = new Date('2026-11-22T10:10:00Z')
const group = (fields: Partial<EvacuationGroup> = {}): EvacuationGroup => ({
  name: 'rack1',
  hosts: ['a', 'b', 'c', 'd', 'e'],
  afterSeconds: 120,
  witnesses: 2,
  atOnce: 1,
  ...fields,
})
const host = (name: string, silentFor: number | null, isGivenUp = false): SeenHost => ({
  host: name,
  answers: silentFor === null,
  seenAt: new Date(now.getTime() - (silentFor ?? 0) * 1000),
  isGivenUp,
})
const names = (groups: EvacuationGroup[], hosts: SeenHost[]) =>
  suspects(groups, hosts, now).suspects.map((one) => one.host)
const rest = (...silent: SeenHost[]): SeenHost[] => [
  ...silent,
  ...['a', 'b', 'c', 'd', 'e']
    .filter((name) => !silent.some((one) => one.host === name))
    .map((name) => host(name, null)),
]

test('off without groups, for hosts of no group, and before its time', () => {
  assert.deepEqual(names([], rest(host('a', 999))), [])
  assert.deepEqual(names([group({ hosts: ['b'] })], rest(host('a', 999))), [])
  assert.deepEqual(names([group()], rest(host('a', 119))), [])
  assert.deepEqual(names([group()], rest(host('a', 120))), ['a'])
})

test('the hosts that answer are its witnesses; too few of them, and nobody is given up', () => {
  const found = suspects([group()], rest(host('a', 130)), now)
  assert.deepEqual(found.suspects[0]?.witnesses, ['b', 'c', 'd', 'e'])
  const few = suspects([group({ witnesses: 5 })], rest(host('a', 130)), now)
  assert.deepEqual(few.suspects, [])
  assert.match(few.because ?? '', /only 4 of the 5 witnesses/)
})

test('where half of the hosts or more are silent, it is the control plane that is cut off', () => {
  const hosts = ['a', 'b'].map((name) => host(name, 500))
  assert.deepEqual(names([group({ atOnce: 9 })], rest(...hosts)), ['a', 'b'])
  const three = suspects([group({ atOnce: 9 })], rest(...hosts, host('c', 5)), now)
  assert.deepEqual(three.suspects, [])
  assert.match(three.because ?? '', /3 of 5 compute hosts are silent: the control plane may be cut off/)
  assert.deepEqual(names([group({ witnesses: 1 })], [host('a', 500), host('b', null)]), [], 'one of two')
})

test('so many of a group at a time, longest silent first; those that were given up count', () => {
  assert.deepEqual(names([group()], rest(host('a', 130), host('b', 500))), ['b'])
  assert.deepEqual(names([group()], rest(host('a', 130), host('b', 500, true))), [])
  assert.deepEqual(names([group({ atOnce: 2 })], rest(host('a', 130), host('b', 500, true))), ['a'])
  assert.deepEqual(names([group()], rest(host('a', 130, true))), [], 'not twice')
})

test('it is given up only where enough say that they can not reach it, and none reaches it', () => {
  const suspect: Suspect = { host: 'a', group: group(), silentFor: 130, witnesses: ['b', 'c', 'd'] }
  const says = (witness: string, what: 'no' | 'yes' | 'nothing') => ({
    witness,
    unreachable: what === 'no' ? 'no route to host' : null,
    reaches: what === 'yes',
  })
  assert.equal(verdict(suspect, [says('b', 'no'), says('c', 'nothing')]), null)
  assert.equal(verdict(suspect, [says('b', 'no'), says('c', 'no'), says('d', 'yes')]), null)
  assert.equal(
    verdict(suspect, [says('c', 'no'), says('b', 'no'), says('d', 'nothing')]),
    "a was silent for 130 s; b, c can't reach it either",
  )
})
