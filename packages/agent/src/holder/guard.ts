import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '@volant/contract'
import { ensureLauncher } from '@volant/qemu/launcher.ts'
import { ensureGone, findByCommandWord, isAlive, startDetached } from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import { Register, registersIn } from './register.ts'

/**
 * Milliseconds that the guard gives an agent beyond the window in which PENDING must be reached: one that lives and
 * gives up itself knows better why.
 */
const graceMs = 1000
const readyTimeoutMs = 5000

export interface GuardRequest {
  /** A monitor of the daemon that nobody else uses. */
  monitorPath: string
  /** QEMU's id of the mirror. */
  job: string
  registerPath: string
  /** Milliseconds until PENDING, and from PENDING to the decision. */
  windowMs: number
  decisionMs: number
  logPath: string
}

/**
 * Starts the process that ends a cutover which nobody ends (`launch guard`): it needs neither this process nor any other
 * of ours. `started` is told its identity at once, to write it down; resolves when it watches the job.
 */
export async function startGuard(
  request: GuardRequest,
  started: (guard: ProcessIdentity) => Promise<void>,
): Promise<ProcessIdentity> {
  const { monitorPath, job, registerPath, windowMs, decisionMs, logPath } = request
  const times = [windowMs + graceMs, decisionMs].map((ms) => String(Math.round(ms)))
  const guard = startDetached({
    command: await ensureLauncher(),
    args: ['guard', monitorPath, job, registerPath, ...times],
    logPath,
  })
  const saved = started(guard)
  saved.catch(() => {}) // awaited below, or the guard is ended
  const { readyPath } = new Register(registerPath)
  for (const end = performance.now() + readyTimeoutMs; !existsSync(readyPath); await sleep(2)) {
    if (isAlive(guard) && performance.now() < end) continue
    await ensureGone(guard)
    throw new DomainError('unavailable', `The guard of ${job} did not start; no cutover without one.`)
  }
  await saved
  return guard
}

/** Ends the guard of an attempt that is over, also one whose starter died before it wrote its identity down. */
export async function endGuard(registerPath: string, guard: ProcessIdentity | undefined): Promise<void> {
  if (guard) return ensureGone(guard)
  for (const stray of findByCommandWord(registerPath)) await ensureGone(stray)
}

/** Ends and removes what a crash left of attempts that no holder is at any more. */
export async function sweepRegisters(folder: string, current: ReadonlySet<string>): Promise<void> {
  for (const path of await registersIn(folder)) {
    if (current.has(path)) continue
    await endGuard(path, undefined)
    await new Register(path).remove()
  }
}
