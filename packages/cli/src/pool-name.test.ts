import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CliError, exitCodes } from './exit-codes.ts'
import { resolvePool } from './pool-name.ts'

const lma = 'h@cinder-lma#127.250.118.49:/cinder_flexvol_OSTK02'
const lmb = 'h@cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09'
const second = 'h@cinder-lmb#127.250.118.51:/other'

describe('a pool may be called by any part that means it alone', () => {
  for (const wish of [
    lma,
    'cinder-lma',
    'cinder-lma#127.250.118.49:/cinder_flexvol_OSTK02',
    '127.250.118.49:/cinder_flexvol_OSTK02',
    '/cinder_flexvol_OSTK02',
    'cinder_flexvol_OSTK02',
  ]) {
    it(wish, () => assert.equal(resolvePool(wish, [lma, lmb, second]), lma))
  }

  it('refuses a part that means two, listing both', () => {
    assert.throws(
      () => resolvePool('cinder-lmb', [lma, lmb, second]),
      (error: CliError) =>
        error.exitCode === exitCodes.refused && error.message.includes(lmb) && error.message.includes(second),
    )
  })

  it('says which there are where none is meant', () => {
    assert.throws(
      () => resolvePool('nowhere', [lma]),
      (error: CliError) => error.exitCode === exitCodes.notFound && error.message.includes(lma),
    )
  })

  it('leaves a full host string to the server to judge', () => {
    assert.equal(resolvePool('x@y#z', [lma]), 'x@y#z')
  })
})
