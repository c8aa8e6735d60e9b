import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planVacate, type VacateFlexVol, type VacateTarget } from './vacate-plan.ts'
import { gib } from './volume.ts'

const at = (aggregate: string, node = 'n1') => ({ node, aggregate })

const flexvol = (name: string, gibs: number, more: Partial<VacateFlexVol> = {}): VacateFlexVol => ({
  id: `id-${name}`,
  name,
  at: at('old'),
  destination: null,
  moveId: null,
  uniqueBytes: gibs * gib,
  allocatedBytes: gibs * gib,
  sharesBlocks: true,
  blocked: null,
  ...more,
})

const target = (aggregate: string, freeGib: number, more: Partial<VacateTarget> = {}): VacateTarget => ({
  place: at(aggregate),
  freeBytes: freeGib * gib,
  sharesBlocks: true,
  unusable: null,
  ...more,
})

const plan = (flexvols: VacateFlexVol[], targets: VacateTarget[], vacated = [at('old')]) =>
  planVacate({ vacated, flexvols, targets })

const placed = (result: ReturnType<typeof plan>) =>
  result.moves.map((move) => `${move.flexvol.name}>${move.to.aggregate}`)

test('the largest first, each where the most is free', () => {
  const result = plan([flexvol('s', 1), flexvol('l', 6), flexvol('m', 3)], [target('a', 7), target('b', 8)])
  assert.deepEqual(placed(result), ['l>b', 'm>a', 's>a'])
  assert.deepEqual(
    result.targets.map((one) => one.freeAfterBytes / gib),
    [3, 2],
  )
  assert.deepEqual(result.stuck, [])
})

test('what finds no room stays, with what is missing; the smaller ones still go', () => {
  const result = plan([flexvol('l', 6), flexvol('m', 5), flexvol('s', 1)], [target('a', 8), target('b', 3)])
  assert.deepEqual(placed(result), ['l>a', 's>b'])
  assert.deepEqual(
    result.stuck.map((one) => one.flexvol.name),
    ['m'],
  )
  assert.match(
    result.stuck[0]?.reason ?? '',
    /b@n1 has 3\.00 GiB free, 2\.00 GiB too little; a@n1 has 2\.00 GiB free after the others \(6\.00 GiB\), 3\.00 GiB too little/,
  )
})

test('shared blocks count once where both can share, else each time', () => {
  const shared = flexvol('f', 1, { allocatedBytes: 6 * gib })
  assert.equal(plan([shared], [target('a', 2)]).moves[0]?.bytes, gib)
  assert.deepEqual(placed(plan([shared], [target('a', 5, { sharesBlocks: false })])), [])
  const whole = plan([shared], [target('a', 7, { sharesBlocks: false }), target('b', 2)])
  assert.equal(whole.moves[0]?.bytes, 6 * gib)
  assert.deepEqual(placed(plan([shared], [target('a', 5, { place: at('a', 'n2') })])), [])
  const apart = flexvol('f', 1, { allocatedBytes: 6 * gib, sharesBlocks: false })
  assert.match(plan([apart], [target('a', 2)]).stuck[0]?.reason ?? '', /4\.00 GiB too little/)
})

test('exactly enough is enough, a byte less is not', () => {
  assert.equal(plan([flexvol('f', 1)], [target('a', 1)]).moves.length, 1)
  assert.equal(plan([flexvol('f', 1)], [target('a', 1, { freeBytes: gib - 1 })]).moves.length, 0)
})

test('what is emptied too, or may not be used, takes nothing; the reasons are told', () => {
  const whole = plan([flexvol('f', 1)], [target('twin', 9)], [at('old'), at('twin')])
  assert.match(whole.stuck[0]?.reason ?? '', /twin@n1: it is to be emptied, too/)
  const away = plan([flexvol('f', 1)], [target('a', 9, { unusable: 'its node does not answer' })])
  assert.match(away.stuck[0]?.reason ?? '', /a@n1: its node does not answer/)
  assert.match(plan([flexvol('f', 1)], []).stuck[0]?.reason ?? '', /no other aggregate/)
  const node = plan([flexvol('f', 1)], [], [at('old'), at('older')])
  assert.match(node.stuck[0]?.reason ?? '', /no aggregate besides those .* \(old@n1, older@n1\)/)
})

test('one that moves away already is waited for and takes no new room; one that comes is in the way', () => {
  const leaving = flexvol('leaving', 5, { destination: at('a'), moveId: 'op-1' })
  const coming = flexvol('coming', 1, { at: at('a'), destination: at('old'), moveId: 'op-2' })
  const result = plan([leaving, coming, flexvol('f', 3)], [target('a', 3)])
  assert.deepEqual(
    result.moves.map((move) => [move.flexvol.name, move.underWay]),
    [
      ['leaving', 'op-1'],
      ['f', null],
    ],
  )
  assert.match(result.stuck[0]?.reason ?? '', /moving to old@n1.*volant move cancel coming/)
})

test('one that cannot move anywhere keeps its reason and takes no room', () => {
  const result = plan(
    [flexvol('big', 3, { blocked: 'volume v is being extended' }), flexvol('f', 2)],
    [target('a', 3)],
  )
  assert.deepEqual(placed(result), ['f>a'])
  assert.deepEqual(
    result.stuck.map((one) => one.reason),
    ['volume v is being extended'],
  )
})

test('the same facts give the same plan, whatever their order', () => {
  const flexvols = [flexvol('a', 1), flexvol('b', 1), flexvol('c', 1)]
  const targets = [target('x', 2), target('y', 2)]
  const expected = placed(plan(flexvols, targets))
  assert.deepEqual(placed(plan(flexvols.toReversed(), targets.toReversed())), expected)
  assert.deepEqual(expected, ['a>x', 'b>y', 'c>x'])
})
