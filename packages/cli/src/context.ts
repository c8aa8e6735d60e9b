import { createClient, type VolantClient } from '@volant/client'
import type { Command } from 'commander'
import { findCredentials } from './instance/credentials.ts'
import { stateFolder } from './instance/state-folder.ts'

export interface CommonOptions {
  state?: string
  json?: boolean
}

/** Adds what every command has. */
export function withCommonOptions(command: Command, examples: readonly string[]): Command {
  return command
    .option(
      '--state <dir>',
      'state folder (default: $VOLANT_STATE, else /var/lib/volant for root, ~/.local/state/volant for others)',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', examplesText(examples))
}

/** Of a command that only has others below it. */
export const withExamples = (group: Command, examples: readonly string[]): Command =>
  group.addHelpText('after', examplesText(examples))

const examplesText = (examples: readonly string[]): string =>
  `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`

/** A client for the Volant that the options, or the environment, mean. */
export async function clientFor(options: CommonOptions): Promise<VolantClient> {
  return createClient(await findCredentials(stateFolder(options.state), options.state !== undefined))
}

/** Prints a result: as JSON where that was asked for, else as text. */
export function print(options: CommonOptions, value: unknown, text: () => string): void {
  const output = options.json === true ? JSON.stringify(value, null, 2) : text()
  if (output !== '') process.stdout.write(`${output}\n`)
}
