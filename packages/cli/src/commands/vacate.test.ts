import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import type { VacatePlan } from '@volant/contract/ndo/vacate.ts'
import { vacatePlanText, withShareNames } from './vacate.ts'

const flexvol = (name: string, share: FlexVol['share'] = null): FlexVol =>
  ({ id: `id-${name}`, cluster: 'lma', name, share }) as FlexVol
const move = (name: string): VacatePlan['moves'][number] => ({
  flexvol: { id: `id-${name}`, name },
  from: 'aggr1@n',
  to: 'aggr2@n',
  bytes: 1,
  seconds: 1,
  under_way: null,
})

test('a plan calls shares by their names, and the FlexVols of volumes by theirs', () => {
  const plan = {
    ok: false,
    aggregates: ['aggr1@n'],
    moves: [move('share_d0c5'), move('gold')],
    stuck: [
      { flexvol: { id: 'id-share_beef', name: 'share_beef' }, from: 'aggr1@n', bytes: 1, reason: 'no room' },
    ],
    retained: [{ flexvol: 'share_d0c5', aggregate: 'aggr1@n', images: 1, until: null }],
    targets: [],
    estimate: { bytes: 2, seconds: 1, rate: 1 },
  } as VacatePlan
  const location = '10.0.0.1:/x'
  const flexvols = [
    flexvol('gold'),
    flexvol('share_d0c5', { id: 'd0c5', name: 'docs', export_location: location }),
    flexvol('share_beef', { id: 'beef', name: null, export_location: location }),
  ]
  const text = vacatePlanText(withShareNames(plan, flexvols))
  assert.match(text, /^\| share docs +\| aggr1@n/m)
  assert.match(text, /^\| gold +\| aggr1@n/m)
  assert.match(text, /^\| share beef +\| aggr1@n +\| 1 B +\| no room/m)
  assert.match(text, /^1 image of share docs kept from before/m)
  assert.doesNotMatch(text, /share_/)
})
