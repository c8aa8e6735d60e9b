import { messageOf } from '@volant/contract/errors.ts'
import { CommanderError, type Command } from 'commander'
import { exitCodeOf, exitCodes, type ExitCode } from './exit-codes.ts'
import { buildProgram } from './program.ts'

/** Commander's own errors end the process with 1; wrong usage is 2 here. */
function withUsageExitCode(command: Command): void {
  command.exitOverride()
  for (const child of command.commands) withUsageExitCode(child)
}

async function run(argv: readonly string[]): Promise<ExitCode> {
  const program = buildProgram(import.meta.filename)
  withUsageExitCode(program)
  try {
    await program.parseAsync(argv, { from: 'user' })
    return exitCodes.ok
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
    const message = messageOf(error)
    if (argv.includes('--json')) {
      process.stderr.write(`${JSON.stringify({ error: { message, exit_code: exitCodeOf(error) } })}\n`)
    } else {
      process.stderr.write(`volant: ${message.replaceAll('\n', '\nvolant: ')}\n`)
      if (process.env['VOLANT_DEBUG'] !== undefined) console.error(error)
    }
    return exitCodeOf(error)
  }
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader of a pipe has gone (`volant volumes | head`).
  if (error.code === 'EPIPE') process.exit(exitCodes.ok)
  throw error
})
process.exitCode = await run(process.argv.slice(2))
