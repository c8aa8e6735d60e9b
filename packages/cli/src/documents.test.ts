import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Command } from 'commander'
import { buildProgram } from './program.ts'

const root = join(import.meta.dirname, '../../..')
const program = buildProgram('main.ts')

/** `volant WORD [WORD] …` to the end of the line, of the span of code, or of the command. */
const written = /\bvolant ([a-z][a-z-]*)(?: ([a-z][a-z-]*)\b)?([^\n`|&#;]*)/g

/** What stands in a span of code is one line, however the text is wrapped. */
const unwrapped = (text: string): string =>
  text
    .split(/^```.*$/m)
    .map((part, i) =>
      i % 2 === 1 ? part : part.replaceAll(/`[^`]+`/g, (span) => span.replaceAll(/\s+/g, ' ')),
    )
    .join('\n')

const below = (command: Command, name: string | undefined): Command | undefined =>
  command.commands.find((one) => one.name() === name)

/** What is wrong with a command as a document writes it; undefined: nothing. */
function fault(first: string, second: string | undefined, rest: string): string | undefined {
  const command = below(program, first)
  if (command === undefined) return `there is no volant ${first}`
  const sub = below(command, second)
  const takesArgument = command.registeredArguments.length > 0
  if (command.commands.length > 0 && second !== undefined && sub === undefined && !takesArgument) {
    return `there is no volant ${first} ${second}`
  }
  const group = command.commands.find((one) => one.name() === 'list')
  const options = [command, sub, group].flatMap((one) => one?.options ?? []).map(({ long }) => long)
  const unknown = [...rest.matchAll(/ (--[a-z-]+)/g)].map(([, name = '']) => name)
  const missing = unknown.find((name) => name !== '--help' && !options.includes(name))
  return missing === undefined ? undefined : `volant ${first} has no ${missing}`
}

test('every command and option that a document tells of is there', () => {
  const documents = [
    'README.md',
    'ARCHITECTURE.md',
    'CONTRIBUTING.md',
    ...globSync('docs/**/*.md', { cwd: root }),
  ]
  let seen = 0
  const faults = documents.flatMap((document) =>
    [...unwrapped(readFileSync(join(root, document), 'utf8')).matchAll(written)].flatMap(
      ([text, first = '', second, rest = '']) => {
        seen += 1
        const what = fault(first, second, rest)
        return what === undefined ? [] : [`${document}: ${what}: ${text}`]
      },
    ),
  )
  assert.deepEqual(faults, [])
  assert.ok(seen > 100, `${seen} commands were found`)
})

/** Every command, those that only have others below them included. */
const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)]

for (const command of program.commands.flatMap(all)) {
  test(`${command.name()}, below ${command.parent?.name()}, has help with examples, and --json`, () => {
    let help = ''
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp()
    assert.match(help, /\nExamples:\n {2}volant /)
    if (command.commands.length === 0) assert.match(help, /--json/)
  })
}
