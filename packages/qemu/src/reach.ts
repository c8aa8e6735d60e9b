import { execFile } from 'node:child_process'
import { connect } from 'node:net'
import { getSystemErrorMessage } from 'node:util'
import { ensureLauncher } from './launcher.ts'

/** Milliseconds for the other side's answer. */
const answerTimeoutMs = 3000
/** For the process that asks. */
const spareMs = 3000

/** Why a TCP connection to the address can't be opened, from the network namespace where one is named; null: it can. */
export async function unreachable(
  { host, port }: { host: string; port: number },
  netns?: string,
  timeoutMs = answerTimeoutMs,
): Promise<string | null> {
  // A process costs more than a connection, and holds this one up while it is made.
  if (netns === undefined) return unreachableFromHere(host, port, timeoutMs)
  const launcher = await ensureLauncher()
  const args = ['reach', '--netns', netns, '--', host, String(port), String(timeoutMs)]
  return new Promise((resolve) => {
    execFile(launcher, args, { timeout: timeoutMs + spareMs }, (error, _output, reason) => {
      resolve(error === null ? null : reason.trim() || error.message)
    })
  })
}

function unreachableFromHere(host: string, port: number, timeoutMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (reason: string | null): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(reason)
    }
    // Where this process itself was held up, what has arrived meanwhile counts.
    const timer = setTimeout(() => setImmediate(() => end('connection timed out')), timeoutMs)
    socket.on('connect', () => end(null))
    socket.on('error', ({ errno, message }: NodeJS.ErrnoException) => {
      end(errno === undefined ? message : getSystemErrorMessage(errno))
    })
  })
}
