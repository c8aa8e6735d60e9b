import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { buildProgram } from '../program.ts'
import { attentionText } from './operations.ts'

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
