import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { freeNodeName, isNodeOf } from './graph.ts'

test("node names fit QEMU's 31 characters, begin with a letter, and tell their image", () => {
  const [one, other] = [randomUUID(), randomUUID()]
  const taken = Array.from({ length: 100 }, () => '')
  for (let n = 0; n < 100; n++) taken[n] = freeNodeName(one, taken.slice(0, n))
  assert.equal(new Set(taken).size, 100)
  for (const name of taken) {
    assert.match(name, /^[a-z][a-z0-9-]{0,30}$/)
    assert.ok(isNodeOf(name, one) && isNodeOf(name, one.toUpperCase()) && !isNodeOf(name, other))
  }
  assert.equal(isNodeOf(undefined, one), false)
})
