import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { isGoodEnd, violationIn } from './invariants.ts'
import { search, type Search } from './search.ts'
import { initial, keyOf, protocol, ruleTexts, type Rules, type State, type World } from './state.ts'
import { transitions } from './world.ts'

type Rule = keyof Rules

const lost = /does not hold every acknowledged write/
const undone = /a cutover that happened is undone/
const held = /the guest is held/
const stuck = /cannot end well/

const worldOf = (failures: number, broken: readonly Rule[] = [], more: Partial<World> = {}): World => ({
  rules: { ...protocol, ...Object.fromEntries(broken.map((rule) => [rule, false])) },
  sourceServed: true,
  attempts: 2,
  failures,
  finalizeCanFail: true,
  ...more,
})

const told = ({ finding }: Search): string =>
  finding === undefined
    ? 'nothing was found'
    : `${finding.what}:\n${finding.trace.map((name, i) => `  ${i + 1}. ${name}`).join('\n')}`

describe('every interleaving', () => {
  // `VOLANT_MODEL_FAILURES=3` takes minutes and 8 GiB.
  const failures = Number(process.env['VOLANT_MODEL_FAILURES'] ?? 2)
  for (const sourceServed of [true, false]) {
    const attempts = sourceServed ? 2 : 1
    const where = sourceServed ? 'served by a storage node' : "a file on the holder's machine"
    test(`with ${failures} failures and ${attempts} attempts, the source ${where}, keeps the invariants and can end`, (t) => {
      const found = search(worldOf(failures, [], { sourceServed, attempts }))
      assert.equal(found.finding, undefined, told(found))
      // A model in which nothing happens keeps everything.
      assert.ok(found.states > 20_000, `only ${found.states} states`)
      t.diagnostic(`${found.states} states, ${found.depth} steps deep`)
    })
  }

  test('three attempts, one failure', () => {
    const found = search(worldOf(1, [], { attempts: 3 }))
    assert.equal(found.finding, undefined, told(found))
  })

  test('both ends are reached', () => {
    const reached = new Set<string>()
    const world = worldOf(1)
    const seen = new Set<string>()
    const queue = [initial(world)]
    for (let s = queue.pop(); s !== undefined; s = queue.pop()) {
      const key = keyOf(s)
      if (seen.has(key)) continue
      seen.add(key)
      if (isGoodEnd(s)) reached.add(s.journal)
      queue.push(...transitions(s, world).map(({ next }) => next))
    }
    assert.deepEqual([...reached].sort(), ['succeeded', 'undone'])
  })
})

describe('random walks, with more failures and attempts than can be searched', () => {
  test('keep the invariants, and can end from wherever they are', () => {
    const walk = fc.record({
      sourceServed: fc.boolean(),
      picks: fc.array(fc.nat(2 ** 20), { minLength: 1, maxLength: 150 }),
    })
    const check = fc.property(walk, ({ sourceServed, picks }) => {
      const world = worldOf(8, [], { sourceServed, attempts: 4, finalizeCanFail: sourceServed })
      const { s, trace } = walked(world, picks)
      assert.ok(canEnd(s, world), `it cannot end well after:\n${trace.join('\n')}`)
    })
    // A failure prints seed and path; `VOLANT_MODEL_SEED` runs one seed again.
    const seed = Number(process.env['VOLANT_MODEL_SEED'] ?? Date.now() % 2 ** 31)
    fc.assert(check, { seed, numRuns: 400 })
  })

  test('find a protocol without its register', () => {
    const check = fc.property(fc.array(fc.nat(2 ** 20), { maxLength: 150 }), (picks) => {
      walked(worldOf(8, ['guardAsksRegister'], { attempts: 4 }), picks)
    })
    assert.equal(fc.check(check, { seed: 1, numRuns: 400 }).failed, true)
  })
})

/** Where the picks lead: one in six is a failure, as long as there are any left. */
function walked(world: World, picks: readonly number[]): { s: State; trace: string[] } {
  let s = initial(world)
  const trace: string[] = []
  for (const pick of picks) {
    const all = transitions(s, world)
    const kind = all.filter(({ isFailure }) => isFailure === (pick % 6 === 0))
    const from = kind.length > 0 ? kind : all
    const chosen = from[Math.floor(pick / 6) % from.length]
    if (chosen === undefined) break
    trace.push(chosen.name)
    s = chosen.next
    const violation = violationIn(s, world)
    assert.equal(violation, undefined, `${violation} after:\n${trace.join('\n')}`)
  }
  return { s, trace }
}

/** Whether a good end is reached from here without another failure. */
function canEnd(from: State, world: World): boolean {
  const seen = new Set([keyOf(from)])
  const stack = [from]
  for (let s = stack.pop(); s !== undefined; s = stack.pop()) {
    if (isGoodEnd(s)) return true
    for (const { isFailure, next } of transitions(s, world)) {
      const key = keyOf(next)
      if (isFailure || seen.has(key)) continue
      seen.add(key)
      stack.push(next)
    }
  }
  return false
}

/** What breaks where one rule is broken: the failures that it takes, and what is found. */
const broken: Partial<Record<Rule, { failures: number; attempts?: 1; finds: RegExp }>> = {
  recordAfterPending: { failures: 0, finds: lost },
  recordAfterCommit: { failures: 0, finds: /two truths/ },
  probe: { failures: 1, finds: /a target that answers nobody/ },
  commitBeforeFinalize: { failures: 0, finds: lost },
  commitAsksRegister: { failures: 0, finds: lost },
  commitNeedsGuard: { failures: 1, finds: held },
  abandonAsksRegister: { failures: 1, finds: lost },
  guarded: { failures: 0, finds: held },
  guardAsksRegister: { failures: 0, finds: lost },
  guardKillsUnconfirmed: { failures: 1, finds: lost },
  oldGuardsEnd: { failures: 0, finds: stuck },
  revokeBeforeFinalize: { failures: 3, attempts: 1, finds: lost },
  killUnconfirmed: { failures: 2, attempts: 1, finds: stuck },
  supervisorKeepsOff: { failures: 1, finds: lost },
  agentChecksFence: { failures: 1, finds: undone },
  journalChecksFence: { failures: 1, finds: undone },
  callsInOrder: { failures: 1, finds: stuck },
  happenedAsks: { failures: 1, finds: undone },
  happenedAsksRegister: { failures: 1, finds: undone },
  happenedWaitsForAnswer: { failures: 2, attempts: 1, finds: undone },
  noIsFenced: { failures: 1, finds: undone },
  recordBeforeClean: { failures: 1, finds: stuck },
  retireAfterCommit: { failures: 0, finds: lost },
  undoEndsCopy: { failures: 1, finds: stuck },
}

/**
 * Second lines of defence: alone, nothing needs them. Where the first lines are broken, they are what is left: broken
 * as well, acknowledged writes are lost, which else are not, or are by a longer way.
 */
const secondLines: Partial<Record<Rule, { behind: Rule[]; failures: number; attempts?: 1 }>> = {
  guardChecksAttempt: { behind: ['oldGuardsEnd'], failures: 0 },
  commitNeedsPending: { behind: ['callsInOrder', 'commitNamesAttempt'], failures: 1 },
  commitNamesAttempt: { behind: ['callsInOrder', 'commitNeedsPending'], failures: 1 },
  commitNeedsMark: { behind: ['callsInOrder', 'commitNeedsPending', 'commitNeedsGuard'], failures: 1 },
  freshRegister: {
    behind: ['callsInOrder', 'commitNeedsMark', 'commitNeedsPending', 'commitNeedsGuard'],
    failures: 1,
  },
  startAsksRegister: { behind: ['happenedAsksRegister'], failures: 2, attempts: 1 },
}

/** Rules that one migration alone does not need; docs/protocol/model.md says what they are for. */
const forOthers: Rule[] = ['recordChecksFence', 'happenedAsksRecord']

describe('a rule broken on purpose', () => {
  for (const [rule, { failures, attempts = 2, finds }] of Object.entries(broken)) {
    test(`is found: ${ruleTexts[rule as Rule]} (${rule})`, (t) => {
      const found = search(worldOf(failures, [rule as Rule], { attempts }), finds)
      assert.match(found.finding?.what ?? 'nothing was found', finds)
      t.diagnostic(`${found.finding?.trace.length} steps: ${found.finding?.what}`)
    })
  }
  for (const [rule, { behind, failures, attempts = 2 }] of Object.entries(secondLines)) {
    test(`is found behind ${behind.join(', ')}: ${ruleTexts[rule as Rule]} (${rule})`, (t) => {
      const alone = search(worldOf(1, [rule as Rule]))
      assert.equal(alone.finding, undefined, `it is a first line: ${told(alone)}`)
      const both = search(worldOf(failures, [rule as Rule, ...behind], { attempts }), lost)
      assert.ok(both.finding, 'nothing was found')
      const without = search(worldOf(failures, behind, { attempts }), lost).finding?.trace.length ?? Infinity
      assert.ok(both.finding.trace.length < without, 'the rule makes no difference')
      t.diagnostic(`${both.finding.trace.length} steps: ${both.finding.what}`)
    })
  }
  for (const rule of forOthers) {
    test(`makes no difference to one migration: ${ruleTexts[rule]} (${rule})`, () => {
      const found = search(worldOf(1, [rule]))
      assert.equal(found.finding, undefined, told(found))
    })
  }
  test('every rule is in one of the tables', () => {
    const all = [...Object.keys(broken), ...Object.keys(secondLines), ...forOthers]
    assert.deepEqual(all.sort(), Object.keys(ruleTexts).sort())
  })
})

test('what is left: a local source, and finalize fails, and agent and guard die before they end the holder', () => {
  const found = search(worldOf(3, [], { sourceServed: false, attempts: 1 }), lost)
  assert.match(told(found), lost)
})
