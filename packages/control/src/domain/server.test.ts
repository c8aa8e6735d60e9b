import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { likeFromPattern } from './name-pattern.ts'
import { freeDeviceName, hostnameFrom, instanceName, randomMac } from './server.ts'

test('a host name is one that DNS allows, whatever the server is called', () => {
  assert.equal(hostnameFrom('Ubuntu Instance_1', 'id'), 'ubuntu-instance-1')
  assert.equal(hostnameFrom('日本', 'id'), 'server-id')
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (name) => {
      assert.match(hostnameFrom(name, 'id'), /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
    }),
  )
})

test('disks are named in order, and the names of gone ones are used again', () => {
  assert.equal(freeDeviceName(new Set()), '/dev/vda')
  assert.equal(freeDeviceName(new Set(['/dev/vda', '/dev/vdc'])), '/dev/vdb')
  const all = new Set<string>()
  for (let i = 0; i < 702; i += 1) all.add(freeDeviceName(all) ?? '')
  assert.equal(all.size, 702)
  assert.ok(all.has('/dev/vdaa') && all.has('/dev/vdzz'))
  assert.equal(freeDeviceName(all), undefined)
})

test('numbers and addresses have the form that OpenStack gives them', () => {
  assert.equal(instanceName(42), 'instance-0000002a')
  assert.equal(randomMac(new Uint8Array([1, 2, 255])), 'fa:16:3e:01:02:ff')
})

test('a pattern of Nova becomes one of LIKE, and LIKE’s own signs stand for themselves', () => {
  const cases: [string, string][] = [
    ['web', '%web%'],
    ['^web', 'web%'],
    ['web$', '%web'],
    ['^w.b$', 'w_b'],
    ['^a.*z$', 'a%z'],
    ['a.+', '%a_%%'],
    ['50%_x', String.raw`%50\%\_x%`],
    [String.raw`a\.b`, '%a.b%'],
    [String.raw`^c\$`, 'c$%'],
    ['', '%%'],
  ]
  for (const [pattern, like] of cases) assert.equal(likeFromPattern(pattern), like, pattern)
})
