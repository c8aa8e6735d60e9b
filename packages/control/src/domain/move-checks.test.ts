import assert from 'node:assert/strict'
import test from 'node:test'
import { checkMove, type MoveCheckFacts } from './move-checks.ts'
import { newFlexVol } from './volume.ts'

const facts = (changes: Partial<MoveCheckFacts> = {}): MoveCheckFacts => ({
  flexvol: newFlexVol(
    { cluster: 'c', name: 'f', lif: '127.0.0.1', junctionPath: '/f', node: 'n', aggregate: 'a' },
    '2026-11-22T10:00:00.000Z',
  ),
  aggregate: 'b',
  known: ['a', 'b'],
  target: { place: { node: 'n', aggregate: 'b' }, state: 'online', reason: null },
  latest: undefined,
  heldBy: undefined,
  needBytes: 10,
  freeBytes: 10,
  sourceDown: null,
  hostsDown: [],
  missingAbilities: [],
  cutoverWindowSeconds: 30,
  cutoverAction: 'retry_on_failure',
  ...changes,
})

const refusals = (changes: Partial<MoveCheckFacts>): [string, string][] =>
  checkMove(facts(changes))
    .filter((check) => !check.ok)
    .map((check) => [check.name, check.reason])

test('each thing that is wrong is told by its own check, and nothing else is', () => {
  const { target, flexvol } = facts()
  const cases: [string, Partial<MoveCheckFacts>, RegExp][] = [
    ['aggregate', { target: null, aggregate: 'x' }, /no aggregate 'x'. It has: a, b/],
    [
      'aggregate-online',
      { target: { ...target!, state: 'unavailable', reason: 'away' } },
      /unavailable: away/,
    ],
    ['not-vacated', { target: { ...target!, vacatedBy: 'op-7' } }, /being emptied by operation op-7/],
    ['another-aggregate', { target: { ...target!, place: { node: 'n', aggregate: 'a' } } }, /already/],
    ['not-moving', { flexvol: { ...flexvol, destination: { node: 'n', aggregate: 'z' } } }, /moving already/],
    ['not-busy', { heldBy: { id: 'op-8', kind: 'flexvol.rename' } }, /op-8 \(flexvol.rename\)/],
    ['source-up', { sourceDown: 'no answer' }, /no answer/],
    ['hosts-up', { hostsDown: ['compute-1'] }, /compute-1/],
    ['abilities', { missingAbilities: ['QEMU is too old.'] }, /too old/],
    ['space', { needBytes: 11 }, /1 bytes/],
    ['cutover-window', { cutoverWindowSeconds: 29 }, /29 s is out of range/],
    ['cutover-action', { cutoverAction: 'never' }, /'never'/],
  ]
  assert.deepEqual(refusals({}), [])
  for (const [name, changes, reason] of cases) {
    const found = refusals(changes)
    assert.deepEqual(
      found.map(([check]) => check),
      [name],
    )
    assert.match(found[0]?.[1] ?? '', reason)
  }
  assert.deepEqual(
    checkMove(facts()).map((check) => check.name),
    cases.map(([name]) => name),
    'no check is without a case',
  )
})

test("the FlexVol of a share is called by the share's id", () => {
  const place = { node: 'n', aggregate: 'a' }
  const flexvol = { ...facts().flexvol, shareId: 's-1' }
  const changes = {
    flexvol: { ...flexvol, destination: place },
    target: { ...facts().target!, place },
    heldBy: { id: 'op-8', kind: 'share.access' },
  }
  for (const [check, reason] of refusals(changes)) assert.match(reason, /Share s-1/, check)
  assert.equal(refusals(changes).length, 3)
})
