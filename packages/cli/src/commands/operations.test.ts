import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Operation, OperationListQuery } from '@volant/contract/ndo/operation.ts'
import { buildProgram } from '../program.ts'
import { attentionText, listed } from './operations.ts'

const stuck = (attention: Operation['attention'], commands: string[]): Operation =>
  ({
    kind: 'volume.migrate',
    resource: { type: 'volume', id: 'v', name: 'data' },
    attention,
    commands: commands.map((command) => `volant operations ${command}`),
  }) as unknown as Operation

test('what needs attention is told with the step, the reason, and what each command does', () => {
  const attention = { step: 'retireSource', reason: 'lma-1 is away', skip: 'the source stays', decide: false }
  assert.equal(
    attentionText(stuck(attention, ['show 3f', 'resume 3f', 'skip 3f'])),
    [
      "! volume.migrate of data needs attention at 'retireSource': lma-1 is away",
      '    volant operations show 3f    everything about it',
      '    volant operations resume 3f  try it again',
      '    volant operations skip 3f    leave it out: the source stays',
    ].join('\n'),
  )
  assert.equal(attentionText(stuck(null, ['watch 3f'])), '')
})

test('what has not ended is listed however many newer ones have, and what needs somebody stands first', async () => {
  const states = ['needs-attention', 'running', 'paused', ...Array.from({ length: 30 }, () => 'succeeded')]
  const all = states.map((state, i) => ({ id: `${i}`, state, created_at: `2026-01-${10 + i}` }) as Operation)
  const ndo = {
    operations: async ({ state, limit = 100 }: OperationListQuery) => {
      const found = all.toReversed().filter((one) => state === undefined || one.state === state)
      return { operations: found.slice(0, limit), next_marker: null }
    },
  }
  const idsOf = async (active: boolean): Promise<string[][]> => {
    const { stuck, others } = await listed(ndo, { limit: 3 }, active)
    return [stuck, others].map((some) => some.map(({ id }) => id))
  }
  assert.deepEqual(await idsOf(true), [['0'], ['2', '1']])
  assert.deepEqual(await idsOf(false), [['0'], ['32', '31', '30']])
})

test('a decision without --sure, or without an answer, changes nothing and says what it would mean', async () => {
  const program = (): ReturnType<typeof buildProgram> => {
    const made = buildProgram('main')
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
    made.commands
      .find((command) => command.name() === 'operations')
      ?.commands.find((command) => command.name() === 'decide')
      ?.exitOverride()
      .configureOutput({ writeErr: () => {} })
    return made
  }
  const run = (...words: string[]) =>
    program().parseAsync(['operations', 'decide', '3f', ...words], { from: 'user' })
  // No Volant runs: were it asked, the answer would be that.
  await assert.rejects(
    run('--happened', 'yes'),
    /Nothing was changed[^]*was made[^]*writes are lost[^]*--sure/,
  )
  await assert.rejects(run('--happened', 'no'), /NOT made/)
  await assert.rejects(run('--happened', 'perhaps'), /yes or no/)
  await assert.rejects(run(), /--happened/)
})
