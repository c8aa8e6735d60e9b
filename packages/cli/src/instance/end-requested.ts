import { exitCodes } from '../exit-codes.ts'

/** Resolves with the first signal that asks to end; a second one ends at once. */
export function endRequested(): Promise<NodeJS.Signals> {
  return new Promise((resolveSignal) => {
    let asked = false
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(exitCodes.failed)
        asked = true
        resolveSignal(signal)
      })
    }
  })
}
