import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { DomainError } from '@volant/contract'
import { ensureLauncher } from './launcher.ts'
import type { ProcessIdentity } from './process.ts'

/** A process that is stopped for a moment. */
export interface Hold {
  /** Resolves when it goes on, for whatever reason. */
  ended: Promise<void>
  /** Lets it go on; may be repeated. */
  release(): Promise<void>
}

/**
 * Stops a process (SIGSTOP) for `ms` at most. It goes on when it is released, when the time is over, and when this
 * process dies: two small processes of their own see to that (`launch hold`). Throws `unavailable` where there is no
 * such process any more.
 */
export async function holdProcess(identity: ProcessIdentity, ms: number): Promise<Hold> {
  const { pid, startTime } = identity
  const args = ['hold', String(pid), startTime, String(Math.ceil(ms))]
  const child = spawn(await ensureLauncher(), args, { stdio: ['pipe', 'pipe', 'ignore'], cwd: '/' })
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
  child.stdin.on('error', () => {}) // it has ended already
  const held = once(child.stdout, 'data').then(
    () => true,
    () => false,
  )
  if (!(await Promise.race([held, ended.then(() => false)]))) {
    throw new DomainError('unavailable', `Process ${pid} could not be held: it is gone, or not ours.`)
  }
  return {
    ended,
    async release() {
      child.stdin.end()
      await ended
    },
  }
}
