import { setTimeout as sleep } from 'node:timers/promises'

const terminal = process.stdout.isTTY === true
const colours = terminal && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb'
const bold = (text: string): string => (colours ? `\u001B[1m${text}\u001B[0m` : text)

export const say = (text: string): void => void process.stdout.write(`${text}\n`)
export const heading = (text: string): void => say(`\n${bold(text)}`)

/** A command and what it printed. */
export const showCommand = (argv: readonly string[], output: string): void =>
  say(`\n${bold(`$ ${argv.join(' ')}`)}\n${output.trimEnd()}`)

export interface Poll {
  done: boolean
  /** How far it is; shown while waiting. */
  now: string
}

/** Asks again and again until it is done; throws after `timeoutMs`, with the last answer. */
export async function waitFor(what: string, timeoutMs: number, poll: () => Promise<Poll>): Promise<void> {
  const started = Date.now()
  const seconds = (): string => `${((Date.now() - started) / 1000).toFixed(1)} s`
  for (;;) {
    const { done, now } = await poll()
    const line = `${what}: ${now} (${seconds()})`
    if (terminal) process.stdout.write(`\r\u001B[K${line}`)
    if (done) {
      if (terminal) process.stdout.write('\n')
      else say(line)
      return
    }
    if (Date.now() - started > timeoutMs) throw new Error(`${line}: that takes too long`)
    await sleep(250)
  }
}
