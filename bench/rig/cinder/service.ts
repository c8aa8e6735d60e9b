import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** One program of the peer's, with whatever it forks. */
export interface Service {
  /** What it has printed so far. */
  printed(): string
  /** False once it has ended. */
  runs(): boolean
  /** By SIGKILL: its state is thrown away with the folder. */
  stop(): Promise<void>
}

/** In a process group of its own, by which all that it forks is ended; what it prints goes to `NAME.out` in the folder. */
export function startService(
  folder: string,
  name: string,
  command: readonly [string, ...string[]],
  env: Record<string, string> = {},
): Service {
  const path = join(folder, `${name}.out`)
  const out = openSync(path, 'a')
  const [program, ...args] = command
  const child = spawn(program, args, {
    cwd: folder,
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', out, out],
  })
  closeSync(out)
  // Such as a program that is not there: told by `runs`, and by what waits for it.
  child.on('error', () => {})
  const runs = (): boolean => child.pid !== undefined && child.exitCode === null && child.signalCode === null
  return {
    printed: () => readFileSync(path, 'utf8'),
    runs,
    async stop() {
      if (child.pid === undefined) return
      const gone = runs() ? once(child, 'exit') : undefined
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // The whole group has ended already.
      }
      await gone
    },
  }
}

const longestStartMs = 120_000

/** Waits until the service answers as it should. Throws, with the end of what it printed, where it never does. */
export async function answers(
  name: string,
  service: Service,
  isSo: () => Promise<boolean>,
  everyMs = 300,
): Promise<void> {
  for (const end = performance.now() + longestStartMs; ; await sleep(everyMs)) {
    if (await isSo().catch(() => false)) return
    if (service.runs() && performance.now() < end) continue
    const said = service.printed().trim().split('\n').slice(-3).join(' / ')
    throw new Error(`${name} ${service.runs() ? 'does not answer as it should' : 'has ended'}: ${said}`)
  }
}
