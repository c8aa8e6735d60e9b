import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requireSpecs } from './share-type.ts'

test('a misspelt extra spec of our own is refused, and the right one named; those of others are anything', () => {
  assert.throws(() => requireSpecs({ 'volant:rootsquash': 'False' }), {
    code: 'invalid',
    message: /volant:rootsquash means nothing\. There is volant:root_squash\./,
  })
  requireSpecs({ 'volant:root_squash': 'False', 'netapp:flexvol_encryption': 'anything' })
})
