import { ApiError, type NdoClient } from '@volant/client'
import { messageOf } from '@volant/contract/errors.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { CommonOptions } from './context.ts'
import { CliError, exitCodes } from './exit-codes.ts'
import { createProgressView, outcomeText } from './output/progress.ts'

/**
 * Shows an operation's progress until it is settled. Ctrl-C ends the watching, never the operation. Progress
 * goes to standard error, the outcome to standard output; with `--json` each state is a line of JSON there. An end
 * that was not wished for is an error.
 */
export async function watchOperation(
  ndo: NdoClient,
  id: string,
  options: CommonOptions,
  wished: readonly Operation['state'][] = ['succeeded'],
): Promise<void> {
  const interrupt = new AbortController()
  const onInterrupt = (): void => interrupt.abort()
  process.once('SIGINT', onInterrupt)
  const view = options.json === true ? undefined : createProgressView(process.stderr)
  let last: Operation | undefined
  try {
    for await (const operation of ndo.watch(id, { signal: interrupt.signal })) {
      last = operation
      if (view === undefined) process.stdout.write(`${JSON.stringify(operation)}\n`)
      else view.update(operation)
    }
  } catch (error) {
    view?.end()
    // It is not there, or not for this user: nothing is under way that could be watched again.
    if (last === undefined && error instanceof ApiError && error.status >= 400 && error.status < 500)
      throw error
    throw new CliError(
      exitCodes.failed,
      `${messageOf(error)}\nThe operation is not affected; watch again with: volant operations watch ${id}`,
      { cause: error },
    )
  } finally {
    process.off('SIGINT', onInterrupt)
  }
  view?.end()
  if (interrupt.signal.aborted) {
    throw new CliError(
      exitCodes.interrupted,
      [
        'Stopped watching; the operation goes on.',
        `  watch again:  volant operations watch ${id}`,
        // A guest that is about to stand still waits for nobody.
        ...(last?.kind === 'server.live-migrate' ? [] : [`  pause it:     volant operations pause ${id}`]),
        `  give it up:   volant operations cancel ${id}`,
      ].join('\n'),
    )
  }
  if (last !== undefined) report(last, options, wished)
}

function report(operation: Operation, options: CommonOptions, wished: readonly Operation['state'][]): void {
  if (wished.includes(operation.state)) {
    if (options.json !== true) process.stdout.write(`${outcomeText(operation)}\n`)
    return
  }
  throw new CliError(exitCodes.failed, outcomeText(operation))
}
