import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Command } from 'commander'
import { buildProgram } from './program.ts'

/** Every command below this one, by its words. */
const commandsOf = (command: Command, words: string[] = []): [string, Command][] =>
  command.commands.flatMap((one) => {
    const path = [...words, one.name()]
    return [[path.join(' '), one] as [string, Command], ...commandsOf(one, path)]
  })

test('a pace and a priority are options of what begins copies, and of nothing that would ignore them', () => {
  const paced = commandsOf(buildProgram('main.ts'))
    .filter(([, { options }]) =>
      ['--pace', '--priority'].every((name) => options.some((o) => o.long === name)),
    )
    .map(([name]) => name)
  assert.deepEqual(paced.toSorted(), ['migrate', 'move', 'operations undo', 'undo', 'vacate'])
})
