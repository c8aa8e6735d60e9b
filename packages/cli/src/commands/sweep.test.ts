import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Stray, SweepReport } from '@volant/contract/ndo/sweep.ts'
import { sweepText } from './sweep.ts'

const stray = (changes: Partial<Stray>): Stray => ({
  kind: 'image',
  place: 'storage node lma-01',
  id: '/aggr1/vol1/4f',
  what: '/aggr1/vol1/4f',
  age_seconds: 90,
  size_bytes: 2048,
  pids: [],
  reason: 'no record knows its UUID',
  proof: null,
  action: 'reported',
  advice: 'remove it if nobody needs it',
  ...changes,
})
const report = (changes: Partial<SweepReport>): SweepReport => ({
  started_at: '',
  finished_at: '',
  dry_run: false,
  examined: 12,
  owned: 11,
  busy: 1,
  strays: [],
  unreachable: [],
  ...changes,
})

describe('volant sweep', () => {
  it('says so where there is nothing', () => {
    const text = sweepText(report({}))
    assert.equal(text, "No strays. Looked at 12: 11 owned, 1 perhaps in an operation's hands.")
  })

  it('shows what, where, how old, why, what was done and what can be done', () => {
    const removed = stray({ kind: 'holder', action: 'removed', proof: 'it ended', advice: null })
    const text = sweepText(report({ strays: [removed, stray({})] }))
    for (const part of ['holder', 'storage node lma-01', '1:30', '2.00 KiB', 'it ended', 'removed']) {
      assert.ok(text.includes(part), `${part} in\n${text}`)
    }
    assert.match(text, /reported +\| remove it if nobody needs it/)
    assert.match(text, /^2 strays, 1 left\. /m)
  })

  it('names the places that it could not look at', () => {
    const away = { place: 'storage node lmb-01', reason: 'it is away' }
    assert.match(
      sweepText(report({ unreachable: [away] })),
      /Not looked at: storage node lmb-01 .*it is away/,
    )
  })

  it('breaks long words, so that a table fits', () => {
    const text = sweepText(report({ strays: [stray({ what: `/${'x'.repeat(500)}` })] }))
    assert.ok(text.split('\n').every((line) => line.length < 220))
    assert.equal(text.match(/x/g)?.length, 500)
  })
})
