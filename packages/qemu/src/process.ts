import { spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '@volant/contract'

/** Identity of a process for good: a pid alone is reused, a start time alone repeats after a reboot. */
export interface ProcessIdentity {
  pid: number
  /** Clock ticks from boot to the process's start: field 22 of /proc/PID/stat. */
  startTime: string
  /** /proc/sys/kernel/random/boot_id */
  bootId: string
}

export interface DetachedCommand {
  command: string
  args: readonly string[]
  /** stdout and stderr are appended to it. */
  logPath: string
  env?: NodeJS.ProcessEnv
}

let bootIdOfUs: string | undefined

/** Differs after each start of the machine, which no process outlives: so it is read once. */
export const bootId = (): string =>
  (bootIdOfUs ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim())

/**
 * Starts a process in a session of its own that does not end with this one. Nothing of ours is inherited but
 * the log. The caller writes the identity down before it relies on the process.
 */
export function startDetached({ command, args, logPath, env }: DetachedCommand): ProcessIdentity {
  const log = openSync(logPath, 'a', 0o600)
  try {
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: '/',
      ...(env ? { env } : {}),
    })
    child.on('error', () => {}) // reported below: without a pid there is no process
    child.unref()
    const { pid } = child
    // Until the event loop turns, Node cannot reap the child, so its /proc entry is there.
    const stat = pid === undefined ? undefined : readStat(pid)
    if (pid === undefined || stat === undefined) {
      throw new DomainError('unavailable', `${command} could not be started.`)
    }
    return { pid, startTime: stat.startTime, bootId: bootId() }
  } finally {
    closeSync(log)
  }
}

function readStat(pid: number): { state: string; startTime: string } | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined
  }
  // The command's name may hold spaces and parentheses; what follows its last one may not.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0] ?? 'X', startTime: fields[19] ?? '' }
}

/** The identity of a process that runs now; throws `unavailable` where there is none of that pid. */
export function identityOf(pid: number): ProcessIdentity {
  const stat = readStat(pid)
  if (stat === undefined) throw new DomainError('unavailable', `There is no process ${pid}.`)
  return { pid, startTime: stat.startTime, bootId: bootId() }
}

/** Whether exactly that process still runs. A zombie runs no more. */
export function isAlive(identity: ProcessIdentity | undefined): identity is ProcessIdentity {
  if (!identity) return false
  const stat = readStat(identity.pid)
  if (!stat || stat.startTime !== identity.startTime || identity.bootId !== bootId()) return false
  return stat.state !== 'Z' && stat.state !== 'X'
}

/** Whether exactly that process was stopped by a signal: it does nothing until another one lets it go on. */
export const isStopped = (identity: ProcessIdentity | undefined): boolean =>
  isAlive(identity) && readStat(identity.pid)?.state === 'T'

/** Waits until the process is gone; false where it still runs after `timeoutMs`. */
export async function waitUntilGone(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs
  for (let pause = 1; isAlive(identity); pause = Math.min(pause * 2, 20)) {
    if (performance.now() > end) return false
    await sleep(pause)
  }
  return true
}

/**
 * Ends the process: SIGTERM first where `graceMs` > 0, then SIGKILL; returns when it is gone. Throws
 * `unavailable` where the kernel does not let go of it within `timeoutMs`: then nothing may rely on its death.
 */
export async function ensureGone(
  identity: ProcessIdentity | undefined,
  { graceMs = 0, timeoutMs = 10_000 }: { graceMs?: number; timeoutMs?: number } = {},
): Promise<void> {
  if (!isAlive(identity)) return
  if (graceMs > 0) {
    signal(identity, 'SIGTERM')
    if (await waitUntilGone(identity, graceMs)) return
  }
  signal(identity, 'SIGKILL')
  if (await waitUntilGone(identity, timeoutMs)) return
  throw new DomainError('unavailable', `Process ${identity.pid} does not end; it hangs in the kernel.`)
}

function signal(identity: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isAlive(identity)) return
  try {
    process.kill(identity.pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/**
 * Processes that have `word` as a whole word of their command line: finds a daemon whose starter died before it
 * could write the daemon's identity down. The word must be one that nothing else uses, such as a socket's path; of several
 * any counts; a pattern is matched with each word. All of /proc is read, so what is sought together is asked for together.
 */
export function findByCommandWord(word: string | readonly string[] | RegExp): ProcessIdentity[] {
  const sought = typeof word === 'string' ? [word] : word
  const isMeant = (words: string[]): boolean =>
    words.some((one) => (sought instanceof RegExp ? sought.test(one) : sought.includes(one)))
  const found: ProcessIdentity[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      if (!isMeant(readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0'))) continue
    } catch {
      continue // it ended meanwhile
    }
    const stat = readStat(Number(name))
    if (stat) found.push({ pid: Number(name), startTime: stat.startTime, bootId: bootId() })
  }
  return found.filter(isAlive)
}

/** The end of a log file, for error messages; '' where there is none. */
export function tailOf(logPath: string, bytes = 1500): string {
  try {
    const fd = openSync(logPath, 'r')
    try {
      const { size } = fstatSync(fd)
      const buffer = Buffer.alloc(Math.min(bytes, size))
      readSync(fd, buffer, 0, buffer.length, size - buffer.length)
      return buffer.toString('utf8').trim()
    } finally {
      closeSync(fd)
    }
  } catch {
    return ''
  }
}
