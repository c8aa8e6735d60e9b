import { execFile } from 'node:child_process'
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
  const launcher = await ensureLauncher()
  const inside = netns === undefined ? [] : ['--netns', netns]
  const args = ['reach', ...inside, '--', host, String(port), String(timeoutMs)]
  return new Promise((resolve) => {
    execFile(launcher, args, { timeout: timeoutMs + spareMs }, (error, _output, reason) => {
      resolve(error === null ? null : reason.trim() || error.message)
    })
  })
}
